"""Nearest class mean: the head is left aside, and a row goes to the class whose mean feature is nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np

from tailwise.errors import BadData, BadValue
from tailwise.posthoc.scores import Scores

Metric = Literal["cosine", "euclidean"]
"""Cosine of feature and mean, or minus their squared distance."""

SMALLEST_NORM = 1e-12
"""Lengths are clamped here, so that a feature of zeros has cosine 0 with every mean."""


def nearest_mean_logits(features: np.ndarray, means: np.ndarray, metric: Metric = "cosine") -> np.ndarray:
    """Give `cos(h, m_k)` or `-||h - m_k||**2`: the nearer a class mean, the larger.

    The cosine has the order of Euclidean distances between unit features and unit means.

    Args:
        features: (N, D) finite floats.
        means: (C, D) mean feature a class; a row that holds NaN is a class without images, which **is never nearest**: it gets less
            than every other class.
        metric: `cosine` or `euclidean`.

    Returns:
        (N, C) finite float64.

    Raises:
        BadData: shapes that do not fit, or no class with a mean.
        BadValue: another metric.

    Source: Kang et al., "Decoupling representation and classifier for long-tailed recognition", ICLR 2020, section 4.

    >>> nearest_mean_logits(np.array([[3.0, 4.0]]), np.array([[0.0, 2.0], [1.0, 0.0]]))
    array([[0.8, 0.6]])
    """
    features, means = np.asarray(features, dtype=np.float64), np.asarray(means, dtype=np.float64)
    if features.ndim != 2 or means.ndim != 2 or features.shape[1] != means.shape[1]:
        raise BadData(f"features of shape {features.shape} do not fit class means of shape {means.shape}")
    there = np.isfinite(means).all(1)
    if not there.any():
        raise BadData("no class has a mean feature; nearest class means need training images")
    made = np.empty((len(features), len(means)))
    made[:, there] = _nearness(features, means[there], metric)
    lowest = made[:, there].min(1, keepdims=True)
    made[:, ~there] = lowest - (1 + np.abs(lowest))
    return made


def _nearness(features: np.ndarray, means: np.ndarray, metric: Metric) -> np.ndarray:
    if metric == "cosine":
        return _unit(features) @ _unit(means).T
    if metric == "euclidean":
        return 2 * features @ means.T - np.square(features).sum(1)[:, None] - np.square(means).sum(1)
    raise BadValue(f"the metric of nearest class means is one of {', '.join(get_args(Metric))}, got {metric!r}")


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), SMALLEST_NORM)


@dataclass(frozen=True)
class NearestMean:
    """Nearest class means as a part of a method.

    Attributes:
        metric: `cosine` or `euclidean`.

    Raises:
        BadValue: another metric; the scores carry no features or no class means.

    >>> scores = Scores(np.zeros((1, 2)), features=np.array([[3.0, 4.0]]), class_means=np.array([[0.0, 2.0], [1.0, 0.0]]))
    >>> NearestMean().apply(scores)
    array([[0.8, 0.6]])
    """

    metric: Metric = "cosine"

    def __post_init__(self) -> None:
        if self.metric not in get_args(Metric):
            raise BadValue(f"the metric of nearest class means is one of {', '.join(get_args(Metric))}, got {self.metric!r}")

    def prior_left(self, prior: Sequence[float]) -> None:
        """Give None: the head's logits are not used, and a cosine or a distance is no log probability under any prior."""

    def apply(self, scores: Scores) -> np.ndarray:
        """Give (N, C) finite scores in the dtype of `scores.logits`, a class without images below all others."""
        if scores.features is None or scores.class_means is None:
            missing = "features" if scores.features is None else "class means"
            raise BadValue(f"nearest class means need features and class means, and these scores have no {missing}; choose another base")
        dtype = scores.logits.dtype if scores.logits.dtype.kind == "f" else np.dtype(np.float64)
        limits = np.finfo(dtype)
        return nearest_mean_logits(scores.features, scores.class_means, self.metric).clip(limits.min, limits.max).astype(dtype)

    def fit(self, val: Scores | None) -> tuple[Self, str]:
        """Leave everything as it is, and say what will be done: nothing is chosen on validation rows."""
        return self, f"nearest class mean of the training features, {self.metric}"
