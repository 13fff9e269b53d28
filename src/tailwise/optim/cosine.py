"""Cosine schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tailwise.errors import BadValue


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 towards 0 over the recipe, stepped once an epoch, after a linear warm-up.

    The published decoupling code steps before each epoch and so skips the first value and ends at rate 0; ours starts at 1.

    Args:
        warmup: epochs of linear warm-up.
    """

    warmup: int = 0

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise BadValue(f"a warm-up lasts a number of epochs from 0, got {self.warmup}")

    def factor(self, epoch: int, epochs: int) -> float:
        """Give the factor on the learning rate in a 0-based epoch."""
        if epoch < self.warmup:
            return (epoch + 1) / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (epoch - self.warmup) / max(1, epochs - self.warmup)))
