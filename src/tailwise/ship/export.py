"""Export: a run as one file that other programs run, checked against what the run itself answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import nn

from tailwise.disk import json_bytes, whole_folder
from tailwise.errors import BadData, BadValue, OutputExists, Stopped
from tailwise.pixels import Normalise
from tailwise.posthoc.prior_shift import UNEXPECTED
from tailwise.registry import Row
from tailwise.ship.whole import FrozenFeatures, Normalised, WholeModel, after
from tailwise.study.extractor import read_extractor
from tailwise.study.rebuild import rebuild
from tailwise.study.runs import EXTRACTOR, PROBE, Run
from tailwise.study.tensors import REMEDY
from tailwise.study.under_prior import calibrate
from tailwise.training.modes import plainly
from tailwise.training.streams import PLAIN
from tailwise.version import __version__

SCHEMA = "tailwise.export/1"
CARD = "export.json"

Format = Literal["onnx", "torch"]
FILES: dict[Format, str] = {"onnx": "model.onnx", "torch": "model.pt2"}

ALLOWED = {"float32": 1e-3, "bfloat16": 0.05}
"""By how much an exported logit may differ, relative to the largest of all, by what the run computed in: what another order of sums does,
and no more. A graph computes in float32, and bfloat16 keeps eight bits."""

Answering = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: with the files and `export.json`.
        record: `export.json`.
    """

    folder: Path
    record: dict[str, Any]


def export(run: Run, folder: Path, formats: tuple[Format, ...] = ("onnx", "torch"), method: Row | None = None) -> Exported:
    """Write a run's whole model for other programs: decoded pixels in, final logits out.

    What is in the graph: normalisation, the frozen network and the standardisation of its features where there is one, the network, and
    what comes after it. What is not: decoding, and bringing the image to size; `export.json` says how. Each file is run again and held
    against the run: the logits of the rows that the run keeps for this against its own stored predictions, those of random pixels
    against its network as it is rebuilt.

    Args:
        run: trained.
        folder: where the files go; it appears whole, or not at all.
        formats: `onnx` (opset 18 and above, any number of rows), `torch` (`torch.export.load`).
        method: of a run of a user's own file.

    Raises:
        BadData: a damaged run, or a post-hoc part that cannot be written as a graph.
        BadValue: a format whose package is not installed.
        OutputExists: the folder exists.
        Stopped: an exported file answers otherwise than the run; nothing is left.
    """
    if folder.exists():
        raise OutputExists(f"{folder} exists; give --out the name of a new folder")
    with plainly(torch.get_num_threads()):
        model, shape = _whole(run, method)
    rows = _rows(run, shape)
    checks: dict[str, dict[str, float]] = {}
    record: dict[str, Any] = {}

    def fill(place: Path) -> None:
        for name in formats:
            answering = WRITERS[name](model, shape, place / FILES[name])
            checks[name] = _check(run, model, rows, answering, FILES[name])
        record.update(_record(run, shape, checks, formats))
        (place / CARD).write_bytes(json_bytes(record))

    whole_folder(folder, fill)
    return Exported(folder, record)


def _whole(run: Run, method: Row | None) -> tuple[WholeModel, tuple[int, ...]]:
    """Give a run's model, and the shape of one row of its input."""
    record, device = run.record, torch.device("cpu")
    predictor, posthoc = rebuild(run, method, device)
    corrected = after(posthoc, run.predictions)
    if said := record["extractor"]:
        place, size = run.folder / said["file"], said["size"]
        remedy = REMEDY if said["file"] == EXTRACTOR else "put it back, or run the same `tailwise compare` again, which writes it anew"
        fold = (record.get("fold") or {"number": 0})["number"]
        body, standardise = read_extractor(place, said["network"], size, said["sha256"], remedy, fold)
        normalise = Normalise(tuple(said["normalise"]["mean"]), tuple(said["normalise"]["std"]))
        before = FrozenFeatures(Normalised(normalise, 3), body, standardise.mean, standardise.deviation)
        return WholeModel(before, predictor, corrected), (size, size, 3)
    shape = tuple(record["data"]["shape"])
    if len(shape) == 1:
        return WholeModel(nn.Identity(), predictor, corrected), shape
    said = record["recipe"]["normalise"]
    normalise = Normalise(tuple(said["mean"]), tuple(said["std"])) if said else PLAIN
    return WholeModel(Normalised(normalise, shape[-1]), predictor, corrected), shape


