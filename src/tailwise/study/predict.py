"""Images in, classes out: a run's network rebuilt from its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from tailwise.catalogue import Row, load, parse_modifier, parse_row, split_outside
from tailwise.data.images import is_image_name, survey
from tailwise.errors import BadData, BadValue, UnknownName
from tailwise.evaluation import Predictions
from tailwise.models import frozen_body
from tailwise.objective import Out
from tailwise.pixels import Normalise, Rows, Standardise
from tailwise.posthoc import PostHoc, Scores
from tailwise.study.frozen import image_pixels
from tailwise.study.numerics import choose_device
from tailwise.study.runs import Run
from tailwise.training import Root, Splits, plan_method
from tailwise.training.joint import forked
from tailwise.training.line import make_loop
from tailwise.training.streams import PLAIN

BATCH = 32


@dataclass(frozen=True)
class Answer:
    """What a run says of one image.

    Attributes:
        image: the file.
        classes: the most likely classes, best first.
        scores: softmax of the corrected logits, in the same order, 0-1; not calibrated.
    """

    image: Path
    classes: tuple[str, ...]
    scores: tuple[float, ...]


def find_images(places: Iterable[Path | str]) -> list[Path]:
    """List image files: files as they are given, folders searched at any depth and sorted.

    Raises:
        BadData: a place that is not there, a folder without images, files that are no images (all counted).
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(Path(top) / name for top, _, names in os.walk(place, followlinks=True) for name in names if is_image_name(name))
            if not inside:
                raise BadData(f"{place}: no images in this folder; give images, or a folder that holds some")
            found += inside
        elif place.is_file():
            found.append(place)
        else:
            raise BadData(f"{place}: no such file or folder; give images, or a folder that holds some")
    if not found:
        raise BadData("no images are given; name files or folders")
    survey(found)
    return found


