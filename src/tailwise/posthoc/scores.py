"""What a post-hoc part sees of a trained model, and the form that every such part has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from tailwise.errors import BadData


@dataclass(frozen=True, eq=False)
class Scores:
    """A model's answers on N images of C classes, with D features where there are any.

    Attributes:
        logits: (N, C) float, the scores on which the class is chosen.
        labels: (N,) int true labels, needed only to fit on; or None.
        features: (N, D) float input of the head, or None.
        head_weight: (C, D) float weight of a *linear* head, or None: a cosine head has no such weight.
        head_bias: (C,) float bias of a linear head, or None for a head without one.
        class_means: (C, D) float means of the training features, or None.
        views: (N, V, C) float logits of V further views of each image, or None.

    Raises:
        BadData: shapes that do not agree, labels that are no classes, logits that are not numbers.

    >>> Scores(np.zeros((2, 3)), labels=[0, 2]).classes
    3
    """

    logits: np.ndarray
    labels: np.ndarray | None = None
    features: np.ndarray | None = None
    head_weight: np.ndarray | None = None
    head_bias: np.ndarray | None = None
    class_means: np.ndarray | None = None
    views: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("logits", "labels", "features", "head_weight", "head_bias", "class_means", "views"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
        if self.logits.ndim != 2:
            raise BadData(f"logits must have shape (images, classes), got {self.logits.shape}")
        if np.isnan(self.logits).any():
            raise BadData("logits hold NaN; a class cannot be chosen on them")
        self._check_shapes()
        self._check_labels()

    @property
    def images(self) -> int:
        """Number of images, N."""
        return len(self.logits)

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        return self.logits.shape[1]

    def _check_shapes(self) -> None:
        widths = (self.features, self.head_weight, self.class_means)
        width = next((a.shape[1] for a in widths if a is not None and a.ndim == 2), None)
        expected: dict[str, tuple[Any, ...]] = {
            "labels": (self.images,),
            "features": (self.images, width),
            "head_weight": (self.classes, width),
            "head_bias": (self.classes,),
            "class_means": (self.classes, width),
            "views": (self.images, *(() if self.views is None else self.views.shape[1:2]), self.classes),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise BadData(f"{name} must have shape {shape} beside logits {self.logits.shape}, got {array.shape}")

    def _check_labels(self) -> None:
        if self.labels is None or not self.labels.size:
            return
        if self.labels.dtype.kind not in "iu":
            raise BadData(f"labels must be integers, got {self.labels.dtype}")
        if self.labels.min() < 0 or self.labels.max() >= self.classes:
            raise BadData(
                f"labels must be 0..{self.classes - 1}, got {self.labels.min()}..{self.labels.max()}; leave rows without a label out"
            )


class PostHoc(Protocol):
    """The form of every post-hoc part: a frozen dataclass of plain values, with two functions and one answer."""

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...] | None:
        """Give the class prior that is left of `prior`, masses a class; None where the scores are no log probabilities under one."""
        ...

    def fit(self, val: Scores | None) -> tuple[Self, str]:
        """Settle open values on validation rows, or without them by the published value; say in one sentence how."""
        ...

    def apply(self, scores: Scores) -> np.ndarray:
        """Give the corrected logits, (N, C) in the dtype of the scores."""
        ...
