"""RandAugment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.pixels.augment.operations import OPERATIONS, SIGNED, apply_each, in_bytes, magnitude
from tailwise.pixels.augmentation import Drawn

NAMES = tuple(name for name in OPERATIONS if name != "invert")
LEVELS = 31


@dataclass(frozen=True)
class RandAugment:
    """Some operations one after another, drawn evenly for each image, all of one strength (Cubuk et al., NeurIPS 2020).

    The operations and their strengths are those of torchvision's `RandAugment`: 14 of them, 31 levels.

    Args:
        operations: how many, N of the paper.
        level: strength of all of them, 0-30, M of the paper.
    """

    operations: int = 2
    level: int = 9

    def __post_init__(self) -> None:
        if self.operations < 0 or not 0 <= self.level < LEVELS:
            raise BadValue(f"RandAugment takes operations from 0 and a level of 0-{LEVELS - 1}, got {self.operations} and {self.level}")

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw `names` (places in `OPERATIONS`) and `magnitudes`, (rows, operations) each."""
        names = rng.integers(0, len(NAMES), (rows, self.operations))
        table = np.array([magnitude(name, self.level, LEVELS, height, width) for name in NAMES])
        signs = np.where(rng.random((rows, self.operations)) < 0.5, -1.0, 1.0)
        signed = np.array([name in SIGNED for name in NAMES])
        return {"names": names, "magnitudes": table[names] * np.where(signed[names], signs, 1.0)}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Apply the operations in turn; gives uint8."""
        made = in_bytes(images)
        for k in range(drawn["names"].shape[1]):
            made = apply_each(made, drawn["names"][:, k], drawn["magnitudes"][:, k])
        return made
