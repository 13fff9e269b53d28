"""Windows: every crop of every padded image, mirrored or not, at one address each, so that a crop and a flip are one gather."""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

from tailwise.pixels.transfer import to_device

MOST = 2**29
"""Bytes of padded, mirrored images that are held in the host's memory; larger sets are padded batch by batch."""

SHARE = 0.25
"""Share of a CUDA device's free memory that they may take there; the rest is for networks and their maps, of other processes too."""

CPU = torch.device("cpu")


class Windows:
    """Images padded with zeros, beside their mirror images, and a view of them whose axes are image, mirrored, top, left, row, byte.

    Args:
        images: (N, height, width, channels) uint8.
        pad: pixels on each side, from 0.
        device: where they are held, and where crops are made.
    """

    def __init__(self, images: NDArray[np.uint8], pad: int, device: torch.device = CPU) -> None:
        n, height, width, channels = self.shape = images.shape
        held = torch.zeros((n, 2, height + 2 * pad, width + 2 * pad, channels), dtype=torch.uint8, device=device)
        held[:, 0, pad : pad + height, pad : pad + width] = torch.from_numpy(images).to(device)
        held[:, 1] = held[:, 0].flip(2)
        image, mirrored, row, pixel, byte = held.stride()
        shape = (n, 2, 2 * pad + 1, 2 * pad + 1, height, width * channels)
        strides = (image, mirrored, row, pixel, row, byte)
        self._view: NDArray[np.uint8] | Tensor
        if device.type == "cpu":  # NumPy's gather of whole lines is twice as fast as torch's there
            self._view = as_strided(held.numpy(), shape, strides, writeable=False)
        else:
            self._view = held.as_strided(shape, strides)
        self._pad = pad
        self._device = device

    @staticmethod
    def size(rows: int, shape: tuple[int, ...], pad: int) -> int:
        """Give the bytes that windows of so many images take."""
        height, width, channels = shape
        return 2 * rows * (height + 2 * pad) * (width + 2 * pad) * channels

    @staticmethod
    def place(size: int, device: torch.device) -> torch.device | None:
        """Say where windows of so many bytes are held: on a CUDA device, else on the host, else nowhere."""
        if device.type == "cuda" and size <= SHARE * torch.cuda.mem_get_info(device)[0]:
            return device
        return CPU if size <= MOST else None

    def gather(self, rows: NDArray[np.int64], top: NDArray[np.int64], left: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """Give crops (B, height, width, channels) uint8, where the windows are held.

        Args:
            rows: (B,) which images.
            top: (B,) first row of each crop in the padded image, 0 to 2 pad.
            left: (B,) first column, likewise.
            flipped: (B,) whether the crop is mirrored left to right, after it is cut.
        """
        mirrored_left = np.where(flipped, 2 * self._pad - left, left)  # what is cut here and then mirrored lies there in the mirror image
        address = np.stack([rows, flipped, top, mirrored_left])  # all that is sent to a device for a batch
        if isinstance(self._view, Tensor):
            return self._view[tuple(to_device(address, self._device))].view(len(rows), *self.shape[1:])
        return torch.from_numpy(self._view[tuple(address)]).view(len(rows), *self.shape[1:])
