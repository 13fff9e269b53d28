"""Temperature scaling: one number that makes softmax scores as sure as they are right, and changes no answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, NamedTuple, Self

import numpy as np
from scipy.special import log_softmax

from tailwise.errors import BadData, BadValue
from tailwise.posthoc.logit_adjustment import adjust_logits
from tailwise.posthoc.scores import Scores

LOWEST, HIGHEST = 0.001, 1000.0
"""The temperatures that are looked at. A network's own is between about 0.3 and 5; foreign logits may have any scale."""

NO_VAL = "temperature 1, not calibrated: no validation images"

FEW_IMAGES = 50
"""With fewer validation images the temperature is called rough: its standard error is above some ten percent."""


class FittedTemperature(NamedTuple):
    """A temperature and where it comes from.

    Attributes:
        temperature: divides the logits.
        images: validation images that it was fitted on; 0 where there are none, and the scores are not calibrated.
        sentence: both, for the record.
    """

    temperature: float
    images: int
    sentence: str


def fit_temperature(logits: np.ndarray, labels: np.ndarray | None, left: Sequence[float] | np.ndarray | None = None) -> FittedTemperature:
    """Choose the T > 0 at which held-out labels are most likely under softmax(z / T - log left + log v).

    `left` is the class prior that the logits carry and v the shares of the classes among `labels`: moved to the prior that these labels
    have, the scores are compared with them on equal terms, so that T is not bent by a difference of priors. Scale first, shift after:
    (z / T) - log left is not (z - log left) / T.

    Only classes with labels and with a prior above 0 take part, and rows of no other. The likelihood is convex in 1 / T, so the root of its
    derivative is the answer. Labels that the logits separate have none: their likelihood grows as T falls. Hence **n rows never show more
    than (n + 1/2) / (n + 1)**: T is not below the one where the mean probability of the true label is that (where there is a mistake it
    always is lower). Beyond that T stays within 0.001 to 1,000.

    Args:
        logits: (N, C) finite floats; computed in float64.
        labels: (N,) int true labels.
        left: (C,) prior in the logits, >= 0, at least one above 0, only ratios matter; None where it is that of the labels, or unknown.

    Returns:
        T, the rows that it was fitted on, and a sentence. T is 1 and the rows 0 where fewer than two classes can take part.

    Raises:
        BadData: labels or a prior that do not fit the logits.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2; theirs has no shift and no limit by n.

    >>> logits = 3 * np.log([[0.8, 0.2]] * 10)
    >>> fit_temperature(logits, np.array([0] * 8 + [1] * 2)).sentence
    'temperature 3.00 fitted on val (n = 10: few, so it is rough)'
    """
    scores = Scores(logits, labels)
    if scores.labels is None:
        raise BadData("a temperature is fitted on labels, and there are none; give one label a row")
    seen, truth, offsets = _comparable(scores.logits.astype(np.float64), scores.labels, left)
    if not scores.images:
        return FittedTemperature(1.0, 0, NO_VAL)
    if len(offsets) < 2:
        why = f"val (n = {scores.images:,}) has images of fewer than two trained classes"
        return FittedTemperature(1.0, 0, f"temperature 1, not calibrated: {why}")
    temperature, limit = _most_likely(seen, truth, offsets)
    notes = [f"n = {len(truth):,}{': few, so it is rough' if len(truth) < FEW_IMAGES else ''}"]
    if absent := scores.classes - len(offsets):
        notes.append(f"{absent:,} of {scores.classes:,} classes have no images there or in training")
    return FittedTemperature(temperature, len(truth), f"temperature {temperature:.2f} fitted on val ({'; '.join([*notes, *limit])})")


