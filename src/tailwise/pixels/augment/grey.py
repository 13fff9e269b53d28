"""Random grey."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.pixels.augment.colour_jitter import luma
from tailwise.pixels.augmentation import Drawn


@dataclass(frozen=True)
class Grey:
    """Take the colour out of an image: every channel becomes its luma. Images of one channel stay as they are.

    Args:
        share: probability.
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise BadValue(f"grey has a share in [0, 1], got {self.share}")

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw which rows lose their colour."""
        return {"grey": rng.random(rows) < self.share}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Replace the drawn rows by their luma."""
        if images.shape[-1] == 1:
            return images
        images = images.to(torch.float32)
        return torch.where(torch.from_numpy(drawn["grey"]).to(images.device)[:, None, None, None], luma(images), images)
