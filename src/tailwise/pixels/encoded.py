"""Images held as JPEG at the size that training wants: an eighth of their bytes or less, decoded whenever they are gathered."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tailwise.pixels.cores import cores

RAW_MOST = 2**34
"""Bytes of decoded images that are held as they are: 16 GiB, as of 87,000 images of 256 x 256 pixels in colour."""

QUALITY = 95
"""Of what is held, without subsampling of colours: two levels of 255 off in the mean, where a photo was a JPEG already."""

FILES, INDEX = "files.npy", "index.npz"

_HEADER = 128
"""Bytes in front of an array of one axis."""


def held_as(rows: int, shape: tuple[int, ...]) -> str:
    """Say how so many images of one shape are held: "" as they are, else by what; part of the identity of what is trained on them."""
    return f"jpeg {QUALITY}" if rows * math.prod(shape) > RAW_MOST else ""


class Encoded:
    """Images that read like an (N, height, width, channels) uint8 array along its first axis.

    Args:
        folder: what `write` filled.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, folder: Path) -> None:
        self._files: NDArray[np.uint8] = np.load(folder / FILES, mmap_mode="r")
        with np.load(folder / INDEX) as index:
            self._ends: NDArray[np.int64] = index["ends"]
            self.shape = (len(self._ends), *index["shape"].tolist())

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode rows, (B,) int64 -> (B, height, width, channels), on all cores that this process may use."""
        made = np.empty((len(rows), *self.shape[1:]), np.uint8)

        def one(place: int) -> None:
            row = int(rows[place])
            begin = int(self._ends[row - 1]) if row else 0
            with Image.open(io.BytesIO(self._files[begin : int(self._ends[row])].tobytes())) as image:
                made[place] = np.asarray(image).reshape(self.shape[1:])

        with ThreadPoolExecutor(max_workers=cores()) as pool:
            list(pool.map(one, range(len(rows))))
        return made


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Encode one image, (height, width, 1 or 3) uint8."""
    written = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(written, "JPEG", quality=QUALITY, subsampling=0)
    return written.getvalue()


def write(folder: Path, read: Callable[[int], NDArray[np.uint8]], rows: int) -> Iterator[int]:
    """Encode images into a folder, in their order; gives the number of each once it is written.

    Args:
        folder: exists, and is empty.
        read: gives an image.
        rows: how many there are.
    """
    sizes = np.zeros(rows, np.int64)
    with (folder / FILES).open("wb") as held, ThreadPoolExecutor(max_workers=cores()) as pool:
        held.write(bytes(_HEADER))  # in whose place comes how many bytes they are
        for row, content in enumerate(pool.map(lambda row: encode(read(row)), range(rows))):
            held.write(content)
            sizes[row] = len(content)
            yield row
        held.seek(0)
        np.lib.format.write_array_header_1_0(held, {"descr": "|u1", "fortran_order": False, "shape": (int(sizes.sum()),)})
    np.savez(folder / INDEX, ends=sizes.cumsum(), shape=read(0).shape)
