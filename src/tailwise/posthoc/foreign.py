"""Anybody's answers corrected for the tail: logits or probabilities of a model that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from tailwise.counts import ESTIMATED
from tailwise.errors import BadData, BadValue
from tailwise.groups import Groups, make_groups
from tailwise.posthoc.estimated_prior import estimate_prior
from tailwise.posthoc.prior_shift import UNEXPECTED, expected_prior, shift_logits, shortened
from tailwise.posthoc.temperature import NO_VAL, FittedTemperature, fit_temperature

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
        test_prior: `train`, `uniform`, `reversed`, `estimated`, or `given`: what is expected at test.
        expected: (C,) shares of the classes there.
        temperature: that the logits were divided by first.
        val_images: rows that it was fitted on; 0 where there were none, and the softmax of the logits is not calibrated.
        sentence: on the temperature.
    """

    logits: np.ndarray
    answers: np.ndarray
    answers_before: np.ndarray
    counts: tuple[int, ...]
    tau: float
    took_log: bool
    groups: Groups
    test_prior: str = "uniform"
    expected: tuple[float, ...] = ()
    temperature: float = 1.0
    val_images: int = 0
    sentence: str = NO_VAL

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
            "test_prior": self.test_prior,
            "expected": list(self.expected),
            "temperature": self.temperature,
            "val_images": self.val_images,
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
        words = f"tau {self.tau:g}"
        words += f", test prior {self.test_prior}" if self.test_prior != "uniform" else ""
        words += f", temperature {self.temperature:.2f}" if self.val_images else ""
        return f"Adjusted {rows:,} x {classes:,}, {words}: {self.changed:,} rows changed their class; answers {parts}"


def adjust(
    logits: np.ndarray,
    counts: Iterable[int],
    tau: float = 1.0,
    test_prior: str | Sequence[float] | np.ndarray = "uniform",
    val_logits: np.ndarray | None = None,
    val_labels: np.ndarray | None = None,
) -> Adjusted:
    """Correct the logits, or probabilities, of any model for the training prior and for what is expected at test, without training.

    Not for a model whose loss already had the prior in it (balanced softmax, logit-adjusted loss), nor for one trained on classes that
    were drawn evenly: that would correct twice. The formula and its source: `shift_logits`.

    Probabilities are recognised (all within 0-1, every row's sum within 0.001 of 1) and their logarithm is taken first. **A probability
    of 0** becomes a finite logarithm, lower than every other in the array by more than the correction can lift it: as in the limit, it
    never overtakes a probability above 0, and zeros of one row keep the order that the correction gives them. A class without training
    images gains nothing, and one that is not expected at test never wins.

    Args:
        logits: (N, C) finite numbers, N and C at least 1; never changed.
        counts: (C,) training images a class, whole numbers from 0, at least one above 0.
        tau: strength with which the training prior is taken out, >= 0; 0 leaves it, 1 is the formula.
        test_prior: `uniform`, the balanced error; `train`, `reversed`, or (C,) counts or shares: see `expected_prior`; `estimated`: read
            off these logits, see `estimate_prior`.
        val_logits: (M, C) of images that were not trained on, from the same model; with them a temperature makes scores calibrated.
        val_labels: (M,) their true labels.

    Raises:
        BadData: logits, counts or labels that are not as above.
        BadValue: tau is negative, not finite, or so large that the result has no finite value in this dtype; val logits or labels alone.
        UnknownName: another word for the test prior.

    >>> adjust(np.array([[2.0, 1.0], [3.0, 0.0]]), counts=[90, 10])
    Adjusted 2 x 2, tau 1: 1 rows changed their class; answers many 2 -> 1, medium 0 -> 1, few 0 -> 0
    """
    given, counts = _checked(np.asarray(logits)), whole_counts(counts)
    if given.shape[1] != len(counts):
        raise BadData(f"{len(counts):,} counts for logits of {given.shape[1]:,} classes; give one count a class")
    if not isinstance(tau, Real) or not np.isfinite(float(tau)) or tau < 0:
        raise BadValue(f"tau is a number from 0, got {tau!r}; 1 is usual")
    took_log = _are_probabilities(given)
    fitted = _fitted(val_logits, val_labels, counts, took_log)
    if isinstance(test_prior, str) and test_prior == ESTIMATED:
        seen = _logarithm(given, fitted.temperature * UNEXPECTED) if took_log else given  # 0 is 0: no evidence for any class
        expected = estimate_prior(seen, counts, fitted.temperature).shares
    else:
        expected = expected_prior(test_prior, counts)
    gains = shift_logits(np.zeros(len(counts)), counts, expected, tau=tau)[expected > 0]
    before = _logarithm(given, fitted.temperature * float(np.ptp(gains))) if took_log else given.astype(np.float64)
    with np.errstate(over="ignore"):
        after = shift_logits(before, counts, expected, fitted.temperature, tau)
        after = after.astype(given.dtype if given.dtype.kind == "f" else np.float64)
    if not np.isfinite(after).all():
        raise BadValue(f"tau {tau:g} gives logits beyond {after.dtype}; take a smaller tau, 1 is usual")
    return Adjusted(
        logits=after,
        answers=after.argmax(1),
        answers_before=given.argmax(1),
        counts=counts,
        tau=float(tau),
        took_log=took_log,
        groups=make_groups(counts),
        test_prior=test_prior if isinstance(test_prior, str) else "given",
        expected=tuple(expected.tolist()),
        temperature=fitted.temperature,
        val_images=fitted.images,
        sentence=fitted.sentence,
    )


def _fitted(logits: np.ndarray | None, labels: np.ndarray | None, counts: tuple[int, ...], took_log: bool) -> FittedTemperature:
    """Fit a temperature on validation rows, where they are given."""
    if logits is None and labels is None:
        return FittedTemperature(1.0, 0, NO_VAL)
    if logits is None or labels is None:
        raise BadValue(f"val {'logits' if logits is None else 'labels'} are missing; give val logits and val labels, or neither")
    seen = _checked(np.asarray(logits), "val logits")
    if seen.shape[1] != len(counts):
        raise BadData(f"val logits have {seen.shape[1]:,} classes, and there are {len(counts):,}; give those of the same model")
    if _are_probabilities(seen) is not took_log:
        raise BadData(f"{'logits' if took_log else 'val logits'} are no probabilities and the others are; give both alike")
    return fit_temperature(_logarithm(seen, 0.0) if took_log else seen, labels, counts)


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
            raise BadData(f"{where}: label {label} has {shortened(n)}, expected a number of images: a whole number from 0")
    if not any(counts):
        raise BadData(f"{where}: {'no class has images' if counts else 'there are no counts'}; give one number of training images a class")
    return tuple(int(n) for n in counts)


def _is_count(n: Any) -> bool:
    is_number = isinstance(n, Real) and not isinstance(n, bool)
    return is_number and 0 <= n <= LARGEST_COUNT and n == int(n)


def _checked(logits: np.ndarray, where: str = "logits") -> np.ndarray:
    if logits.dtype.kind not in "iuf":
        raise BadData(f"{where} are {logits.dtype}, expected numbers of shape (images, classes)")
    if logits.ndim != 2 or 0 in logits.shape:
        raise BadData(f"{where} have shape {logits.shape}, expected (images, classes), at least one of each")
    is_bad = ~np.isfinite(logits).all(axis=1)
    if is_bad.any():
        raise BadData(
            f"{where} have NaN or infinite values in {is_bad.sum():,} rows, the first is row {is_bad.argmax()}; leave these rows out"
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
