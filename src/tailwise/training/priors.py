"""Class priors through a plan: what the rows show, what each part leaves of it in the logits, and where it is taken out twice.

A prior is a mass a class. The rows' is what the last stage shows; a criterion says what it leaves of that in the logits, a post-hoc part
what it leaves of the logits' (`prior_left`). How much of the training prior is left is a slope, that of its logarithm on the logarithm of
the training counts: 1 as trained by cross-entropy, 0 even, -1 where it was taken out twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tailwise.counts import is_uneven

if TYPE_CHECKING:
    from tailwise.training.plan import Leg

OVER = -0.25
"""The slope below which the tail is over-corrected: a quarter of the training prior, turned round; published weights (power 1.2) pass."""

MOVED = 0.05
"""The change of slope by which a part counts as one that corrects."""

LITTLE = 0.25
"""The slope below which logits count as under an even prior; square roots of counts leave 0.5, and are none."""

EVEN = "an even prior"


@dataclass(frozen=True)
class Step:
    """A part that the prior goes through.

    Attributes:
        name: of the part.
        assumes: (C,) counts whose prior it takes out, where it has a field of that name; else None.
        prior: (C,) masses that are left after it; None where that is not known.
    """

    name: str
    assumes: tuple[float, ...] | None
    prior: tuple[float, ...] | None


@dataclass(frozen=True)
class Combination:
    """Two parts whose meeting is said, for a reason that is no prior.

    Attributes:
        first: name of a part, or `an even prior` for logits in which little of the training prior is left.
        then: name of a part after it.
        says: what follows, and why.
    """

    first: str
    then: str
    says: str


COMBINATIONS = (
    Combination("LDAMLoss", "LogitAdjustment", "margins that grow as a class shrinks favour rare classes already, the shift adds to that"),
    Combination("MetaSampled", "LogitAdjustment", "balanced softmax on learnt rates has taken the class prior out of the logits already"),
    Combination("CumulativeLearning", "LogitAdjustment", "reversed rows favour rare classes already, the shift adds to that"),
    Combination(EVEN, "TauNorm", "a head that was trained on an even prior has rows of like length, so there is little to even out"),
)
"""The rows of the table of unwise combinations that are about something else than priors, as far as there are parts for them."""


def trace(real: Sequence[int], leg: Leg, posthoc: Any) -> list[Step]:
    """Follow the prior from the training images to the final logits.

    Args:
        real: (C,) training images a class.
        leg: the last stage.
        posthoc: the post-hoc part, or None.
    """
    main = leg.stage.streams["main"]
    steps = [Step("the training images", None, tuple(float(n) for n in real))]
    steps.append(Step("the rows shown" if main.sampler is None else type(main.sampler).__name__, None, leg.shown))
    objective = leg.stage.objective
    criterion = getattr(objective, "criterion", None)
    parts = [objective] if criterion is None or hasattr(objective, "prior_left") else []
    while criterion is not None:
        parts.append(criterion)
        criterion = getattr(criterion, "criterion", None)
    for part in [*parts, *([posthoc] if posthoc is not None else [])]:
        prior = steps[-1].prior
        counts = getattr(part, "counts", None)
        assumed = tuple(counts) if isinstance(counts, Sequence) else None
        leaves = getattr(part, "prior_left", lambda prior: None)  # an objective of its own may do anything, unless it says what it does
        steps.append(Step(type(part).__name__, assumed, None if prior is None else leaves(prior)))
    return steps


def prior_left(real: Sequence[int], leg: Leg, posthoc: Any) -> tuple[float, ...] | None:
    """Give the (C,) shares of the classes' prior in the final logits; None where it is not known.

    Args:
        real: (C,) training images a class.
        leg: the last stage.
        posthoc: the fitted post-hoc part, or None.
    """
    masses = trace(real, leg, posthoc)[-1].prior
    return None if masses is None else tuple(mass / sum(masses) for mass in masses)


def warnings(real: Sequence[int], leg: Leg, posthoc: Any, method: Any) -> Iterator[str]:
    """Warn where the class prior is taken out more than once, unless the method's card says that it is meant."""
    steps = trace(real, leg, posthoc)
    slopes = [_slope(step.prior, real) for step in steps]
    left = slopes[-1]
    if left is None or left >= OVER or method.card.prior_twice:
        return
    taken = [step.name for step, before, after in zip(steps[1:], slopes, slopes[1:], strict=False) if _corrects(before, after)]
    times, remedy = (f"{len(taken)} times", "one is enough") if len(taken) > 1 else ("more than once over", "take less of it")
    yield f"{method} corrects the class prior {times} ({', '.join(taken)}), and {remedy}: expect the tail to be over-corrected"


def notes(real: Sequence[int], leg: Leg, posthoc: Any, method: Any) -> Iterator[str]:
    """Say where a part has nothing to correct, since what it is shown is even already, and what else is to be known of two parts."""
    if not is_uneven(real):
        return
    steps = trace(real, leg, posthoc)
    for step in steps:
        if step.assumes is not None and not is_uneven(step.assumes):
            is_last = posthoc is not None and step is steps[-1]
            said = "has nothing to adjust" if is_last else "sees a uniform prior: equals cross-entropy"
            yield f"{method} shows all classes alike, so {step.name} {said}"
    for found in COMBINATIONS:
        for place, step in enumerate(steps):
            if step.name == found.then and _meets(found.first, steps[:place], real):
                yield f"{method} puts {found.then} on {found.first}: {found.says}"


def is_over_corrected(left: Sequence[float] | None, real: Sequence[int]) -> bool:
    """Say whether so little of the training prior is left that the tail is favoured: it was taken out twice."""
    slope = _slope(left, real)
    return slope is not None and slope < OVER


def _meets(first: str, before: Sequence[Step], real: Sequence[int]) -> bool:
    if first != EVEN:
        return any(step.name == first for step in before)
    slope = _slope(before[-1].prior, real)
    return slope is not None and slope < LITTLE


def _corrects(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after < before - MOVED


def _slope(prior: Sequence[float] | None, real: Sequence[int]) -> float | None:
    """Give the slope of log prior on log counts over the classes that have both; None where counts do not differ."""
    if prior is None or not is_uneven(real):
        return None
    there = [(np.log(n), np.log(mass)) for n, mass in zip(real, prior, strict=True) if n > 0 and mass > 0]
    counts, masses = np.array(there).T if there else (np.zeros(1), np.zeros(1))
    deviations = counts - counts.mean()
    spread = float(deviations @ deviations)
    return float(deviations @ masses) / spread if spread else None
