"""Normalisation, the last step of every view."""

from __future__ import annotations

from dataclasses import dataclass

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
        channels = images.shape[-1]
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (self.mean, self.std))
        if channels != len(self.mean):
            mean, std = mean.mean().expand(channels), std.mean().expand(channels)
        scale = (1 / (255 * std)).to(torch.float32).to(images.device)
        offset = (-mean / std).to(torch.float32).to(images.device)
        return torch.addcmul(offset, images.to(torch.float32), scale).permute(0, 3, 1, 2)
