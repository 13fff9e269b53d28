"""What changes bits: device kind, CPU capability, library versions, threads, processes."""

from __future__ import annotations

from importlib.metadata import version

import torch

from tailwise import processes
from tailwise.errors import BadValue

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow")
"""Libraries whose version can reach a result's bits."""


def choose_device(name: str = "auto") -> torch.device:
    """Choose a device by name; `auto` takes CUDA when it is there, else the CPU.

    Raises:
        BadValue: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name not in there:
        raise BadValue(f"--device is one of auto, {', '.join(there)}, got {name!r}")
    if not there[name]:
        raise BadValue(f"--device {name} is not there for this torch ({torch.__version__}); use --device cpu")
    return torch.device(name)


def describe_numerics(device: torch.device, threads: int) -> dict[str, str]:
    """Describe what a result's bits depend on beside data, seed and code."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "precision": "float32",
        "processes": str(processes.count()),
        "threads": str(threads),
        **{library: version(library) for library in LIBRARIES},
    }
