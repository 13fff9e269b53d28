"""Several views of an image at test: the mean of their logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tailwise.errors import BadValue
from tailwise.posthoc.scores import Scores


@dataclass(frozen=True)
class MeanOfViews:
    """The mean of the logits of an image and of its further views, such as its mirror image (Krizhevsky et al., NeurIPS 2012, 4.1).

    Theirs is a mean of probabilities; that of logits is a mean of log probabilities, and leaves the class prior in them as it is.

    >>> MeanOfViews().apply(Scores(np.array([[4.0, 1.0]]), views=np.array([[[2.0, 3.0]]])))
    array([[3., 2.]])
    """

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...]:
        """Give the prior: it is in each view's logits alike."""
        return tuple(prior)

    def fit(self, val: Scores | None) -> tuple[Self, str]:
        """Leave everything as it is, and say what will be done: nothing is chosen on validation rows."""
        return self, "mean of the logits of the image and of its further views"

    def apply(self, scores: Scores) -> np.ndarray:
        """Give (N, C) logits in the dtype of the scores.

        Raises:
            BadValue: the scores carry no views.
        """
        if scores.views is None:
            raise BadValue("a mean of views needs the logits of further views, and these scores have none; choose a run that has them")
        dtype = scores.logits.dtype if scores.logits.dtype.kind == "f" else np.dtype(np.float64)
        return np.concatenate([scores.logits[:, None], scores.views], axis=1).mean(axis=1, dtype=np.float64).astype(dtype)
