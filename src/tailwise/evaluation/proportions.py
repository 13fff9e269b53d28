"""One proportion and two: intervals for so many right answers of so many images, where nothing but the two numbers is known."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from tailwise.errors import BadValue
from tailwise.evaluation.intervals import LEVEL, Interval


def wilson(correct: int, images: int, level: float = LEVEL) -> Interval | None:
    """Give Wilson's score interval of one pooled proportion; None without images.

    The values p that a score test of that level does not refuse: |correct / images - p| <= z * sqrt(p * (1 - p) / images).

    Raises:
        BadValue: numbers that cannot be.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    >>> print(wilson(122, 240))
    [44.55, 57.10]
    """
    _check(correct, images)
    if not images:
        return None
    z2 = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    centre = (correct + z2 / 2) / (images + z2)
    half = math.sqrt(z2 * (correct * (images - correct) / images + z2 / 4)) / (images + z2)
    low = 0.0 if correct == 0 else max(0.0, centre - half)  # both are exact there, and rounding is not
    return Interval(low, 1.0 if correct == images else min(1.0, centre + half), level)


def jeffreys(correct: int, images: int, level: float = LEVEL) -> Interval | None:
    """Give the equal-tailed interval of the posterior Beta(correct + 1/2, wrong + 1/2), for the few images of one class; None without any.

    Its lower end is 0 where nothing was right, its upper end 1 where everything was.

    Raises:
        BadValue: numbers that cannot be.

    Source: Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", Statistical Science 2001, section 4.1.1.

    >>> print(jeffreys(1, 1))
    [14.67, 100.00]
    """
    _check(correct, images)
    if not images:
        return None
    (low,), (high,) = jeffreys_ends(np.array([correct]), np.array([images]), level)
    return Interval(low, high, level)


def jeffreys_ends(correct: np.ndarray, images: np.ndarray, level: float = LEVEL) -> tuple[list[float], list[float]]:
    """Give the lower and the upper ends of `jeffreys` for (C,) right answers and images of many classes at once."""
    from scipy import special

    low, high = (special.betaincinv(correct + 0.5, images - correct + 0.5, share) for share in (0.5 - level / 2, 0.5 + level / 2))
    return np.where(correct > 0, low, 0.0).tolist(), np.where(correct < images, high, 1.0).tolist()


def two_proportions(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """Compare two proportions as separate samples: (z, two-sided p), by the pooled score test.

    z = (p1 - p2) / sqrt(p * (1 - p) * (1/n1 + 1/n2)), p of both together. Where both were measured on the same images this is the wrong
    question: a paired answer needs every prediction.

    Args:
        first: right answers and images.
        second: likewise.

    Raises:
        BadValue: numbers that cannot be, or no images.

    >>> round(two_proportions((135, 240), (122, 240))[0], 2)
    1.19
    """
    for correct, images in (first, second):
        _check(correct, images)
        if not images:
            raise BadValue("a proportion of no images cannot be compared; leave the group out")
    from scipy import special

    (right1, n1), (right2, n2) = first, second
    together = (right1 + right2) / (n1 + n2)
    error = math.sqrt(together * (1 - together) * (1 / n1 + 1 / n2))
    z = (right1 / n1 - right2 / n2) / error if error else 0.0  # all right or all wrong in both
    return z, float(2 * special.ndtr(-abs(z)))


def _check(correct: int, images: int) -> None:
    if not 0 <= correct <= images:
        raise BadValue(f"{correct} right answers of {images} images cannot be; expected 0 <= right <= images")
