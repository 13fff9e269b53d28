"""Estimates with the two kinds of chance behind them, and the two claims that can be made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Claim = Literal["networks", "method"]
"""What an interval speaks of: `networks`, these very networks on new images; `method`, the method on new seeds and new images."""

CLAIMS: dict[Claim, str] = {"networks": "these networks on new images", "method": "the method, on new seeds and images"}

LEAST_SEEDS = 3
"""Seeds from which on anything is said of a method. Two give its variance over seeds one degree of freedom, and intervals of no use."""

LEVEL = 0.95
"""The level of every interval that stands beside no test."""

POWER = 0.8
"""The power at which a difference counts as one that could have been shown."""

TINY = 1e-100
"""Smaller p-values are not told apart."""

ROUNDING = 1e-9
"""Relative error that a p-value may have."""


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

    def parts(self, claim: Claim) -> tuple[Variance, ...]:
        """Give the variances that a claim is about; none where there are too few seeds for it.

        For the method both redraws count. What is chance in single answers is in either of them, so their sum errs to the safe side.
        """
        if claim == "networks":
            return (self.by_images,)
        return () if self.seeds < LEAST_SEEDS or self.by_seeds is None else (self.by_images, self.by_seeds)

    def interval(self, claim: Claim, level: float = LEVEL) -> Interval | None:
        """Give value ± `half_width`, cut where no figure can be; None where there are too few seeds for the claim."""
        parts = self.parts(claim)
        if not parts:
            return None
        half = half_width(parts, 1 - level)
        return Interval(max(self.value - half, self.least), min(self.value + half, 1.0), level)

    def p_value(self, claim: Claim) -> float | None:
        """Give the two-sided p-value of the figure being 0, the alpha at which the interval ends there; None as above."""
        parts = [part for part in self.parts(claim) if part.value]
        if not parts:
            return float(self.value == 0) if self.parts(claim) else None
        from scipy import optimize, special

        ratio = abs(self.value) / math.sqrt(sum(part.value for part in parts))
        alone = [float(2 * special.stdtr(part.freedom, -ratio)) for part in parts]  # as if every variance were known like this one

        def excess(log_alpha: float) -> float:
            return half_width(parts, math.exp(log_alpha)) - abs(self.value)

        low, high = (math.log(max(p, TINY)) for p in (min(alone), max(alone)))
        if high - low < ROUNDING or excess(low) <= 0:
            return math.exp(low)
        return math.exp(optimize.brentq(excess, low, high + ROUNDING))

    def detectable(self, claim: Claim, level: float = LEVEL) -> float | None:
        """Give the true difference that would be told from 0 in four of five repetitions, with this much chance; None as above."""
        parts = self.parts(claim)
        return half_width(parts, 1 - level) + half_width(parts, 2 * (1 - POWER)) if parts else None


def half_width(parts: Sequence[Variance], alpha: float) -> float:
    """Give sqrt(sum_i t_i^2 * v_i), each variance with the t quantile of its own degrees of freedom.

    It is exact where one variance is all, and covers at least 1 - alpha whatever their proportion: given the estimates, the chance to
    cover is G(sum_i t_i^2 * v_i / v), and G, the distribution function of chi-squared with one degree of freedom, is concave. One quantile
    with Satterthwaite's freedom would cover less, much less at Holm's levels: where three seeds happen to agree, it takes both their
    variance for small and its estimate for good.
    """
    from scipy import special

    return math.sqrt(sum(float(special.stdtrit(part.freedom, alpha / 2)) ** 2 * part.value for part in parts))
