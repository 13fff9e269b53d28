"""Deployment priors: the answers of a model moved from the class prior in its logits to the one that is expected at test."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import numpy as np

from tailwise.counts import PRIOR_WORDS
from tailwise.errors import BadData, BadValue, UnknownName
from tailwise.posthoc.logit_adjustment import adjust_logits
from tailwise.posthoc.scores import Scores
from tailwise.posthoc.temperature import settled_temperature

UNEXPECTED = 1000.0
"""How far a class that is not expected lies below all others of its row: its softmax is 0 in float64."""


def shift_logits(
    logits: np.ndarray,
    left: Sequence[float] | np.ndarray,
    expected: Sequence[float] | np.ndarray,
    temperature: float = 1.0,
    tau: float = 1.0,
) -> np.ndarray:
    """Give z / T - tau log left + log q: log posteriors under the prior q, up to a constant a row.

    Scale first, shift after: a temperature is the network's, and no prior is scaled with it.

    `log q` is relative to the largest q, so a uniform q adds exactly 0: with T = 1 the result is post-hoc logit adjustment to the bit.
    **A class with a prior of 0 in the logits** (no training images) gains nothing from taking it out, as in `adjust_logits`. **A class that
    is not expected** (q = 0) lies 1,000 below the lowest other of its row: it never wins, and its softmax is 0.

    Args:
        logits: (..., C) finite numbers; never changed.
        left: (C,) prior that the logits carry, >= 0, at least one above 0; only ratios matter. Training counts for plain cross-entropy.
        expected: (C,) prior q at test, likewise.
        temperature: T > 0.
        tau: strength with which `left` is taken out.

    Returns:
        (..., C) finite logits in the dtype of `logits`, float64 for integers; computed in float64.

    Raises:
        BadData: a prior that is none, or not one number a class.
        BadValue: T or tau that cannot be, or a result that has no finite value in this dtype.

    Source: post-compensated softmax of Hong et al., "Disentangling label distribution for long-tailed visual recognition", CVPR 2021;
    Saerens et al., Neural Computation 2002, equation 2.4.

    >>> shift_logits(np.array([[2.0, 1.0, 0.5]]), left=[90, 9, 1], expected=[1, 1, 0]).round(2)
    array([[    2.11,     3.41,  -997.89]])
    """
    given = np.asarray(logits)
    shares = prior_shares(expected, "the expected prior")
    scaled = given.astype(np.float64) / settled_temperature(temperature)
    moved = adjust_logits(scaled, left, tau)
    if moved.shape[-1] != len(shares):
        raise BadData(f"an expected prior of {len(shares):,} classes for logits of {moved.shape[-1]:,}; give one number a class")
    is_expected = shares > 0
    moved[..., is_expected] += np.log(shares[is_expected] / shares.max())
    moved[..., ~is_expected] = moved[..., is_expected].min(axis=-1, keepdims=True) - UNEXPECTED
    with np.errstate(over="ignore"):
        made = moved.astype(given.dtype if given.dtype.kind == "f" else np.float64)
    if not np.isfinite(made).all():
        raise BadValue(
            f"tau {tau:g}, temperature {temperature:g} and these priors give logits beyond {made.dtype}; take a smaller tau, or float64"
        )
    return made


def expected_prior(expected: str | Iterable[float], counts: Sequence[float] | np.ndarray) -> np.ndarray:
    """Give the shares of the classes that are expected at test.

    - `train`: n_c / sum(n), those of the training counts.
    - `uniform`: 1 / C.
    - `reversed`: the training shares in reverse order. Among the classes with training images, ordered by falling counts and then by label,
      the first gets the share of the last, the second that of the last but one. A class without training images keeps 0.
    - numbers: counts or shares, one a class in label order, normalised.

    Args:
        expected: one of these words, or (C,) numbers >= 0, at least one above 0.
        counts: (C,) training images a class.

    Returns:
        (C,) float64 that add up to 1.

    Raises:
        UnknownName: another word.
        BadData: counts or numbers that are no prior, or not as many as there are classes.

    >>> expected_prior("reversed", counts=[70, 10, 20])
    array([0.1, 0.7, 0.2])
    """
    trained = prior_shares(counts, "counts")
    if not isinstance(expected, str):
        shares = prior_shares(expected, "the expected prior")
        if len(shares) != len(trained):
            raise BadData(f"an expected prior of {len(shares):,} classes where there are {len(trained):,}; give one number a class")
        return shares
    if expected not in PRIOR_WORDS:
        raise UnknownName("test prior", expected, PRIOR_WORDS)
    if expected == "train":
        return trained
    if expected == "uniform":
        return np.full(len(trained), 1 / len(trained))
    falling = sorted(np.flatnonzero(trained), key=lambda label: (-trained[label], label))
    mirrored = np.zeros_like(trained)
    mirrored[falling] = trained[falling[::-1]]
    return mirrored


def prior_shares(numbers: Iterable[Any], where: str) -> np.ndarray:
    """Give counts or shares as shares that add up to 1; they need not be whole.

    Args:
        numbers: one a class in label order, finite and >= 0, at least one above 0.
        where: what an error calls them.

    Raises:
        BadData: a value is no such number, or none is above 0.

    >>> prior_shares([3, 0.5, 0.5], "shares")
    array([0.75 , 0.125, 0.125])
    """
    given = list(numbers)
    for label, number in enumerate(given):
        if not _is_share(number):
            raise BadData(f"{where}: label {label} has {shortened(number)}, expected a count or share of the class: a finite number from 0")
    if not any(given):
        raise BadData(f"{where}: {'no class is expected' if given else 'there are no numbers'}; give one count or share a class")
    shares = np.array([float(number) for number in given])
    shares /= shares.max()  # a sum of the largest floats would be infinite
    return shares / shares.sum()


@dataclass(frozen=True)
class PriorShift:
    """`shift_logits` as a post-hoc part: the answers of a network under another class prior.

    Attributes:
        left: (classes,) prior in the logits.
        expected: (classes,) prior at test.
        temperature: T > 0, of the logits.

    Raises:
        BadData: numbers that are no prior.
        BadValue: T is no number above 0.

    >>> PriorShift((0.9, 0.1), (0.5, 0.5)).apply(Scores(np.array([[1.0, 0.0]]))).argmax(1)
    array([1])
    """

    left: tuple[float, ...]
    expected: tuple[float, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("left", "expected"):
            object.__setattr__(self, name, tuple(prior_shares(getattr(self, name), name).tolist()))
        settled_temperature(self.temperature)

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...]:
        """Give the prior that is expected."""
        return self.expected

    def fit(self, val: Scores | None) -> tuple[Self, str]:
        """Leave everything as it is: nothing is open."""
        return self, f"shifted to another class prior, temperature {self.temperature:.2f}"

    def apply(self, scores: Scores) -> np.ndarray:
        """Give the (N, C) logits under the expected prior, in the dtype of the scores."""
        return shift_logits(scores.logits, self.left, self.expected, self.temperature)


def _is_share(number: Any) -> bool:
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    return is_number and 0 <= number <= sys.float_info.max


def shortened(value: object) -> str:
    """Write a value that an error shows on one line of at most 40 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
