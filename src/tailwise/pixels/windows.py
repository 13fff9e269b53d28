"""Windows: every crop of every padded image, mirrored or not, at one address each, so that a crop and a flip are one gather."""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

MOST = 2**29
"""Bytes of padded, mirrored images that are held in memory; larger sets are padded batch by batch."""


class Windows:
    """Images padded with zeros, beside their mirror images, and a view of them whose axes are image, mirrored, top, left, row, byte.

    Args:
        images: (N, height, width, channels) uint8.
        pad: pixels on each side, from 0.
    """

    def __init__(self, images: NDArray[np.uint8], pad: int) -> None:
        n, height, width, channels = self.shape = images.shape
        held = np.zeros((n, 2, height + 2 * pad, width + 2 * pad, channels), np.uint8)
        held[:, 0, pad : pad + height, pad : pad + width] = images
        held[:, 1] = held[:, 0, :, ::-1]
        image, mirrored, row, pixel, byte = held.strides
        shape = (n, 2, 2 * pad + 1, 2 * pad + 1, height, width * channels)
        self._view = as_strided(held, shape, (image, mirrored, row, pixel, row, byte), writeable=False)
        self._pad = pad

    @staticmethod
    def size(rows: int, shape: tuple[int, ...], pad: int) -> int:
        """Give the bytes that windows of so many images take."""
        height, width, channels = shape
        return 2 * rows * (height + 2 * pad) * (width + 2 * pad) * channels

    def gather(self, rows: NDArray[np.int64], top: NDArray[np.int64], left: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """Give crops (B, height, width, channels) uint8.

        Args:
            rows: (B,) which images.
            top: (B,) first row of each crop in the padded image, 0 to 2 pad.
            left: (B,) first column, likewise.
            flipped: (B,) whether the crop is mirrored left to right, after it is cut.
        """
        mirrored_left = np.where(flipped, 2 * self._pad - left, left)  # what is cut here and then mirrored lies there in the mirror image
        taken = self._view[rows, flipped.astype(np.int64), top, mirrored_left]
        return torch.from_numpy(taken).view(len(rows), *self.shape[1:])
