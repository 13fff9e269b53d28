"""The form of an augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

Drawn = Mapping[str, np.ndarray]


class Augmentation(Protocol):
    """One augmentation, by description: draws for the whole batch first, applies to any rows of it after."""

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw the parameters of `rows` images; each array has one entry a row."""
        ...

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Change (B, H, W, channels) images in 0-255 by B drawn entries."""
        ...
