"""Estimates with the two kinds of chance behind them, and the two claims that can be made of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

from scipy import special

Claim = Literal["networks", "method"]
"""What an interval speaks of: `networks`, these very networks on new images; `method`, the method on new seeds and new images."""

CLAIMS: dict[Claim, str] = {"networks": "these networks on new images", "method": "the method, on new seeds and images"}

LEAST_SEEDS = 3
"""Seeds from which on anything is said of a method. Two give its variance over seeds one degree of freedom, and intervals of no use."""

LEVEL = 0.95
"""The level of every interval that stands beside no test."""

POWER = 0.8
"""The power at which a difference counts as one that could have been shown."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: lower end, a share or a difference of shares, unrounded.
        high: upper end.
        level: such as 0.95.
    """

    low: float
    high: float
    level: float

    def to_dict(self) -> dict[str, float]:
        """Give plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"[{100 * self.low:.2f}, {100 * self.high:.2f}]"


@dataclass(frozen=True)
class Variance:
    """An estimated variance of a figure, and the degrees of freedom of that estimate (infinite where it is as good as known)."""

    value: float
    freedom: float

    def __add__(self, other: Variance) -> Variance:
        """Add independent estimates; degrees of freedom by Satterthwaite, v^2 / sum(v_i^2 / f_i)."""
        total = self.value + other.value
        if not total:
            return Variance(0.0, min(self.freedom, other.freedom))
        doubt = (self.value / total) ** 2 / self.freedom + (other.value / total) ** 2 / other.freedom
        return Variance(total, 1 / doubt if doubt else math.inf)  # no doubt: the one is as good as known, the other 0


@dataclass(frozen=True)
class Estimate:
    """A figure, with its variance when images are drawn again and when seeds are.

    Attributes:
        value: the figure, or the difference of two.
        seeds: k, the number of seeds behind it.
        by_images: variance of the redraw of images, all seeds kept.
        by_seeds: variance of the redraw of seeds, all images kept; None with one seed.
        least: smallest value that the figure can have: 0, or -1 for a difference. The largest is 1.
    """

    value: float
    seeds: int
    by_images: Variance
    by_seeds: Variance | None
    least: float = 0.0

    @property
    def claim(self) -> Claim:
        """The farther-reaching claim that so many seeds allow."""
        return "method" if self.seeds >= LEAST_SEEDS else "networks"

    def variance(self, claim: Claim) -> Variance | None:
        """Give the variance under a claim; None where there are too few seeds for it.

        For the method both redraws are added. What is chance in single answers is in either of them, so the sum errs to the safe side.
        """
        if claim == "networks":
            return self.by_images
        return None if self.seeds < LEAST_SEEDS or self.by_seeds is None else self.by_images + self.by_seeds

    def interval(self, claim: Claim, level: float = LEVEL) -> Interval | None:
        """Give value ± t * sqrt(variance), cut where no figure can be; None where there are too few seeds for the claim."""
        variance = self.variance(claim)
        if variance is None:
            return None
        half = _quantile(0.5 + level / 2, variance.freedom) * math.sqrt(variance.value)
        return Interval(max(self.value - half, self.least), min(self.value + half, 1.0), level)

    def p_value(self, claim: Claim) -> float | None:
        """Give the two-sided p-value of the figure being 0; None where there are too few seeds for the claim."""
        variance = self.variance(claim)
        if variance is None:
            return None
        if not variance.value:
            return float(self.value == 0)
        return float(2 * special.stdtr(variance.freedom, -abs(self.value) / math.sqrt(variance.value)))

    def detectable(self, claim: Claim, level: float = LEVEL) -> float | None:
        """Give the true difference that would be told from 0 in four of five repetitions, with this much chance; None as above."""
        variance = self.variance(claim)
        if variance is None:
            return None
        return (_quantile(0.5 + level / 2, variance.freedom) + _quantile(POWER, variance.freedom)) * math.sqrt(variance.value)


def _quantile(share: float, freedom: float) -> float:
    return float(special.stdtrit(freedom, share))
