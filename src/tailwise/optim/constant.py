"""No schedule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """The learning rate stays as it is."""

    def factor(self, epoch: int, epochs: int) -> float:
        """Give the factor on the learning rate in a 0-based epoch."""
        return 1.0
