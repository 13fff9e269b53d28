"""Logit adjustment after training: take the training prior out of the logits of plain cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from tailwise.counts import SHOWN, Counts, without_prior
from tailwise.errors import BadData, BadValue
from tailwise.posthoc.scores import Scores
from tailwise.posthoc.tau_grid import Tau, checked_tau, fit_tau, settled_tau

PUBLISHED_TAU = 1.0


def adjust_logits(logits: np.ndarray, counts: Sequence[float] | np.ndarray, tau: float = 1.0) -> np.ndarray:
    """Subtract tau times the log of the training prior: z_c - tau * log(pi_c), with pi_c = n_c / sum(n).

    Use it on logits of plain cross-entropy over images drawn as they come. Not on a model whose loss already had the
    prior in it (balanced softmax, LADE, logit-adjusted loss): that would correct twice.

    Every class with images gains -tau * log(pi_c) >= 0, the rarer the more. **A class without images gains nothing**,
    as if its prior were 1 (the formula would give it an infinite logit). So no class gains less, and an empty class
    that did not win before does not win after.

    Args:
        logits: (..., C) finite floats; never changed. Integers are taken as float64.
        counts: (C,) images a class that the loss saw, >= 0, at least one above 0. Only ratios matter.
        tau: strength, >= 0: 0 changes nothing, 1 targets the balanced error.

    Returns:
        (..., C) finite logits in the dtype of `logits`; computed in float64.

    Raises:
        BadData: counts that are negative, not finite, all 0, or not one a class.
        BadValue: tau is negative or not finite.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, the post-hoc form. Equal to UNO-IC's
    re-balancing towards a uniform prior with beta = tau, and to PC-softmax at tau = 1.

    >>> adjust_logits(np.array([[2.0, 1.0, 0.5]]), counts=[90, 10, 0]).round(3)
    array([[2.105, 3.303, 0.5  ]])
    """
    logits = np.asarray(logits)
    if logits.dtype.kind != "f":
        logits = logits.astype(np.float64)
    added = -settled_tau(checked_tau(tau)) * _log_prior(counts)
    if logits.ndim == 0 or logits.shape[-1] != len(added):
        raise BadData(f"{len(added)} counts for logits of shape {logits.shape}; give one count a class")
    return np.add(logits, added, out=np.empty_like(logits), dtype=np.float64, casting="same_kind")


def _log_prior(counts: Sequence[float] | np.ndarray) -> np.ndarray:
    """Give log(n_c / sum(n)), finite for all finite counts, and 0 where n_c is 0."""
    numbers = np.asarray(counts, dtype=np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all() or (numbers < 0).any() or not numbers.any():
        raise BadData(f"counts must be one finite number >= 0 a class and not all 0, got {_short(numbers)}")
    largest = numbers.max()
    log_total = np.log(largest) + np.log(np.sum(numbers / largest))
    return np.log(numbers, out=np.full_like(numbers, log_total), where=numbers > 0) - log_total


def _short(numbers: np.ndarray) -> str:
    return np.array2string(numbers, threshold=8, edgeitems=3).replace("\n", "")


@dataclass(frozen=True)
class LogitAdjustment:
    """`adjust_logits` as a part of a method.

    Attributes:
        counts: (classes,) images a class that the loss saw; `SHOWN` until the planner fills it in.
        tau: strength >= 0, or `val` to choose it on validation rows.

    Raises:
        BadData: counts as in `adjust_logits`.
        BadValue: tau is negative or no number, or `apply` comes before the counts are known and tau is settled.

    >>> fitted, said = LogitAdjustment((90, 10)).fit(None)
    >>> said
    "tau = 1.00, the card's value"
    >>> fitted.apply(Scores(np.array([[1.0, 0.0]]))).argmax(1)
    array([1])
    """

    counts: Counts = SHOWN
    tau: Tau = PUBLISHED_TAU

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", checked_tau(self.tau))
        if self.counts is not SHOWN:
            _log_prior(self.counts)
            object.__setattr__(self, "counts", tuple(np.asarray(self.counts, dtype=np.float64).tolist()))

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...]:
        """Give `prior_k / n_k**tau`; by the published tau where it is still to be chosen."""
        return without_prior(prior, self.counts, PUBLISHED_TAU if self.tau == "val" else self.tau)

    def apply(self, scores: Scores) -> np.ndarray:
        """Give the adjusted (N, C) logits, in the dtype of `scores.logits`."""
        tau = settled_tau(self.tau)
        return self._answers(scores)(tau)

    def fit(self, val: Scores | None) -> tuple[Self, str]:
        """Settle tau and say how; a tau that is a number stays.

        On `val` the one of `GRID` with the best macro accuracy over the classes present; among equals the one nearest
        1.0, then the smaller. Without validation images 1.0.
        """
        tau, said = fit_tau(self.tau, val, PUBLISHED_TAU, self._answers)
        return (self if tau == self.tau else replace(self, tau=tau)), said

    def _answers(self, scores: Scores) -> Callable[[float], np.ndarray]:
        counts = self.counts
        if isinstance(counts, Sequence):
            return lambda tau: adjust_logits(scores.logits, counts, tau)
        raise BadValue("the counts of logit adjustment are not filled in yet; give one number a class instead of SHOWN")
