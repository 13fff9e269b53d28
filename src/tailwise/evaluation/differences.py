"""Methods held against one of them: paired differences, what is more than noise, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.evaluation.answers import Answers
from tailwise.evaluation.crossed import ClassMeans, of_differences
from tailwise.evaluation.holm import ALPHA, Tested, holm
from tailwise.evaluation.intervals import CLAIMS, LEAST_SEEDS, LEVEL, Claim, Estimate, Interval

TESTED = "macro"
"""The one column that is tested; the others are described."""


@dataclass(frozen=True)
class Gap:
    """The difference of two rows in one column.

    Attributes:
        difference: mean over the seeds that both have, a difference of shares, unrounded.
        interval: of the difference.
        images: n behind it.
    """

    difference: float
    interval: Interval
    images: int

    def __str__(self) -> str:
        return f"{_points(self.difference)} [{_points(self.interval.low)}, {_points(self.interval.high)}]"


@dataclass(frozen=True)
class Difference:
    """One row minus the row that it is held against, on the same images and seeds.

    Attributes:
        name: of the row.
        against: of the other.
        seeds: those that both have.
        claim: `method` from three common seeds on, else `networks`.
        gaps: column -> difference; the interval of `macro` is at the level at which Holm tested it, the others' at 95 %. A column without
            images is left out.
        p: p-value of the difference in macro accuracy.
        p_holm: the same, adjusted for all rows of the table.
        is_shown: whether it is more than noise: just where the interval of `macro` excludes 0.
        by_images: variance of that difference when images are drawn again.
        by_seeds: its variance when seeds are; 0 with one seed.
        detectable: difference in macro accuracy that so many images and seeds would have shown in four of five repetitions.
        changed: share of answers that are another class than the other row's, 0-1.
    """

    name: str
    against: str
    seeds: tuple[int, ...]
    claim: Claim
    gaps: Mapping[str, Gap]
    p: float
    p_holm: float
    is_shown: bool
    by_images: float
    by_seeds: float
    detectable: float
    changed: float

    @property
    def words(self) -> str:
        """What moved, what it cost, whether it is more than noise, and what so few seeds cannot show; a few sentences."""
        if not self.changed:
            return f"{self.name} answers every image as {self.against} does."
        macro = self.gaps[TESTED]
        if self.is_shown:
            verdict = f"{'better' if macro.difference > 0 else 'worse'} than {self.against} by more than noise: macro {macro} points"
        else:
            least = f"about {100 * self.detectable:.1f}" if self.detectable < 1 else "no difference"
            verdict = f"within noise of {self.against}: macro {macro} points, where {least} would show"
        return f"{self.name}: {verdict} (p {shown_p(self.p_holm)}).{self._described()}{self._limits()}"

    def _described(self) -> str:
        """Say what the groups gain and pay, in as many words as their intervals allow."""
        said = [(name, gap) for name, gap in self.gaps.items() if name not in (TESTED, "overall")]
        gains = [f"{name} {gap}" for name, gap in said if gap.interval.low > 0]
        costs = [f"{name} {gap}" for name, gap in said if gap.interval.high < 0]
        unclear = [name for name, gap in said if gap.interval.low <= 0 <= gap.interval.high]
        parts = (("It gains", gains), ("It costs", costs), ("Not clear of 0:", unclear))
        return "".join(f" {what} {', '.join(found)}." for what, found in parts if found)

    def _limits(self) -> str:
        if self.claim == "method":
            return ""
        number = f"{len(self.seeds)} seed{'s' if len(self.seeds) != 1 else ''}"
        return f" With {number} this speaks of {CLAIMS['networks']}; of the method only {LEAST_SEEDS} seeds or more could."

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, differences as shares."""
        return {
            "name": self.name,
            "against": self.against,
            "seeds": list(self.seeds),
            "claim": self.claim,
            "columns": {
                column: {"difference": gap.difference, **gap.interval.to_dict(), "images": gap.images} for column, gap in self.gaps.items()
            },
            "p": self.p,
            "p_holm": self.p_holm,
            "more_than_noise": self.is_shown,
            "by_images": self.by_images,
            "by_seeds": self.by_seeds,
            "detectable": self.detectable,
            "changed": self.changed,
            "words": self.words,
        }


