"""Horizontal flip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.pixels.augmentation import Drawn


@dataclass(frozen=True)
class Flip:
    """Mirror an image left to right.

    Args:
        share: probability.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise BadValue(f"a flip has a share in [0, 1], got {self.share}")

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw which rows are mirrored."""
        return {"flipped": rng.random(rows) < self.share}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Mirror the drawn rows."""
        flipped = torch.from_numpy(drawn["flipped"]).to(images.device)
        return torch.where(flipped[:, None, None, None], images.flip(2), images)
