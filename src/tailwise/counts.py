"""Class counts: how many training images a class really has, and how many a stage shows."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tailwise.errors import BadData


class _Shown(enum.Enum):
    SHOWN = "shown"

    def __repr__(self) -> str:
        return "SHOWN"


SHOWN = _Shown.SHOWN
"""Stands in a part's field for the counts that its stage will show; the planner fills it in."""

Counts = Sequence[float] | _Shown
"""What a part's `counts` field takes: one number a class in label order, or `SHOWN`."""


PRIOR_WORDS = ("train", "uniform", "reversed")
"""Class priors at test that have a name: the training shares, equal ones, the training shares in reverse order."""

ESTIMATED = "estimated"
"""Stands for a class prior at test that is read off the answers on the test images, without their labels."""


@dataclass(frozen=True)
class ClassCounts:
    """Training images a class, in label order.

    Attributes:
        real: (classes,) real training images, never generated ones. Margins, effective numbers and groups use these.
        shown: (classes,) rows that a stage's `main` stream is expected to show an epoch (sampled, repeated and generated rows,
            each times its weight). Priors use these. Equal to `real` until a stage says otherwise.

    >>> ClassCounts((50, 10, 5)).imbalance_ratio
    10.0
    """

    real: tuple[int, ...]
    shown: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        if any(n < 0 for n in self.real):
            raise BadData(f"class counts are never negative, got {list(self.real)}")
        if not self.shown:
            object.__setattr__(self, "shown", tuple(float(n) for n in self.real))
        if len(self.shown) != len(self.real):
            raise BadData(f"{len(self.shown)} shown counts for {len(self.real)} classes; give one number a class")

    @property
    def classes(self) -> int:
        """Number of classes, empty ones included."""
        return len(self.real)

    @property
    def imbalance_ratio(self) -> float:
        """Largest over smallest count among the classes that have images; at least 1."""
        present = [n for n in self.real if n > 0]
        return max(present) / min(present) if present else float("nan")

    @property
    def gini(self) -> float:
        """Gini's coefficient over all classes, empty ones included: 0 where all are equal, (C - 1) / C where one has everything.

        Half of the mean absolute difference of two classes drawn at random, in units of their mean; nan without images.
        """
        rising = sorted(self.real)
        total = sum(rising)
        weighted = sum((2 * rank - len(rising) - 1) * n for rank, n in enumerate(rising, start=1))
        return weighted / (len(rising) * total) if total else float("nan")


def mean_counts(folds: Sequence[ClassCounts]) -> ClassCounts:
    """Average the counts of folds: real ones to the nearest whole number, halves up.

    >>> mean_counts([ClassCounts((4, 1)), ClassCounts((5, 1)), ClassCounts((5, 0))]).real
    (5, 1)
    """
    real = [math.floor(sum(counts) / len(folds) + 0.5) for counts in zip(*(counts.real for counts in folds), strict=True)]
    shown = [sum(counts) / len(folds) for counts in zip(*(counts.shown for counts in folds), strict=True)]
    return ClassCounts(tuple(real), tuple(shown))


def without_prior(masses: Sequence[float], counts: Counts, tau: float) -> tuple[float, ...]:
    """Take a prior of strength tau out of masses a class: `m_k / pi_k**tau`, pi the shares of the counts.

    A class with a count of zero keeps its mass, as if its share were 1: what adjusts logits does not move it either.

    >>> without_prior((30.0, 10.0), (3, 1), 1.0)
    (40.0, 40.0)
    """
    if counts is SHOWN:
        counts = masses
    total = sum(counts)
    return tuple(mass / (n / total) ** tau if n > 0 else mass for mass, n in zip(masses, counts, strict=True))


def is_uneven(counts: Counts) -> bool:
    """Say whether classes that have rows differ in their number of rows."""
    if counts is SHOWN:
        return True
    present = [n for n in counts if n > 0]
    return bool(present) and max(present) - min(present) > 1e-9 * max(present)
