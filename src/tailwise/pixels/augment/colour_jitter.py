"""Colour jitter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tailwise.pixels.augmentation import Drawn

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class ColourJitter:
    """Random brightness, contrast and saturation, in this order, factors uniform in [1 - s, 1 + s].

    torchvision draws the order too; the field's recipes do not depend on it. Grey images keep their saturation.

    Args:
        brightness: s of brightness.
        contrast: s of contrast, towards the image's mean grey.
        saturation: s of saturation, towards the pixel's grey.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw the three factors of each row, never below 0."""
        strengths = (("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation))
        return {name: np.maximum(0.0, 1 + s * rng.uniform(-1, 1, rows)) for name, s in strengths}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Blend with black, with the mean grey and with the own grey, clipped to 0-255 after each."""
        x = images.to(torch.float32)
        factor = {n: torch.from_numpy(v).to(x)[:, None, None, None] for n, v in drawn.items()}
        x = (x * factor["brightness"]).clamp(0, 255)
        mean = luma(x).mean((1, 2, 3), keepdim=True)
        x = (mean + (x - mean) * factor["contrast"]).clamp(0, 255)
        grey = luma(x)
        return (grey + (x - grey) * factor["saturation"]).clamp(0, 255)


def luma(images: Tensor) -> Tensor:
    """Give the grey (B, H, W, 1) of float images; those of one channel are their own."""
    if images.shape[-1] == 1:
        return images
    return (images * torch.tensor(LUMA, device=images.device)).sum(-1, keepdim=True)
