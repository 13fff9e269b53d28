"""A view: how stored rows become what a network sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from tailwise.pixels.normalise import Normalise

Drawn = Mapping[str, np.ndarray]


class Augmentation(Protocol):
    """One augmentation, by description: draws for the whole batch first, applies to any rows of it after."""

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw the parameters of `rows` images; each array has one entry a row."""
        ...

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Change (B, H, W, channels) images in 0-255 by B drawn entries."""
        ...


@dataclass(frozen=True)
class View:
    """Augmentations in order, then normalisation. Feature vectors pass unchanged.

    Args:
        augment: augmentation parts.
        normalise: the last step.
    """

    augment: tuple[Any, ...]
    normalise: Normalise

    def __call__(self, gathered: Tensor, rng: Callable[[int], np.random.Generator], rows: slice, batch: int) -> Tensor:
        """Make the view of some rows of a batch.

        Args:
            gathered: (B, H, W, channels) uint8 or (B, D) float32: the rows `rows` of the batch.
            rng: gives the generator of the k-th augmentation of this view at this step.
            rows: which rows of the batch these are; draws are made for all of them and then cut.
            batch: rows of the whole batch.

        Returns:
            (B, channels, H, W) float32, channels last in memory; or the features.
        """
        if gathered.ndim == 2:
            return gathered
        images = gathered
        for k, augmentation in enumerate(self.augment):
            drawn = augmentation.draw(rng(k), batch, images.shape[1], images.shape[2])
            images = augmentation.apply(images, {name: values[rows] for name, values in drawn.items()})
        return self.normalise(images)
