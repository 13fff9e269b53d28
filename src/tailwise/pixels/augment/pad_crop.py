"""Pad, then crop back to the size at a random place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from tailwise.errors import BadValue
from tailwise.pixels.augmentation import Drawn


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
        """Pad the images, and gather the crops: whole lines at a time, of a view with one axis for each place of a corner."""
        rows, height, width, channels = images.shape
        padded = self._padded(images)
        image, line, pixel, value = padded.stride()
        shape = (rows, 2 * self.pad + 1, 2 * self.pad + 1, height, width * channels)
        windows = padded.as_strided(shape, (image, line, pixel, line, value))
        top, left = (torch.from_numpy(drawn[name]).to(images.device) for name in ("top", "left"))
        return windows[torch.arange(rows, device=images.device), top, left].view(rows, height, width, channels)

    def _padded(self, images: Tensor) -> Tensor:
        if self.fill == "zeros":
            return pad(images, (0, 0, *(self.pad,) * 4))
        ys, xs = (torch.arange(-self.pad, size + self.pad, device=images.device).clamp(0, size - 1) for size in images.shape[1:3])
        return images[:, ys][:, :, xs]
