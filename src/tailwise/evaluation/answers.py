"""What one network answered on the images of a split: all that statistics need of predictions, without the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tailwise.errors import BadData
from tailwise.evaluation.calibration import confidence
from tailwise.evaluation.metrics import predicted_labels
from tailwise.evaluation.predictions import SplitPredictions


@dataclass(frozen=True, eq=False)
class Answers:
    """One answer for each of N images.

    Attributes:
        ids: N ids, sorted; answers of two networks can be paired where they are equal.
        labels: (N,) int64 true labels.
        predicted: (N,) int64 answered labels.
        confidence: (N,) float64 softmax probability of the answer.
        classes: C.
        experts: (E, N) int64, what each expert of the network answers; None where there is one network.
        weights: (N,) float64 with a sum of N, what each image counts where another class distribution than the split's is expected;
            else None.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    classes: int
    experts: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether the answer is right."""
        return np.asarray(self.labels == self.predicted)


def answers_of(part: SplitPredictions, expected: Sequence[float] | None = None) -> Answers:
    """Take the answers out of predictions, in the order of the ids; ties between logits go to the lowest label.

    Args:
        part: predictions of a split.
        expected: (C,) class distribution for which the images are to stand; None for the split's own.

    Raises:
        BadData: not one share a class, or none of the expected classes has images in the split.
    """
    order = np.array(sorted(range(part.images), key=part.ids.__getitem__), dtype=np.int64)
    labels, logits = part.labels[order], part.logits[order]
    return Answers(
        ids=tuple(part.ids[row] for row in order),
        labels=labels,
        predicted=predicted_labels(logits, part.classes),
        confidence=confidence(logits),
        classes=part.classes,
        experts=None if part.experts is None else part.experts[order].argmax(2).T,
        weights=None if expected is None else _weights(labels, part.classes, expected),
    )


def _weights(labels: NDArray[np.int64], classes: int, expected: Sequence[float]) -> NDArray[np.float64]:
    """Weigh images so that classes stand in the expected proportions, all together N; classes without images cannot."""
    shares, images = np.asarray(expected, dtype=np.float64), np.bincount(labels, minlength=classes)
    if shares.shape != images.shape:
        raise BadData(f"{len(shares)} expected shares for {classes} classes; give one share a class")
    reached = shares[images > 0].sum()
    if not reached:
        raise BadData("none of the expected classes has images in this split, so nothing can be said of them")
    return np.asarray((shares / np.maximum(images, 1) / reached)[labels] * len(labels))