# --- the check --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Rows on which an export is checked.

    Attributes:
        drawn: (N, ...) random inputs of the model.
        kept: (M, ...) rows that the run keeps: inputs of the model, or of the network where that sees frozen features.
        expected: (M, C) their stored logits.
    """

    drawn: NDArray[Any]
    kept: NDArray[Any]
    expected: NDArray[np.float32]


def _rows(run: Run, shape: tuple[int, ...]) -> _Rows:
    """Draw rows, and read those that the run keeps; it keeps none where nothing is measured."""
    rng = np.random.default_rng(0)
    is_image = len(shape) == 3
    drawn: NDArray[Any] = rng.integers(0, 256, (5, *shape), dtype=np.uint8) if is_image else rng.normal(size=(5, *shape)).astype("f4")
    predictions, path = run.predictions, run.folder / PROBE
    measured = next((predictions.splits[name] for name in ("test", "val") if name in predictions.splits), None)
    if measured is None or not path.is_file():
        return _Rows(drawn, drawn[:0], np.zeros((0, len(predictions.classes)), np.float32))
    try:
        kept = load_file(path)["rows"]
    except (SafetensorError, KeyError, OSError) as error:
        raise BadData(f"{path} is damaged ({error}); {REMEDY}") from None
    return _Rows(drawn, kept, measured.logits[: len(kept)])


def _check(run: Run, model: WholeModel, rows: _Rows, answering: Answering, file: str) -> dict[str, float]:
    """Run an exported file and hold it against the run.

    Raises:
        Stopped: it answers otherwise.
    """
    found, alone = answering(rows.drawn), answering(rows.drawn[:1])
    with torch.inference_mode():
        rebuilt = model(torch.from_numpy(rows.drawn)).numpy()
        of_features = run.record["extractor"] is not None  # which stand after the exported body, so the network alone is asked
        asked = (lambda kept: model.answers(torch.from_numpy(kept)).numpy()) if of_features else answering
        stored = asked(rows.kept) if len(rows.kept) else rows.expected
    held = {"stored": (stored, rows.expected), "rebuilt": (found, rebuilt), "alone": (alone, found[:1])}
    gaps = {name: float(np.abs(one - other).max(initial=0)) for name, (one, other) in held.items()}
    largest = {name: _largest(other) for name, (_, other) in held.items()}
    allowed = ALLOWED[run.record["numerics"]["precision"]]
    wrong = [name for name, gap in gaps.items() if not gap <= allowed * largest[name]]  # NaN is wrong too
    if wrong:
        raise Stopped(
            f"{file} does not answer as {run.folder} does: logits differ by {gaps[wrong[0]]:.2g} ({wrong[0]}), of at most "
            f"{largest[wrong[0]]:.2g}; nothing was written"
        )
    checked = {"rows_stored": len(rows.kept), "rows": len(rows.kept) + len(rows.drawn), "largest_logit": max(largest.values())}
    return {**checked, **{f"{name}_gap": gap for name, gap in gaps.items()}}


def _largest(logits: NDArray[np.float32]) -> float:
    """Give the largest logit, at least 1, of classes that may be answered: those that are not expected lie far below on purpose."""
    if not len(logits):
        return 1.0
    near = logits > logits.max(1, keepdims=True) - UNEXPECTED / 2
    return max(1.0, float(np.abs(logits[near]).max(initial=0)))


# --- the formats ------------------------------------------------------------------------------------------------------


def _write_onnx(model: nn.Module, shape: tuple[int, ...], path: Path) -> Answering:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise BadValue(f"--format onnx needs {error.name}, which is not installed: pip install 'tailwise[export]'") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (_example(shape),),
            path,
            input_names=["inputs"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("rows")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(None, {"inputs": inputs})[0])


def _write_torch(model: nn.Module, shape: tuple[int, ...], path: Path) -> Answering:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors that share a storage, which are saved all the same
        program = torch.export.export(model, (_example(shape),), dynamic_shapes=({0: torch.export.Dim("rows")},))
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()

    def answer(inputs: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(loaded(torch.from_numpy(inputs)).numpy())

    return answer


WRITERS: dict[Format, Callable[[nn.Module, tuple[int, ...], Path], Answering]] = {"onnx": _write_onnx, "torch": _write_torch}


def _example(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros((2, *shape), dtype=torch.uint8 if len(shape) == 3 else torch.float32)


def _record(run: Run, shape: tuple[int, ...], checks: dict[str, dict[str, float]], formats: tuple[Format, ...]) -> dict[str, Any]:
    """Say what a user of the files has to know."""
    predictions, record = run.predictions, run.record
    scoring = calibrate(predictions, record)
    is_image = len(shape) == 3
    return {
        "schema": SCHEMA,
        "run": record["key"],
        "method": record["method"],
        "files": {name: FILES[name] for name in formats},
        "input": {"name": "inputs", "dtype": "uint8" if is_image else "float32", "shape": ["rows", *shape]},
        "preparation": "decode to RGB (or grey where there is one channel), resize the shorter side with antialiased bilinear filtering, "
        "cut out the centre; rows, height, width, channels; values 0-255. Normalisation is in the graph"
        if is_image
        else "feature vectors as the run was trained on",
        "output": {"name": "logits", "shape": ["rows", len(predictions.classes)]},
        "scores": f"softmax of the logits divided by {scoring.temperature:.4f}: {scoring.scores}",
        "temperature": scoring.temperature,
        "classes": list(predictions.classes),
        "checks": checks,
        "version": __version__,
    }
