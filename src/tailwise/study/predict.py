"""Images in, classes out: a run's network rebuilt from its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.counts import ESTIMATED
from tailwise.data.images import survey
from tailwise.data.listing import first_five
from tailwise.data.walk import Tally, image_paths
from tailwise.errors import BadData, BadValue
from tailwise.pixels import Normalise
from tailwise.posthoc import Scores
from tailwise.registry import Row
from tailwise.study.extractor import forward, image_pixels, read_extractor
from tailwise.study.numerics import choose_device
from tailwise.study.rebuild import rebuild
from tailwise.study.runs import EXTRACTOR, Run
from tailwise.study.tensors import REMEDY
from tailwise.study.under_prior import Shift, calibrate, find_shift
from tailwise.training.modes import plainly
from tailwise.training.streams import PLAIN
from tailwise.training.sweep import Answers, answers

BATCH = 32


@dataclass(frozen=True)
class Answer:
    """What a run says of one image.

    Attributes:
        image: the file.
        classes: the most likely classes, best first.
        scores: probabilities in the same order, 0-1: softmax of the run's logits, calibrated by a temperature where the run has val
            predictions, under the prior that the user expects or else the one that is left in the logits. `scoring.scores` says it.
        scoring: prior, temperature and the number of val images that it was fitted on.
    """

    image: Path
    classes: tuple[str, ...]
    scores: tuple[float, ...]
    scoring: Shift = field(repr=False)


def find_images(places: Iterable[Path | str]) -> list[Path]:
    """List image files: files as they are given, folders searched at any depth and sorted, hidden files left out.

    Raises:
        BadData: a place that is not there, a folder without images, files that are no images (all counted).
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            tally = Tally()
            inside = [place / path for path in sorted(image_paths(place, tally))]
            if tally.closed:
                raise BadData(f"{place}: folders cannot be opened: {first_five(tally.closed)}; give leave to read them")
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
    test_prior: str | Path | Sequence[float] | None = None,
) -> list[Answer]:
    """Name the most likely classes of images.

    Args:
        run: trained on images.
        images: files, and folders that are searched at any depth.
        top: classes an image; all where there are fewer.
        method: the method, for a run of a user's own file, which a record does not import.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: called with images done and in all.
        test_prior: classes that are expected, as in `find_shift`; `estimated` estimates them on these images. None keeps the prior of the
            run's logits, and so every answer.

    Returns:
        One answer an image, in the order of the files.

    Raises:
        BadData: images that cannot be read, a run that was trained on feature vectors, a damaged run.
        BadValue: `top` below 1, or a method that the run was not trained with.
        Clash: a test prior for a method whose scores are no log probabilities.
    """
    if top < 1:
        raise BadValue(f"top is a number of classes from 1, got {top}")
    found = find_images(images)
    model = RunModel(run, method, choose_device(device), test_prior)
    said: list[Answer] = []
    kept: list[NDArray[np.float32]] = []  # all logits are held only where a prior is estimated on all of them
    for start in range(0, len(found), BATCH):
        files = found[start : start + BATCH]
        scored = model.scored(files)
        if model.scoring.test_prior == ESTIMATED:
            kept.append(scored)
        else:
            said += model.answers(files, scored, top)
        if progress:
            progress(start + len(files), len(found))
    return said or list(model.answers(found, np.concatenate(kept), top))


class RunModel:
    """A run's network with what comes before it and after: pixels in, corrected logits out.

    Args:
        run: trained on images.
        method: of a run of a user's own file.
        device: where it runs.
        test_prior: as in `predict`.
    """

    def __init__(self, run: Run, method: Row | None, device: torch.device, test_prior: str | Path | Sequence[float] | None = None) -> None:
        self.predictions = p = run.predictions
        self.scoring = calibrate(p, run.record) if test_prior is None else find_shift(p, run.record, test_prior)
        with plainly(torch.get_num_threads()):
            self.predictor, self.posthoc = rebuild(run, method, device)
        self.see = _Features(run, device) if run.record["extractor"] else _Images(run, device)

    def logits(self, files: Sequence[Path]) -> NDArray[np.float32]:
        """Give corrected logits (N, C) of image files."""
        logits, features, _ = self._network(files)
        if self.posthoc is None:
            return logits
        p = self.predictions
        return self.posthoc.apply(Scores(logits, None, features, p.head_weight, p.head_bias, p.class_means))

    def scored(self, files: Sequence[Path]) -> NDArray[np.float32]:
        """Give the logits (N, C) of image files that become scores: the network's own where the prior is put in anew."""
        return self._network(files).logits if self.scoring.of_network else self.logits(files)

    def answers(self, files: Sequence[Path], scored: NDArray[np.float32], top: int) -> Iterator[Answer]:
        """Yield the most likely classes of image files, the lowest label among equals.

        Args:
            files: N files.
            scored: (N, C) as `scored` gives them, of all images on which a prior is estimated.
            top: classes an image.
        """
        scoring = self.scoring.estimated(scored)
        logits = scoring.apply(scored)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :top]
        for file, best, row in zip(files, order, shares, strict=True):
            yield Answer(file, tuple(self.predictions.classes[c] for c in best), tuple(float(row[c]) for c in best), scoring)

    def _network(self, files: Sequence[Path]) -> Answers:
        """Give what the network itself says of image files."""
        with plainly(torch.get_num_threads()), torch.inference_mode():
            return answers(self.predictor(self.see(files)))


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


class _Features:
    """Image files -> standardised features of the run's extractor."""

    def __init__(self, run: Run, device: torch.device) -> None:
        said = run.record["extractor"]
        self.size, self.device = said["size"], device
        self.normalise = Normalise(tuple(said["normalise"]["mean"]), tuple(said["normalise"]["std"]))
        place = run.folder / said["file"]
        remedy = REMEDY if said["file"] == EXTRACTOR else "put it back, or run the same `tailwise compare` again, which writes it anew"
        fold = (run.record.get("fold") or {"number": 0})["number"]
        body, self.standardise = read_extractor(place, said["network"], self.size, said["sha256"], remedy, fold)
        self.body = body.to(device)

    def __call__(self, files: Sequence[Path]) -> Tensor:
        seen = forward(self.body, self.normalise, image_pixels(files, self.size), range(len(files)), self.device)
        return torch.from_numpy(self.standardise(np.concatenate(list(seen)))).to(self.device)
