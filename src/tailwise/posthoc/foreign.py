"""Anybody's answers corrected for the tail: logits or probabilities of a model that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from tailwise.errors import BadData, BadValue
from tailwise.groups import Groups, make_groups
from tailwise.posthoc.logit_adjustment import adjust_logits

SCHEMA = "tailwise.adjustment/1"

LARGEST_COUNT = 2**53
"""Whole numbers above it are not exact as floats; no class has so many images."""

ROW_SUM = 1e-3
"""How far a row of probabilities may be from a sum of 1: float16 keeps three decimals."""


@dataclass(frozen=True)
class Moved:
    """One group of classes as answers.

    Attributes:
        classes: classes in the group.
        before: rows that were answered with one of them.
        after: rows that are now.
        moved_to: rows that are now and were answered with another class before, of this group or not.
    """

    classes: int
    before: int
    after: int
    moved_to: int


@dataclass(frozen=True, eq=False, repr=False)
class Adjusted:
    """Corrected logits, and what the correction changed.

    Attributes:
        logits: (N, C) in the dtype of the input; float64 for integers.
        answers: (N,) int64 labels by the corrected logits, the lowest among equals.
        answers_before: (N,) int64 labels by what was given.
        counts: (C,) training images a class.
        tau: strength of the correction.
        took_log: whether the input were probabilities, whose logarithm was taken first.
        groups: many, medium, few by the counts.
    """

    logits: np.ndarray
    answers: np.ndarray
    answers_before: np.ndarray
    counts: tuple[int, ...]
    tau: float
    took_log: bool
    groups: Groups

    @property
    def changed(self) -> int:
        """Number of rows that are answered with another class."""
        return int((self.answers != self.answers_before).sum())

    @property
    def moved(self) -> Mapping[str, Moved]:
        """Answers of each group before and after, from frequent to rare."""
        is_new = self.answers != self.answers_before
        found = {}
        for name, labels in self.groups.members.items():
            after = np.isin(self.answers, labels)
            before = int(np.isin(self.answers_before, labels).sum())
            found[name] = Moved(len(labels), before, int(after.sum()), int((after & is_new).sum()))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values: all but the arrays."""
        return {
            "schema": SCHEMA,
            "images": len(self.logits),
            "classes": len(self.counts),
            "dtype": str(self.logits.dtype),
            "tau": self.tau,
            "took_log": self.took_log,
            "classes_without_images": self.counts.count(0),
            "scheme": self.groups.scheme,
            "rule": self.groups.rule,
            "changed": self.changed,
            "groups": {name: vars(part) for name, part in self.moved.items()},
        }

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {part.before:,} -> {part.after:,}" for name, part in self.moved.items())
        rows, classes = self.logits.shape
        return f"Adjusted {rows:,} x {classes:,}, tau {self.tau:g}: {self.changed:,} rows changed their class; answers {parts}"


def adjust(logits: np.ndarray, counts: Iterable[int], tau: float = 1.0) -> Adjusted:
    """Correct the logits, or probabilities, of any model for the training prior, without training.

    Not for a model whose loss already had the prior in it (balanced softmax, logit-adjusted loss), nor for one trained on classes that
    were drawn evenly: that would correct twice. The formula and its source: `adjust_logits`.

    Probabilities are recognised (all within 0-1, every row's sum within 0.001 of 1) and their logarithm is taken first. **A probability
    of 0** becomes a finite logarithm, lower than every other in the array by more than the correction can lift it: as in the limit, it
    never overtakes a probability above 0, and zeros of one row keep the order that the correction gives them. A class without training
    images gains nothing.

    Args:
        logits: (N, C) finite numbers, N and C at least 1; never changed.
        counts: (C,) training images a class, whole numbers from 0, at least one above 0.
        tau: strength, >= 0; 0 changes nothing, 1 targets the balanced error.

    Raises:
        BadData: logits or counts that are not as above.
        BadValue: tau is negative, not finite, or so large that the result has no finite value in this dtype.

    >>> adjust(np.array([[2.0, 1.0], [3.0, 0.0]]), counts=[90, 10])
    Adjusted 2 x 2, tau 1: 1 rows changed their class; answers many 2 -> 1, medium 0 -> 1, few 0 -> 0
    """
    given, counts = _checked(np.asarray(logits)), whole_counts(counts)
    if given.shape[1] != len(counts):
        raise BadData(f"{len(counts):,} counts for logits of {given.shape[1]:,} classes; give one count a class")
    if not isinstance(tau, Real) or not np.isfinite(float(tau)) or tau < 0:
        raise BadValue(f"tau is a number from 0, got {tau!r}; 1 is usual")
    gains = adjust_logits(np.zeros(len(counts)), counts, tau)
    took_log = _are_probabilities(given)
    before = _logarithm(given, float(np.ptp(gains))) if took_log else given.astype(np.float64)
    with np.errstate(over="ignore"):
        after = adjust_logits(before, counts, tau).astype(given.dtype if given.dtype.kind == "f" else np.float64)
    if not np.isfinite(after).all():
        raise BadValue(f"tau {tau:g} gives logits beyond {after.dtype}; take a smaller tau, 1 is usual")
    return Adjusted(after, after.argmax(1), given.argmax(1), counts, float(tau), took_log, make_groups(counts))


def whole_counts(values: Iterable[Any], where: str = "counts") -> tuple[int, ...]:
    """Check that values are numbers of images, one a class in label order.

    Args:
        values: whole numbers from 0, not all of them 0; floats such as 480.0 are taken.
        where: what an error calls them.

    Raises:
        BadData: a value is no such number, none is above 0, or there are none.

    >>> whole_counts([480, 12.0])
    (480, 12)
    """
    counts = list(values)
    for label, n in enumerate(counts):
        if not _is_count(n):
            raise BadData(f"{where}: label {label} has {_short(n)}, expected a number of images: a whole number from 0")
    if not any(counts):
        raise BadData(f"{where}: {'no class has images' if counts else 'there are no counts'}; give one number of training images a class")
    return tuple(int(n) for n in counts)


def _is_count(n: Any) -> bool:
    is_number = isinstance(n, Real) and not isinstance(n, bool)
    return is_number and 0 <= n <= LARGEST_COUNT and n == int(n)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _checked(logits: np.ndarray) -> np.ndarray:
    if logits.dtype.kind not in "iuf":
        raise BadData(f"logits are {logits.dtype}, expected numbers of shape (images, classes)")
    if logits.ndim != 2 or 0 in logits.shape:
        raise BadData(f"logits have shape {logits.shape}, expected (images, classes), at least one of each")
    is_bad = ~np.isfinite(logits).all(axis=1)
    if is_bad.any():
        raise BadData(
            f"logits have NaN or infinite values in {is_bad.sum():,} rows, the first is row {is_bad.argmax()}; leave these rows out"
        )
    return logits


def _are_probabilities(rows: np.ndarray) -> bool:
    """Say whether all values are within 0-1 and every row adds up to 1."""
    return bool(((rows >= 0) & (rows <= 1)).all() and (np.abs(rows.sum(axis=1, dtype=np.float64) - 1) <= ROW_SUM).all())


def _logarithm(probabilities: np.ndarray, largest_gain: float) -> np.ndarray:
    """Give log probabilities in float64; those of 0 lie below all others by more than `largest_gain`."""
    is_positive = probabilities > 0
    floor = np.log(probabilities[is_positive].min().astype(np.float64)) - largest_gain - 1
    return np.log(probabilities, out=np.full(probabilities.shape, floor), where=is_positive, dtype=np.float64)
