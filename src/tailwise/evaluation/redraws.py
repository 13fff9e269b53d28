"""Macro-F1, which is no mean over classes of what images say, under images drawn again.

Here draws are made. They are those of the crossed, class-stratified bootstrap: as many images of each class as there are, with
replacement, one draw for all seeds and methods. The variances carry no correction for the number of images or seeds: for a figure that is
no mean none is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tailwise.evaluation.answers import Answers
from tailwise.evaluation.intervals import Estimate, Variance

if TYPE_CHECKING:
    from scipy import sparse

DRAWS = 1000

AT_ONCE = 2**22
"""Numbers of images times draws that are held at a time."""

Floats = NDArray[np.float64]


def redraw(networks: Sequence[Answers], draws: int = DRAWS) -> list[Floats]:
    """Draw images again and measure each network on every draw.

    Args:
        networks: answers on the same images.
        draws: number of draws; always the same ones for the same labels.

    Returns:
        For each network (draws,) mean F1 of the classes present, 0-1.
    """
    labels, classes = networks[0].labels, networks[0].classes
    if not len(labels):
        return [np.zeros(0) for _ in networks]
    images = np.bincount(labels, weights=networks[0].weights, minlength=classes)
    sums = [_sums(answers) for answers in networks]
    parts = [[_macro_f1(matrix @ times, images) for matrix in sums] for times in _draws(labels, classes, draws)]
    return [np.concatenate(of_network) for of_network in zip(*parts, strict=True)]


def estimate(values: Sequence[float], redrawn: Sequence[Floats]) -> Estimate:
    """Estimate the mean of a figure over k seeds, uncorrected.

    Args:
        values: the figure of each seed on the images as they are.
        redrawn: for each seed (draws,) figures on images drawn again.
    """
    seeds = len(values)
    return Estimate(
        value=float(np.mean(values)),
        seeds=seeds,
        by_images=Variance(float(np.mean(redrawn, axis=0).var()), np.inf),
        by_seeds=Variance(float(np.var(values)) / seeds, seeds - 1) if seeds > 1 else None,
    )


def _draws(labels: NDArray[np.int64], classes: int, draws: int) -> Iterator[NDArray[np.float32]]:
    """Yield (N, some) how often each image is in a draw; each class has as many images in every draw as it has."""
    images = len(labels)
    order = np.argsort(labels, kind="stable")
    of_class = np.bincount(labels, minlength=classes)
    first = (np.cumsum(of_class) - of_class)[labels[order]][:, None]  # where an image's class begins in that order
    size = of_class[labels[order]][:, None]
    generator = np.random.Generator(np.random.Philox(0))
    some = max(1, min(draws, AT_ONCE // max(images, 1)))
    for begin in range(0, draws, some):
        width = min(some, draws - begin)
        drawn = order[first + (generator.random((images, width)) * size).astype(np.int64)]
        times = np.bincount((drawn * width + np.arange(width)).ravel(), minlength=images * width)
        yield times.reshape(images, width).astype(np.float32)


def _sums(answers: Answers) -> sparse.csr_array:
    """Make the (2C, N) matrix that sums draws: times answered a class, right answers a class."""
    from scipy import sparse

    rows = np.arange(len(answers.labels))
    weights = np.ones(len(rows)) if answers.weights is None else answers.weights
    right = np.flatnonzero(answers.correct)
    entries = np.concatenate([weights, weights[right]])
    places = (np.concatenate([answers.predicted, answers.classes + answers.labels[right]]), np.concatenate([rows, right]))
    return sparse.csr_array((entries, places), shape=(2 * answers.classes, len(rows)))


def _macro_f1(sums: Floats, images: Floats | NDArray[np.int64]) -> Floats:
    """Turn sums of draws, (2C, draws), into (draws,) macro-F1; images of a class are as many in every draw."""
    classes, there = len(images), images > 0
    answered, right = sums[:classes][there], sums[classes:][there]
    return np.asarray((2 * right / (images[there][:, None] + answered)).mean(0))
