"""Normalisation, the last step of every view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tailwise.errors import BadValue


@dataclass(frozen=True)
class Normalise:
    """`(x / 255 - mean) / std` a channel.

    Args:
        mean: one number, or one a channel, in 0-1. Grey images take the mean of three.
        std: likewise, above 0.
    """

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3) or min(self.std) <= 0:
            raise BadValue(f"normalisation takes one or three means and deviations above 0, got mean={self.mean}, std={self.std}")

    def __call__(self, images: Tensor) -> Tensor:
        """Turn (B, H, W, channels) in 0-255 into (B, channels, H, W) float32, channels last in memory, in one multiply-add."""
        rows, height, width, channels = images.shape
        offset, scale = _of_a_row(self, width, channels, images.device)
        lines = images.to(torch.float32).reshape(rows, height, width * channels)
        return torch.addcmul(offset, lines, scale).view(rows, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _of_a_row(normalise: Normalise, width: int, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give offset and scale of a whole row of pixels: three numbers at a time do not fill a vector unit."""
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in (normalise.mean, normalise.std))
    if channels != len(normalise.mean):
        mean, std = mean.mean().expand(channels), std.mean().expand(channels)
    offset, scale = (-mean / std).repeat(width), (1 / (255 * std)).repeat(width)
    return offset.to(torch.float32).to(device), scale.to(torch.float32).to(device)
