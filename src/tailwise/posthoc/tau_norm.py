"""Tau-normalisation: shrink the long weight rows that a linear head grows for frequent classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from tailwise.errors import BadData, BadValue
from tailwise.posthoc.scores import Scores
from tailwise.posthoc.tau_grid import Tau, checked_tau, fit_tau, settled_tau

PUBLISHED_TAU = 0.7
"""Kang et al.'s value for ImageNet-LT (iNaturalist 2018: about 0.3)."""

SMALLEST_NORM = 1e-12
"""Norms are clamped here, so that a row of zeros stays a row of zeros."""


def normalise_weight(weight: np.ndarray, tau: float) -> np.ndarray:
    """Divide each row by its length to the power of tau: w_c / ||w_c||**tau.

    Args:
        weight: (C, D) float, one row a class; never changed.
        tau: 0 keeps the rows, 1 makes unit rows.

    Returns:
        (C, D) in the dtype of `weight`; norms are taken in float64. A row of zeros stays one.

    Raises:
        BadData: `weight` is not two-dimensional.

    Source: Kang et al., "Decoupling representation and classifier for long-tailed recognition", ICLR 2020, section 4.

    >>> normalise_weight(np.array([[3.0, 4.0], [0.0, 0.0]]), tau=1.0)
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    weight = _floats(weight)
    return (weight / _powered_norms(weight, tau)[:, None]).astype(weight.dtype)


def tau_normalised_logits(features: np.ndarray, weight: np.ndarray, tau: float) -> np.ndarray:
    """Give h . w_c / ||w_c||**tau, with the head's bias **dropped**, as published.

    Args:
        features: (N, D) float input of the head.
        weight: (C, D) float weight of a linear head.
        tau: 0 gives the head without its bias, 1 the cosine times the length of the feature.

    Returns:
        (N, C) logits in the common dtype of `features` and `weight`.

    Raises:
        BadData: the widths differ.

    Source: as `normalise_weight`.

    >>> tau_normalised_logits(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [0.5, 0.0]]), tau=1.0)
    array([[2.2, 1. ]])
    """
    features, weight = _floats(features), _floats(weight)
    if features.ndim != 2 or features.shape[1] != weight.shape[1]:
        raise BadData(f"features of shape {features.shape} do not fit a head weight of shape {weight.shape}")
    return features @ normalise_weight(weight, tau).T


def _floats(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2:
        raise BadData(f"features and head weight must be two-dimensional, got shape {array.shape}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _norms(weight: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum(np.square(weight, dtype=np.float64), axis=1))


def _powered_norms(weight: np.ndarray, tau: float) -> np.ndarray:
    return np.maximum(_norms(weight), SMALLEST_NORM) ** tau


@dataclass(frozen=True)
class TauNorm:
    """Tau-normalisation as a part of a method.

    For linear heads. Counts are not in the formula: a class without training images is rescaled like any other.

    Attributes:
        tau: strength >= 0, or `val` to choose it on validation rows.

    Raises:
        BadValue: tau is negative or no number; the scores carry no head weight; `apply` comes before tau is settled.

    >>> scores = Scores(np.array([[4.0, 1.0]]), head_weight=np.array([[10.0, 0.0], [0.0, 1.0]]))
    >>> TauNorm(tau=1.0).apply(scores)
    array([[0.4, 1. ]])
    """

    tau: Tau = "val"

    needs_linear_head = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", checked_tau(self.tau))

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...] | None:
        """Give the prior where tau is 0; else None: lengths stand in for a prior, and how much of one they hold is not known."""
        return tuple(prior) if self.tau == 0 else None

    def apply(self, scores: Scores) -> np.ndarray:
        """Give the (N, C) logits of the normalised head, in the dtype of `scores.logits`.

        Where features are missing, (z_c - b_c) stands for h . w_c: the same up to the rounding of the stored logits.
        """
        tau = settled_tau(self.tau)
        return _answers(scores)(tau)

    def fit(self, val: Scores | None) -> tuple[Self, str]:
        """Settle tau and say how; a tau that is a number stays.

        On `val` the one of `GRID` with the best macro accuracy over the classes present; among equals the one nearest
        0.7, then the smaller. Without validation images 0.7.
        """
        tau, said = fit_tau(self.tau, val, PUBLISHED_TAU, _answers)
        return (self if tau == self.tau else replace(self, tau=tau)), said


def _head_weight(scores: Scores) -> np.ndarray:
    if scores.head_weight is None:
        raise BadValue("tau-normalisation needs the weight of a linear head, and these scores have none")
    return _floats(scores.head_weight)


def _without_bias(scores: Scores) -> np.ndarray:
    """Give h . w_c as (N, C) float64, from the features or else from the logits."""
    weight = _head_weight(scores)
    if scores.features is not None:
        return np.asarray(_floats(scores.features) @ weight.T, dtype=np.float64)
    linear = np.asarray(scores.logits, dtype=np.float64) - (0.0 if scores.head_bias is None else scores.head_bias)
    # Here h . w_c of a zero row is rounding error, which a clamped norm would blow up into the winner.
    linear[:, _norms(weight) <= SMALLEST_NORM] = 0.0
    return linear


def _answers(scores: Scores) -> Callable[[float], np.ndarray]:
    linear, weight = _without_bias(scores), _head_weight(scores)
    dtype = scores.logits.dtype if scores.logits.dtype.kind == "f" else np.dtype(np.float64)
    limits = np.finfo(dtype)  # half precision ends at 65,504, and a short row is divided by little
    return lambda tau: (linear / _powered_norms(weight, tau)).clip(limits.min, limits.max).astype(dtype)
