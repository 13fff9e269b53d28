"""The rows of one split as training sees them: packed pixels or feature vectors, targets, weights, ids."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.errors import BadData
from tailwise.pixels.encoded import Encoded
from tailwise.pixels.windows import CPU, Windows


@dataclass(frozen=True)
class Rows:
    """One split, in order of its ids.

    Attributes:
        ids: (N,) ids.
        packed: (M, height, width, channels) uint8 images, mapped or encoded, or (M, D) float32 features; shared by the splits.
        positions: (N,) int64 places of the rows in `packed`.
        targets: (N,) int64 labels, or (N, ...) targets of another task; None when unlabelled.
        weights: (N,) float32 weights of the rows, or None for ones.
    """

    ids: tuple[str, ...]
    packed: NDArray[np.uint8] | NDArray[np.float32] | Encoded
    positions: NDArray[np.int64]
    targets: NDArray[np.int64] | None
    weights: NDArray[np.float32] | None = None
    _windows: dict[tuple[int, torch.device], Windows | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.positions), *(len(a) for a in (self.targets, self.weights) if a is not None)}
        if len(lengths) != 1:
            raise BadData(f"ids, positions, targets and weights of a split must be equally many, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: (height, width, channels), or (D,) for features."""
        return tuple(self.packed.shape[1:])

    @property
    def labels(self) -> NDArray[np.int64]:
        """The targets, when there must be some."""
        if self.targets is None:
            raise BadData("these rows are unlabelled, and labels were asked for")
        return self.targets

    def windows(self, pad: int, device: torch.device = CPU) -> Windows | None:
        """Give the images' windows, made once; None for features, and for images that would take too much memory.

        Args:
            pad: pixels on each side.
            device: where crops are wanted; the windows are held there where they fit, else on the host.
        """
        if len(self.shape) != 3:
            return None
        if (pad, device) not in self._windows:
            place = Windows.place(Windows.size(len(self), self.shape, pad), device)
            made = None if place is None else Windows(np.asarray(self.packed[self.positions], np.uint8), pad, place)
            self._windows[pad, device] = made
        return self._windows[pad, device]

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """Copy rows out of the store: (B, height, width, channels) uint8, or (B, D) float32."""
        return torch.from_numpy(np.ascontiguousarray(self.packed[self.positions[rows]]))
