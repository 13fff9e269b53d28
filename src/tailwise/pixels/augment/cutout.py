"""Cutout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.pixels.augmentation import Drawn


@dataclass(frozen=True)
class Cutout:
    """Cover a square of each image (DeVries & Taylor, "Improved regularization of convolutional neural networks with Cutout", 2017).

    Its centre is drawn evenly over all pixels, so that a part of it may lie outside.

    Args:
        size: side of the square in pixels, from 0; the authors' is 16 on CIFAR-10 and 8 on CIFAR-100.
        grey: what covers it, 0-255: the authors cover normalised images with 0, which is the mean.
    """

    size: int = 16
    grey: int = 128

    def __post_init__(self) -> None:
        if self.size < 0 or not 0 <= self.grey <= 255:
            raise BadValue(f"cutout has a size from 0 and a grey of 0-255, got {self.size} and {self.grey}")

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw the upper left corners, which may be negative."""
        return {"top": rng.integers(0, height, rows) - self.size // 2, "left": rng.integers(0, width, rows) - self.size // 2}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Cover the squares."""
        top, left = (torch.from_numpy(drawn[name]).to(images.device)[:, None] for name in ("top", "left"))
        y, x = (torch.arange(size, device=images.device) for size in images.shape[1:3])
        inside = ((y >= top) & (y < top + self.size))[:, :, None] & ((x >= left) & (x < left + self.size))[:, None, :]
        return images.masked_fill(inside[..., None], self.grey)
