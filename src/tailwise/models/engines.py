"""Engines: what runs a frozen network over many images. torch as it is, torch compiled, or ONNX Runtime."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from tailwise.errors import BadValue, Stopped

Engine = Literal["eager", "compiled", "onnx"]
Answering = Callable[[Tensor], Tensor]
"""Features (B, D) of normalised images (B, channels, height, width)."""

PAYS: dict[Engine, int] = {"onnx": 2_000, "compiled": 20_000}
"""Images from which an engine that is fast is chosen, the fastest first: from there it is through before torch as it is would be."""

SETUP: dict[Engine, float] = {"eager": 0.0, "compiled": 22.0, "onnx": 6.0}
"""Seconds until an engine runs, about."""

GAIN: dict[Engine, float] = {"eager": 1.0, "compiled": 1.4, "onnx": 2.3}
"""How many times as fast as torch as it is, about, images decoded and all."""

NEEDS = ("onnx", "onnxscript", "onnxruntime")
COMPILERS = ("g++", "clang++", "cl")
EXAMPLE = 2
"""Rows of an example: of one, a graph would take the number for granted."""

AGREES = 1e-4
"""By how much features may differ from torch's own, relative to the largest: what another order of sums does."""


def choose_engine(asked: Engine | Literal["auto"], images: int, device: torch.device) -> Engine:
    """Choose what runs the network: of those that are there, the fastest that has paid its set-up at so many images.

    Args:
        asked: an engine, or `auto`.
        images: of the whole set, whatever the store has of them: the choice does not change while a set is gone through.
        device: where features are computed; other devices than the CPU take torch as it is.

    Raises:
        BadValue: an engine that is not there.
    """
    on_cpu = device.type == "cpu"
    there: dict[Engine, bool] = {
        "onnx": on_cpu and all(find_spec(name) for name in NEEDS),
        "compiled": on_cpu and has_compiler(),
        "eager": True,
    }
    if asked == "auto":
        return next((engine for engine, least in PAYS.items() if there[engine] and images >= least), "eager")
    if asked not in there:
        raise BadValue(f"--engine is one of auto, {', '.join(there)}, got {asked!r}")
    if not there[asked]:
        lacking = {"onnx": "ONNX Runtime (`pip install 'tailwise[fast]'`)", "compiled": "a C++ compiler"}[asked]
        raise BadValue(f"--engine {asked} needs {lacking} and runs on the CPU; use --engine eager")
    return asked


def has_compiler() -> bool:
    """Say whether there is a C++ compiler, which torch needs to compile for a CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS) if name)


def engine_version(engine: Engine) -> str:
    """Say what the bits of an engine depend on beside torch: a text for keys."""
    try:
        return f"onnxruntime {version('onnxruntime')}" if engine == "onnx" else engine
    except PackageNotFoundError:  # a build of it under another name
        return "onnxruntime"


def start_engine(engine: Engine, module: nn.Module, example: Tensor, rows: int, threads: int) -> Answering:
    """Bring a frozen network into an engine, and hold it against the network itself before it is trusted.

    Args:
        engine: which.
        module: in eval mode.
        example: (B, channels, height, width) normalised images, some of those that are to come.
        rows: of a batch at most.
        threads: that ONNX Runtime may use; torch's are the caller's to set.

    Raises:
        Stopped: the engine cannot take the network, or answers otherwise than the network does.
    """
    if engine == "eager":
        return module
    try:
        with torch.no_grad():
            answer = _in_onnx(module, example, threads) if engine == "onnx" else _compiled(module, rows)
            found, expected = answer(example), module(example)
    except Exception as error:
        raise Stopped(f"engine {engine} cannot take this network ({_first_line(error)}); use --engine eager") from error
    gap, largest = float((found - expected).abs().max()), float(expected.abs().max())
    if not gap <= AGREES * largest:
        raise Stopped(
            f"engine {engine} gives features that differ by {gap:.2g} from the network's own, of at most {largest:.3g}; use --engine eager"
        )
    return answer


def _compiled(module: nn.Module, rows: int) -> Answering:
    """Compile with weights frozen into the code; every batch is filled up to one size, since another would be compiled anew."""
    made = torch.compile(copy.deepcopy(module), dynamic=False, options={"freezing": True})

    def answer(images: Tensor) -> Tensor:
        full = torch.cat([images, images[-1:].expand(rows - len(images), *images.shape[1:])]) if len(images) < rows else images
        found: Tensor = made(full.contiguous(memory_format=torch.channels_last))
        return found[: len(images)]

    return answer


def _in_onnx(module: nn.Module, example: Tensor, threads: int) -> Answering:
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="tailwise-") as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch's exporter has to say to those who maintain it
        file = str(Path(place) / "network.onnx")
        rows = torch.export.Dim("rows")
        torch.onnx.export(module, (example[:EXAMPLE].contiguous(),), file, dynamo=True, dynamic_shapes=({0: rows},), verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.contiguous().numpy()})[0])


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
