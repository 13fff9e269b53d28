"""Pad, then crop back to the size at a random place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.pixels.view import Drawn


@dataclass(frozen=True)
class PadCrop:
    """Shift an image by up to `pad` pixels each way; what comes in is black, or repeats the edge.

    Args:
        pad: pixels on each side.
        fill: `zeros` as the CIFAR recipes do, or `edge`.
    """

    pad: int = 4
    fill: Literal["zeros", "edge"] = "zeros"

    def __post_init__(self) -> None:
        if self.pad < 0 or self.fill not in ("zeros", "edge"):
            raise BadValue(f"a padded crop has a pad from 0 and fills with 'zeros' or 'edge', got {self.pad} and {self.fill!r}")

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw the corner of each crop in the padded image, 0 to 2 pad both ways."""
        corners = rng.integers(0, 2 * self.pad + 1, size=(rows, 2))
        return {"top": corners[:, 0], "left": corners[:, 1]}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Gather the crops without making the padded images."""
        device = images.device
        height, width = images.shape[1:3]
        top, left = (torch.from_numpy(drawn[name]).to(device) - self.pad for name in ("top", "left"))
        ys, xs = top[:, None] + torch.arange(height, device=device), left[:, None] + torch.arange(width, device=device)
        rows = torch.arange(len(images), device=device)[:, None, None]
        cropped = images[rows, ys.clamp(0, height - 1)[:, :, None], xs.clamp(0, width - 1)[:, None, :]]
        if self.fill == "edge":
            return cropped
        inside = ((ys >= 0) & (ys < height))[:, :, None] & ((xs >= 0) & (xs < width))[:, None, :]
        return cropped * inside[..., None]
