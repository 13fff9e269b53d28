"""The crossed, class-stratified bootstrap of means over classes: what chance in images and in seeds does to accuracy.

All seeds of a method answer the same images, so a draw of images serves every seed, and images are drawn within their class. Two passes:
images drawn again with all seeds kept, seeds drawn again with all images kept. A mean of means is linear in what is drawn, so the
variance over infinitely many draws has a closed form and no draw is made: sum over classes of w_c^2 * s_c^2 / n_c for images, the
variance of the seeds' figures / k for seeds. Both have the divisor n - 1, which is the bootstrap's variance times n / (n - 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tailwise.evaluation.intervals import Estimate, Variance

FEW_IMAGES = 5
"""Images of a class in a split below which its own variance says little; such classes are named in the caption."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """What k networks with different seeds reach in each of C classes, and how sure that is; a class without images has NaN.

    Attributes:
        images: (C,) int64, n_c.
        means: (k, C) float64, each network's mean over the class's images: of right answers (0 or 1), or of differences of two.
        variances: (C,) float64, variance of the mean over images and seeds when images are drawn again: s_c^2 / n_c over the images'
            means over seeds. Of a class with one image, that of its Jeffreys posterior.
        jeffreys: (C,) float64, variance of the Jeffreys posterior of each class.
        least: smallest value of an answer: 0, or -1 for differences.
    """

    images: NDArray[np.int64]
    means: Floats
    variances: Floats
    jeffreys: Floats
    least: float

    def estimate(self, weights: Floats) -> Estimate | None:
        """Estimate a weighted mean over classes; None where no class with a weight has images.

        Args:
            weights: (C,) from 0; those of the classes with images are brought to a sum of 1. Equal weights give macro accuracy, equal
                ones within a group that of the group, n_c the share of all images, an expected class distribution the share under it.

        Where all answers of all these classes are alike (everything right, or nothing), the images' variance is no 0: each class enters
        with that of its Jeffreys posterior.
        """
        there = (self.images > 0) & (weights > 0)
        if not there.any():
            return None
        share = weights[there] / weights[there].sum()
        seeds = len(self.means)
        by_class = self.variances[there] if self.variances[there].any() else self.jeffreys[there]
        figures = self.means[:, there] @ share
        return Estimate(
            value=float(figures.mean()),
            seeds=seeds,
            by_images=_summed(share**2 * by_class, np.maximum(self.images[there] - 1, 1)),
            by_seeds=Variance(float(figures.var(ddof=1)) / seeds, seeds - 1) if seeds > 1 else None,
            least=self.least,
        )


def group_weights(labels: Sequence[int], classes: int) -> Floats:
    """Give (C,) weights of a mean over some classes: 1 for each of them, 0 for the others."""
    return np.isin(np.arange(classes), labels).astype(np.float64)


def of_answers(correct: NDArray[np.bool_], labels: NDArray[np.int64], classes: int) -> ClassMeans:
    """Measure right answers.

    Args:
        correct: (k, N), whether network s answered image i right.
        labels: (N,) true classes.
        classes: C.

    One network, two classes: 1 of 2 right, and 1 of 1. The figure is 0.75; its variance is (0.5 / 2 + 0.0625) / 4:

    >>> found = of_answers(np.array([[True, False, True]]), np.array([0, 0, 1]), classes=2)
    >>> macro = found.estimate(np.ones(2))
    >>> macro.value, macro.by_images.value
    (0.75, 0.078125)
    """
    return _class_means(np.atleast_2d(correct).astype(np.int64), labels, classes, least=0)


def of_differences(correct: NDArray[np.bool_], against: NDArray[np.bool_], labels: NDArray[np.int64], classes: int) -> ClassMeans:
    """Measure paired differences: network s of one method minus network s of the other, image by image; 1, 0 or -1.

    Args:
        correct: (k, N), as in `of_answers`.
        against: (k, N), of the same seeds and images.
        labels: (N,) true classes.
        classes: C.
    """
    return _class_means(np.atleast_2d(correct).astype(np.int64) - against, labels, classes, least=-1)


def _class_means(values: NDArray[np.int64], labels: NDArray[np.int64], classes: int, least: int) -> ClassMeans:
    """Sum (k, N) answers of 0 and 1, or differences from -1 to 1, a class; whole numbers, so that the order of images changes no bit."""
    seeds, images = len(values), np.bincount(labels, minlength=classes)

    def per_class(numbers: NDArray[np.int64]) -> Floats:
        return np.bincount(labels, weights=numbers, minlength=classes).astype(np.float64)

    def divided(sums: Floats, by: Floats | NDArray[np.int64], otherwise: Floats) -> Floats:
        return np.divide(sums, by, out=otherwise, where=by > 0)

    total = values.sum(0)  # over seeds
    deviations = images * per_class(total**2) - per_class(total) ** 2  # n_c times the sum of squares around the mean, times k^2
    nothing = np.full(classes, np.nan)
    lost = per_class((values < 0).sum(0)) / seeds if least else None
    jeffreys = np.where(images > 0, _posterior_variance(per_class((values > 0).sum(0)) / seeds, lost, images), nothing)
    variances = divided(deviations, seeds**2 * images**2 * (images - 1.0), jeffreys.copy())
    return ClassMeans(images, np.stack([divided(per_class(row), images, nothing.copy()) for row in values]), variances, jeffreys, least)


def _posterior_variance(won: Floats, lost: Floats | None, images: NDArray[np.int64]) -> Floats:
    """Give the variance of p_won (- p_lost) under a Dirichlet posterior with 1/2 before each outcome.

    Two outcomes, right and wrong, or three of a difference: won, lost, the same.
    """
    total = images + (1.0 if lost is None else 1.5)
    up = won + 0.5
    down = np.zeros_like(up) if lost is None else lost + 0.5
    return np.asarray((up * (total - up) + down * (total - down) + 2 * up * down) / (total**2 * (total + 1)))


def _summed(parts: Floats, freedoms: NDArray[np.int64]) -> Variance:
    """Add the classes' variances; degrees of freedom by Satterthwaite."""
    total = float(parts.sum())
    return Variance(total, float(total**2 / (parts**2 / freedoms).sum()))
