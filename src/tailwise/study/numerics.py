"""What changes bits: device kind, CPU capability, library versions, threads, processes."""

from __future__ import annotations

from importlib.metadata import version

import torch

from tailwise import processes
from tailwise.errors import BadValue, Clash
from tailwise.models import has_compiler
from tailwise.training.speed import COMPILED, FAST, PLAIN

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow")
"""Libraries whose version can reach a result's bits."""

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
"""What one types -> what networks compute in."""

SPEEDS = (FAST, PLAIN, COMPILED)


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


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse bfloat16 where it would be emulated, and slower than float32.

    Raises:
        BadValue: no such precision, or not on this device.
    """
    if precision not in PRECISIONS:
        raise BadValue(f"--precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    there = {"cpu": _cpu_has_bfloat16, "cuda": torch.cuda.is_bf16_supported}.get(device.type, lambda: False)
    if precision == "bf16" and not there():
        raise BadValue(f"--precision bf16 is not there on this {device.type}, which would emulate it, slowly; leave it out")


def check_speed(speed: str, precision: str, device: torch.device) -> None:
    """Refuse to compile where there is nothing to compile with, and to be plain and not.

    Raises:
        BadValue: no such speed, or no C++ compiler.
        Clash: plain in bfloat16.
    """
    if speed not in SPEEDS:
        raise BadValue(f"--speed is one of {', '.join(SPEEDS)}, got {speed!r}")
    if speed == COMPILED and device.type == "cpu" and not has_compiler():
        raise BadValue("--speed compiled needs a C++ compiler (g++ or clang++), and none is there; leave it out")
    if speed == PLAIN and precision != "fp32":
        raise Clash(f"--speed plain turns off all that is done for speed, --precision {precision} too; leave one of them out")


def _cpu_has_bfloat16() -> bool:
    """Ask torch, by names that are private to it, for instructions on bfloat16."""
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in asked if ask is not None)


def describe_numerics(device: torch.device, threads: int, precision: str = "fp32", speed: str = FAST) -> dict[str, str]:
    """Describe what a result's bits depend on beside data, seed and code."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "precision": PRECISIONS[precision],
        "speed": speed,
        "processes": str(processes.count()),
        "threads": str(threads),
        **{library: version(library) for library in LIBRARIES},
    }
