"""Sampling by a power of the class counts: between instance-balanced and class-balanced, and beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tailwise.errors import BadValue


def class_probabilities(counts: Sequence[float] | NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """Give `p_k = n_k**power / sum_j n_j**power`, the chance that a draw is of class k; 0 for a class without images.

    Kang et al., *Decoupling representation and classifier*, ICLR 2020, equation 1. Taken over logarithms, so that no power overflows.

    Args:
        counts: (classes,) images a class, >= 0, at least one above 0.
        power: 1 draws as the images come, 1/2 by square roots, 0 every class alike, -1 in reverse.

    Returns:
        (classes,) float64 that sum to 1.

    >>> class_probabilities([9, 1, 0], power=0.5).tolist()
    [0.75, 0.25, 0.0]
    """
    n = np.asarray(counts, dtype=np.float64)
    present = n > 0
    logs = power * np.log(n[present])
    powers = np.exp(logs - logs.max())
    chances = np.zeros_like(n)
    chances[present] = powers / powers.sum()
    return chances


@dataclass(frozen=True)
class PowerSampler:
    """Draws classes independently by `class_probabilities`, and takes the next image of each class's own shuffled cycle.

    Kang et al., ICLR 2020, section 3; `ClassPrioritySampler.py` of the authors: so the images of a class are used evenly, where
    drawing them independently would leave some out. An epoch has as many rows as there are images.

    Args:
        power: of the class counts: 1 instance-balanced, 1/2 square-root, 0 class-balanced, -1 reverse.
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        if not math.isfinite(self.power):
            raise BadValue(f"the power of class counts is a finite number, got {self.power}")

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
        classes = rng.choice(len(counts), size=len(labels), p=class_probabilities(counts, self.power))
        taken = np.empty(len(labels), dtype=np.int64)
        for c in np.unique(classes):
            at, images = np.flatnonzero(classes == c), np.flatnonzero(labels == c)
            cycles = [rng.permutation(images) for _ in range(-(-len(at) // len(images)))]
            taken[at] = np.concatenate(cycles)[: len(at)]
        return taken

    def shown(self, real: Sequence[float]) -> tuple[float, ...]:
        """Give the expected rows a class and epoch."""
        return tuple((sum(real) * class_probabilities(real, self.power)).tolist())
