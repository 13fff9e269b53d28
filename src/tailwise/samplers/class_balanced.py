"""Class-aware sampling: every class as often as every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tailwise.errors import BadValue


@dataclass(frozen=True)
class ClassBalancedSampler:
    """Cycles over shuffled classes and takes the next images of each class's own shuffled cycle.

    Shen et al., *Relay backpropagation*, ECCV 2016; the sampler of cRT and LWS (Kang et al., ICLR 2020). Each class appears once in a
    cycle of the classes, with less variance than independent draws. An epoch has as many rows as there are images, which is where the
    published trainer stops too.

    Args:
        per_class: images taken at a visit to a class; a smaller class repeats within one visit.
    """

    per_class: int = 4

    def __post_init__(self) -> None:
        if self.per_class < 1:
            raise BadValue(f"class-balanced sampling takes at least 1 image at a visit, got {self.per_class}")

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
        order = np.argsort(labels, kind="stable")
        present, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
        visits = -(-len(labels) // (self.per_class * len(present)))
        classes = np.concatenate([rng.permutation(len(present)) for _ in range(visits)])
        taken = np.empty((len(classes), self.per_class), dtype=np.int64)
        for c in range(len(present)):
            at = np.flatnonzero(classes == c)
            needed = len(at) * self.per_class
            cycles = [rng.permutation(sizes[c]) for _ in range(-(-needed // sizes[c]))]
            taken[at] = order[starts[c] + np.concatenate(cycles)[:needed]].reshape(len(at), self.per_class)
        return taken.reshape(-1)[: len(labels)]

    def shown(self, real: Sequence[float]) -> tuple[float, ...]:
        """Give the expected rows a class and epoch: the same for every class that has images."""
        present = sum(n > 0 for n in real)
        return tuple(sum(real) / present if n > 0 else 0.0 for n in real)