@dataclass(frozen=True, eq=False)
class Answered:
    """A row's networks by seed, all on the same images."""

    name: str
    networks: Mapping[int, Answers]


def differences(
    rows: Sequence[Answered], against: Answered, weights: Mapping[str, NDArray[np.float64]], images: Mapping[str, int]
) -> list[Difference]:
    """Hold rows against one, on the seeds that both have; Holm's procedure over the rows for macro accuracy.

    Args:
        rows: those to be held against the other; one without a common seed is left out.
        against: the baseline.
        weights: column -> (C,) weights of its mean over classes; `macro` is there.
        images: column -> n.
    """
    pairs = [(row, tuple(sorted(set(row.networks) & set(against.networks)))) for row in rows]
    means = [(row, seeds, _paired(row, against, seeds)) for row, seeds in pairs if seeds]
    found = [
        (row, seeds, {column: estimate for column, of_classes in weights.items() if (estimate := mean.estimate(of_classes)) is not None})
        for row, seeds, mean in means
    ]
    found = [entry for entry in found if TESTED in entry[2]]
    tested = holm([_p_value(estimates[TESTED]) for _, _, estimates in found])
    return [_difference(row, against, seeds, estimates, test, images) for (row, seeds, estimates), test in zip(found, tested, strict=True)]


def _paired(row: Answered, against: Answered, seeds: Sequence[int]) -> ClassMeans:
    ours = np.stack([row.networks[seed].correct for seed in seeds])
    theirs = np.stack([against.networks[seed].correct for seed in seeds])
    first = against.networks[seeds[0]]
    return of_differences(ours, theirs, first.labels, first.classes)


def _p_value(estimate: Estimate) -> float:
    p = estimate.p_value(estimate.claim)
    assert p is not None  # it is its own claim
    return p


def _difference(
    row: Answered, against: Answered, seeds: tuple[int, ...], estimates: Mapping[str, Estimate], test: Tested, images: Mapping[str, int]
) -> Difference:
    macro = estimates[TESTED]
    claim = macro.claim
    gaps = {}
    for column, estimate in estimates.items():
        interval = estimate.interval(claim, 1 - test.alpha if column == TESTED else LEVEL)
        assert interval is not None
        gaps[column] = Gap(estimate.value, interval, images[column])
    changed = [(row.networks[seed].predicted != against.networks[seed].predicted).mean() for seed in seeds]
    return Difference(
        name=row.name,
        against=against.name,
        seeds=seeds,
        claim=claim,
        gaps=gaps,
        p=_p_value(macro),
        p_holm=test.p_holm,
        is_shown=test.is_shown,
        by_images=macro.by_images.value,
        by_seeds=macro.by_seeds.value if macro.by_seeds else 0.0,
        detectable=macro.detectable(claim, 1 - test.alpha) or 0.0,
        changed=float(np.mean(changed)),
    )


def _points(difference: float) -> str:
    return f"{round(100 * difference, 2) + 0.0:+.2f}"  # no -0.00


def shown_p(value: float) -> str:
    """Write a p-value with the sign that stands before it."""
    return "< 0.0001" if value < 0.0001 else f"= {value:.2g}" if value < 0.1 else f"= {value:.2f}"


def caption(found: Sequence[Difference]) -> str:
    """Say what a table of differences shows, and by what right."""
    claims = {difference.claim for difference in found}
    said = "; ".join(f"{CLAIMS[claim]} ({LEAST_SEEDS} seeds or more)" if claim == "method" else CLAIMS[claim] for claim in sorted(claims))
    rows = f"{len(found)} row{'s' if len(found) != 1 else ''}"
    return (
        f"Differences from {found[0].against} in points, on the same images and seeds, for {said}. macro is tested: by Holm's procedure "
        f"over {rows}, {100 * ALPHA:g} % for any false alarm, each interval at the level at which its row was tested. "
        f"The other columns are described, by {100 * LEVEL:g} % intervals, not tested."
    )
