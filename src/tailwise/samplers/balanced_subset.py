"""A small balanced set within a split: the same few images of every class throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tailwise import seeds
from tailwise.errors import BadValue


@dataclass(frozen=True)
class BalancedSubsetSampler:
    """Keeps to `per_class` images of each class, and shows all classes equally often.

    The meta set of Meta-Weight-Net (Shu et al., NeurIPS 2019, section 4.1: ten images a class) and its kin, drawn from whatever split it
    is used on. Which images these are depends on the labels alone, as a split does: neither on a run's seed nor on the epoch, and a
    smaller set lies within a larger one. A class with fewer images gives all it has, each shown more often. Classes take turns: each
    round shows one image of every class, in random order, and within a pass an image comes again when all others of its class
    have been shown.

    Args:
        per_class: images a class.

    >>> BalancedSubsetSampler(2).subset(np.array([0, 0, 1, 0])).tolist()
    [0, 1, 2]
    """

    per_class: int = 10

    def __post_init__(self) -> None:
        if self.per_class < 1:
            raise BadValue(f"a balanced subset has at least 1 image a class, got {self.per_class}")

    def subset(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the positions in (rows,) labels of the images that are kept, in order."""
        kept = []
        for c in np.unique(labels):
            images = np.flatnonzero(labels == c)
            kept.append(images[seeds.generator(0, "balanced subset", int(c)).permutation(len(images))[: self.per_class]])
        return np.sort(np.concatenate(kept))

    def rows(self, labels: NDArray[np.int64], rng: np.random.Generator, epoch: int, epochs: int) -> NDArray[np.int64]:
        """Give the rows of one epoch, as many as there are labels.

        Args:
            labels: (rows,) int64 labels of the split.
            rng: of this epoch: the order of classes, and of a class's images.
            epoch: not used here; samplers that change over training need it.
            epochs: likewise.

        Returns:
            (rows,) int64 positions in `labels`.
        """
        kept = self.subset(labels)
        present = np.unique(labels)
        rounds = -(-len(labels) // len(present))
        shown = np.empty((rounds, len(present)), dtype=np.int64)
        for place, c in enumerate(present):
            images = kept[labels[kept] == c]
            cycles = [rng.permutation(images) for _ in range(-(-rounds // len(images)))]
            shown[:, place] = np.concatenate(cycles)[:rounds]
        return rng.permuted(shown, axis=1).reshape(-1)[: len(labels)]

    def shown(self, real: Sequence[float]) -> tuple[float, ...]:
        """Give the expected rows a class and epoch: the same for every class that has images."""
        present = sum(n > 0 for n in real)
        return tuple(sum(real) / present if n > 0 else 0.0 for n in real)
