"""A view: how stored rows become what a network sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.pixels.augment import Flip, PadCrop
from tailwise.pixels.normalise import Normalise
from tailwise.pixels.rows import Rows
from tailwise.pixels.transfer import ahead_to_device

Draws = Callable[[int], np.random.Generator]
"""Gives the generator of the k-th augmentation of a view at this step."""


@dataclass(frozen=True)
class View:
    """Augmentations in order, then normalisation. Feature vectors pass unchanged.

    Args:
        augment: augmentation parts.
        normalise: the last step.
    """

    augment: tuple[Any, ...]
    normalise: Normalise

    def __call__(self, gathered: Tensor, rng: Draws, rows: slice, batch: int) -> Tensor:
        """Make the view of some rows of a batch.

        Args:
            gathered: (B, H, W, channels) uint8 or (B, D) float32: the rows `rows` of the batch.
            rng: of each augmentation.
            rows: which rows of the batch these are; draws are made for all of them and then cut.
            batch: rows of the whole batch.

        Returns:
            (B, channels, H, W) float32, channels last in memory; or the features.
        """
        return gathered if gathered.ndim == 2 else self.normalise(self._augmented(gathered, 0, rng, rows, batch))

    def of_rows(self, source: Rows, chosen: NDArray[np.int64], rng: Draws, rows: slice, device: torch.device) -> Tensor:
        """Make the view of some rows of a batch out of a split: the same values, and a padded crop and a flip are part of the gathering.

        Args:
            source: the split.
            chosen: rows of the split that are the whole batch.
            rng: of each augmentation.
            rows: which rows of the batch are wanted.
            device: where they go.

        Returns:
            As a call.
        """
        batch, crop = len(chosen), next(iter(self.augment), None)
        windows = source.windows(crop.pad, device) if isinstance(crop, PadCrop) and crop.fill == "zeros" else None
        if windows is None or not isinstance(crop, PadCrop):
            return self(ahead_to_device(source.gather(chosen[rows]), device), rng, rows, batch)
        corners = crop.draw(rng(0), batch, *source.shape[:2])
        flip = self.augment[1] if len(self.augment) > 1 and isinstance(self.augment[1], Flip) else None
        flipped = np.zeros(batch, np.bool_) if flip is None else flip.draw(rng(1), batch, *source.shape[:2])["flipped"]
        images = windows.gather(chosen[rows], corners["top"][rows], corners["left"][rows], flipped[rows])
        images = images if images.device.type == device.type else ahead_to_device(images, device)
        return self.normalise(self._augmented(images, 1 if flip is None else 2, rng, rows, batch))

    def _augmented(self, images: Tensor, done: int, rng: Draws, rows: slice, batch: int) -> Tensor:
        """Apply the augmentations after those that are done."""
        for k, augmentation in enumerate(self.augment[done:], start=done):
            drawn = augmentation.draw(rng(k), batch, images.shape[1], images.shape[2])
            images = augmentation.apply(images, {name: values[rows] for name, values in drawn.items()})
        return images
