"""Reversed sampling: the rarer a class, the more often it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tailwise.samplers.power import class_probabilities


@dataclass(frozen=True)
class ReversedSampler:
    """Draws a class with `P_k = w_k / sum_j w_j`, `w_k = n_max / n_k`, then one of its images uniformly, with replacement.

    Zhou et al., *BBN*, CVPR 2020, section 4.2: the sampler of the re-balancing branch. `PowerSampler(-1)` has the same classes and
    takes the images of a class in cycles; here draws are independent, so that some images of a large class are never shown. A class
    without images is never drawn. An epoch has as many rows as there are images.

    >>> labels = np.array([0, 0, 0, 1])
    >>> rows = ReversedSampler().rows(labels, np.random.default_rng(0), epoch=0, epochs=1)
    >>> labels[rows].tolist()
    [1, 1, 0, 0]
    >>> ReversedSampler().shown([3, 1])
    (1.0, 3.0)
    """

    def rows(self, labels: NDArray[np.int64], rng: np.random.Generator, epoch: int, epochs: int) -> NDArray[np.int64]:
        """Give the rows of one epoch.

        Args:
            labels: (rows,) int64 labels of the split.
            rng: of this epoch; nothing else is random.
            epoch: not used here; samplers that change over training need it.
            epochs: likewise.

        Returns:
            (rows,) int64 positions in `labels`.
        """
        counts = np.bincount(labels)
        reach = np.cumsum(class_probabilities(counts, -1.0))
        classes = np.searchsorted(reach / reach[-1], rng.random(len(labels)), side="right")  # the first whose share exceeds the number
        within = (rng.random(len(labels)) * counts[classes]).astype(np.int64)
        starts = np.cumsum(counts) - counts
        return np.argsort(labels, kind="stable")[starts[classes] + within]

    def shown(self, real: Sequence[float]) -> tuple[float, ...]:
        """Give the expected rows a class and epoch."""
        return tuple((sum(real) * class_probabilities(real, -1.0)).tolist())