def predict(
    run: Run,
    images: Iterable[Path | str],
    top: int = 5,
    method: Row | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Name the most likely classes of images.

    Args:
        run: trained on images.
        images: files, and folders that are searched at any depth.
        top: classes an image; all where there are fewer.
        method: the method, for a run of a user's own file, which a record does not import.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: called with images done and in all.

    Returns:
        One answer an image, in the order of the files.

    Raises:
        BadData: images that cannot be read, a run that was trained on feature vectors, a damaged run.
        BadValue: `top` below 1, or a method that the run was not trained with.
    """
    if top < 1:
        raise BadValue(f"top is a number of classes from 1, got {top}")
    found = find_images(images)
    model = RunModel(run, method, choose_device(device))
    answers: list[Answer] = []
    for start in range(0, len(found), BATCH):
        files = found[start : start + BATCH]
        answers += model.answers(files, top)
        if progress:
            progress(len(answers), len(found))
    return answers


class RunModel:
    """A run's network with what comes before it and after: pixels in, corrected logits out.

    Args:
        run: trained on images.
        method: of a run of a user's own file.
        device: where it runs.
    """

    def __init__(self, run: Run, method: Row | None, device: torch.device) -> None:
        self.run = run
        self.device = device
        self.predictions = run.predictions
        self.predictor, planned = _rebuild(run, self.predictions, method, device)
        self.posthoc = _corrected(planned, run.record["correction"])
        self.prepare = _Frozen(run, device) if run.record["frozen"] else _Images(run, device)

    def logits(self, files: Sequence[Path]) -> NDArray[np.float32]:
        """Give corrected logits (N, C) of image files."""
        with torch.inference_mode():
            out = self.predictor(self.prepare(files))
        out = out if isinstance(out, Out) else Out(out, torch.empty(0))
        logits = (out.logits.mean(1) if out.logits.ndim == 3 else out.logits).float().cpu().numpy()
        if self.posthoc is None:
            return logits
        features = out.features.float().cpu().numpy() if out.features.ndim == 2 else None
        p = self.predictions
        return self.posthoc.apply(Scores(logits, None, features, p.head_weight, p.head_bias, p.class_means))

    def answers(self, files: Sequence[Path], top: int) -> Iterator[Answer]:
        """Yield the most likely classes of image files."""
        logits = self.logits(files).astype(np.float64)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :top]
        for file, best, row in zip(files, order, shares, strict=True):
            yield Answer(file, tuple(self.predictions.classes[c] for c in best), tuple(float(row[c]) for c in best))


class _Images:
    """Image files -> the network's input, as the run saw its images."""

    def __init__(self, run: Run, device: torch.device) -> None:
        shape = run.record["data"]["shape"]
        if len(shape) != 3:
            raise BadData(f"{run.folder} was trained on feature vectors, not on images; predict needs a run that saw images")
        height, width, self.channels = shape
        if height != width:
            raise BadData(f"{run.folder} was trained on images of {width} x {height} pixels; predict brings images to a square")
        self.size = height
        said = run.record["recipe"]["normalise"]
        self.normalise = Normalise(tuple(said["mean"]), tuple(said["std"])) if said else PLAIN
        self.device = device

    def __call__(self, files: Sequence[Path]) -> Tensor:
        pixels = image_pixels(files, self.size, self.channels)(range(len(files)))
        return self.normalise(torch.from_numpy(pixels).to(self.device))


class _Frozen:
    """Image files -> standardised features of the run's frozen network."""

    def __init__(self, run: Run, device: torch.device) -> None:
        said = run.record["frozen"]
        self.size, self.device = said["size"], device
        self.normalise = Normalise(tuple(said["normalise"]["mean"]), tuple(said["normalise"]["std"]))
        path = run.folder / said["file"]
        tensors = _read_tensors(path, f"the frozen network of {run.folder}")
        with forked(0, "frozen"):
            self.body = frozen_body(said["network"], (self.size, self.size, 3))
        network = {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
        _fill(self.body, network, path)
        self.standardise = Standardise(*(tensors[name].numpy() for name in ("mean", "deviation")))
        self.body.to(device)

    def __call__(self, files: Sequence[Path]) -> Tensor:
        pixels = image_pixels(files, self.size, 3)(range(len(files)))
        features = self.body(self.normalise(torch.from_numpy(pixels).to(self.device))).float().cpu().numpy()
        return torch.from_numpy(self.standardise(features)).to(self.device)


def _rebuild(run: Run, predictions: Predictions, method: Row | None, device: torch.device) -> tuple[nn.Module, PostHoc | None]:
    """Make the predictor anew from the method's own description, and fill it with the run's weights."""
    record = run.record
    recipe = load("recipe", record["recipe"]["name"])
    root = Root(_as_trained(record, predictions), recipe, record["network"]["backbone"], record["seed"], {})
    row = _row_of(run, method)
    plan = plan_method(root, row.method, row.modifiers)
    if plan.decided_by_results:
        raise BadData(f"{run.folder} was trained by a method whose stages are decided by results; predict cannot rebuild its network yet")
    loop = make_loop(root, plan.legs[-1], None, device)
    predictor = loop.objective.predictor(loop.net)
    path = run.folder / "weights.safetensors"
    _fill(predictor, _read_tensors(path, f"the weights of {run.folder}"), path)
    return predictor.to(device).eval(), plan.posthoc


def _row_of(run: Run, given: Row | None) -> Row:
    """Give the row that a run was trained with: read from its record, or its method given and its modifiers from there.

    Raises:
        BadData: the method is a user's own, and is not given.
        BadValue: another method is given, or one with other knobs.
    """
    text, part = run.record["method"], run.record["knobs"]["part"]
    first, *modifiers = split_outside(text, "+")
    if given is None:
        try:
            row = parse_row(text)
        except UnknownName:
            row = None
        if row is None or type(row.method).__name__ != part:
            raise BadData(f"{run.folder} was trained with {text!r}, a method of its own file; name it with --method ./FILE.py")
        return row
    if given.text not in (text, first) or type(given.method).__name__ != part:
        raise BadValue(f"{run.folder} was trained with {text!r}, and --method gives {given.text!r}; give the same one, with the same knobs")
    return Row(given.method, tuple(map(parse_modifier, modifiers)))


def _as_trained(record: Any, predictions: Predictions) -> Splits:
    """Stand in for the training data, of which a network needs shape, counts and class names alone."""
    counts = record["data"]["train_counts"]
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = np.broadcast_to(np.float32(0), (1, *record["data"]["shape"]))
    train = Rows(tuple(map(str, range(len(labels)))), rows, np.zeros(len(labels), np.int64), labels)
    return Splits({"train": train}, predictions.classes, predictions.counts, predictions.groups, {"train": ""})


def _corrected(planned: PostHoc | None, fitted: Any) -> PostHoc | None:
    """Give the post-hoc part as it was fitted."""
    if planned is None:
        return None
    return type(planned)(**{name: value for name, value in fitted.items() if name != "part"})


def _fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BadData(f"{path} does not fit the network as it is defined now ({reason[:200]}); put it back, or train again") from None


def _read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    try:
        return load_tensors(path.read_bytes())
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror}): it holds {what}; put it back, or train again") from None
    except (SafetensorError, ValueError) as error:
        raise BadData(f"{path} is damaged ({error}): it holds {what}; put it back, or train again") from None