def _comparable(logits: np.ndarray, labels: np.ndarray, left: Sequence[float] | np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Give rows and columns of the classes that take part, the rows' new labels, and log v - log left of the columns."""
    if left is None:
        return logits, labels, np.zeros(logits.shape[1])
    log_left = -adjust_logits(np.zeros(logits.shape[1]), left)
    takes_part = (np.bincount(labels, minlength=logits.shape[1]) > 0) & (np.asarray(left) > 0)
    rows = takes_part[labels]
    truth = (np.cumsum(takes_part) - 1)[labels[rows]]
    shares = np.bincount(truth, minlength=int(takes_part.sum())) / max(len(truth), 1)
    return logits[rows][:, takes_part], truth, np.log(shares) - log_left[takes_part]


def _most_likely(logits: np.ndarray, truth: np.ndarray, offsets: np.ndarray) -> tuple[float, list[str]]:
    """Give the temperature, and what kept it from the most likely one."""
    rows = np.arange(len(truth))
    surest = (len(truth) + 0.5) / (len(truth) + 1)
    logits = logits - logits[rows, truth][:, None]

    def log_shares(log_t: float) -> np.ndarray:
        return np.asarray(log_softmax(logits / np.exp(log_t) + offsets, axis=1))

    def slope(log_t: float) -> float:
        """The derivative of the mean negative log likelihood in 1 / T: what the scores expect of the logits, less the label's."""
        return float((np.exp(log_shares(log_t)) * logits).sum(1).mean())

    def surplus(log_t: float) -> float:
        return float(np.exp(log_shares(log_t)[rows, truth]).mean()) - surest

    low, high = np.log(LOWEST), np.log(HIGHEST)
    found = high if slope(high) >= 0 else low if slope(low) <= 0 else _root(slope, low, high)
    if surplus(found) > 0 >= surplus(high):
        return _limited(_root(surplus, found, high)), [f"no mistake among them, so no surer than {100 * surest:.2f} % in the mean"]
    if found == high or surplus(found) > 0:
        return HIGHEST, ["the highest allowed: the logits say little of the labels, or are very large"]
    return _limited(found), []


def _limited(log_t: float) -> float:
    return float(np.clip(np.exp(log_t), LOWEST, HIGHEST))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq  # a third of a second, which only fitting needs

    return float(brentq(function, low, high, xtol=1e-12))


@dataclass(frozen=True)
class Temperature:
    """Temperature scaling as a post-hoc part: z / T, which changes no answer.

    Attributes:
        left: (classes,) prior that the logits carry, as in `fit_temperature`; None where it is that of the validation rows, or unknown.
        temperature: T > 0, or `val` to fit it on validation rows.

    Raises:
        BadValue: T is no number above 0, or `apply` comes before it is fitted.

    >>> Temperature(temperature=2.0).apply(Scores(np.array([[4.0, 1.0]])))
    array([[2. , 0.5]])
    """

    left: tuple[float, ...] | None = None
    temperature: float | Literal["val"] = "val"

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", checked_temperature(self.temperature))

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...]:
        """Give the prior: what the logits say of it is scaled with them."""
        return tuple(prior)

    def fit(self, val: Scores | None) -> tuple[Self, str]:
        """Settle T and say how; a T that is a number stays. Without validation images T is 1, and the scores are not calibrated.

        Raises:
            BadData: the validation scores carry no labels, or a prior that does not fit them.
        """
        if self.temperature != "val":
            return self, f"temperature {self.temperature:.2f}, as given"
        if val is None:
            return replace(self, temperature=1.0), NO_VAL
        fitted = fit_temperature(val.logits, val.labels, self.left)
        return replace(self, temperature=fitted.temperature), fitted.sentence

    def apply(self, scores: Scores) -> np.ndarray:
        """Give z / T, (N, C) in the dtype of the scores."""
        dtype = scores.logits.dtype if scores.logits.dtype.kind == "f" else np.dtype(np.float64)
        return (scores.logits.astype(np.float64) / settled_temperature(self.temperature)).astype(dtype)


def checked_temperature(temperature: float | Literal["val"]) -> float | Literal["val"]:
    """Give T as a float, or `val`; refuse anything else.

    Raises:
        BadValue: T is not above 0, not finite or another word.
    """
    if temperature == "val":
        return temperature
    if not isinstance(temperature, Real) or isinstance(temperature, bool) or not 0 < temperature < np.inf:
        raise BadValue(f"a temperature is a number above 0 or 'val', got {temperature!r}; 1 changes nothing")
    return float(temperature)


def settled_temperature(temperature: float | Literal["val"]) -> float:
    """Give the number, and refuse a temperature that is still to be fitted.

    Raises:
        BadValue: T is `val`, or no number above 0.
    """
    found = checked_temperature(temperature)
    if found == "val":
        raise BadValue("the temperature is 'val' and not fitted yet; call fit(val) first, or give a number")
    return found
