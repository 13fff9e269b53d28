"""Standardised features: every dimension with mean 0 and deviation 1 over the training rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Standardise:
    """`(x - mean) / deviation` a dimension.

    Attributes:
        mean: (D,) float32.
        deviation: (D,) float32, above 0.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @classmethod
    def over(cls, features: NDArray[np.float32]) -> Standardise:
        """Take mean and deviation of (N, D) rows in float64; a dimension that never changes keeps its scale."""
        deviation = features.std(0, dtype=np.float64)
        deviation[deviation <= 1e-6 * np.abs(features).max(0, initial=1e-30)] = 1.0
        return cls(features.mean(0, dtype=np.float64).astype(np.float32), deviation.astype(np.float32))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardise (N, D) rows."""
        return (features - self.mean) / self.deviation
