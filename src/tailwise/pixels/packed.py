"""The decode-once store: every image decoded, in parallel, into one packed array of bytes, memory-mapped afterwards."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray

from tailwise.data.images import read_pixels
from tailwise.errors import BadData
from tailwise.pixels.cores import cores
from tailwise.pixels.encoded import QUALITY, RAW_MOST, Encoded, encode, held_as, write
from tailwise.specification import key_of, room_digest
from tailwise.store import Store

LOG = logging.getLogger("tailwise")

RAW = "pixels.npy"

Made = TypeVar("Made")


def pixel_key(contents: Sequence[str], size: int | None, channels: int) -> str:
    """Name a packed array: the images' content hashes in order, the rule of resizing, and the code that decodes, Pillow's too."""
    return key_of(list(contents), size, channels, RAW_MOST, QUALITY, room_digest("data.images"), PIL.__version__)


def pack(
    paths: Sequence[Path],
    contents: Sequence[str],
    size: int | None,
    channels: Literal[1, 3],
    store: Store,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8] | Encoded:
    """Decode images into (N, height, width, channels) uint8, once; later calls map the stored array.

    Where they would be more than 16 GiB they are held as JPEG at their final size, and decoded again when they are gathered: see `Encoded`.

    Args:
        paths: image files.
        contents: their content hashes, in the same order.
        size: side to which the shorter side is brought before a centre crop; None keeps the size, which must then be one.
        channels: 1 or 3.
        store: where the packed array is kept.
        progress: called with images done and in all.

    Raises:
        BadData: an image that cannot be decoded, images of several sizes, or more than the store may hold; nothing of them is left.
    """
    key = pixel_key(contents, size, channels)

    def read(row: int) -> NDArray[np.uint8]:
        return read_pixels(paths[row], size, channels)

    def fill(folder: Path) -> None:
        first = read(0)

        def alike(row: int) -> NDArray[np.uint8]:
            pixels = read(row)
            if pixels.shape != first.shape:
                raise BadData(f"{paths[row]} has shape {pixels.shape}, and {paths[0]} {first.shape}; bring all to one size")
            return pixels

        is_encoded = bool(held_as(len(paths), first.shape))
        _check_room(store, len(paths), first.shape, read if is_encoded else None)
        for done, _ in enumerate((write if is_encoded else _write_raw)(folder, alike, len(paths)), start=1):
            if progress:
                progress(done, len(paths))

    def opened(folder: Path) -> NDArray[np.uint8] | Encoded:
        if (folder / RAW).exists():
            return np.load(folder / RAW, mmap_mode="r")
        return Encoded(folder)

    return _kept(store, "pixels", key, fill, opened)


def _write_raw(folder: Path, read: Callable[[int], NDArray[np.uint8]], rows: int) -> Iterator[int]:
    """Decode images into one array, in any order; gives the number of each once it is written."""
    shape = read(0).shape
    head = {"descr": "|u1", "fortran_order": False, "shape": (rows, *shape)}
    writing = Lock()
    with (folder / RAW).open("wb") as packed:  # written, not mapped: a full disk under a map kills the process, without a word
        np.lib.format.write_array_header_1_0(packed, head)
        start = packed.tell()

        def one(row: int) -> int:
            pixels = read(row)
            with writing:
                packed.seek(start + row * pixels.nbytes)
                packed.write(pixels.tobytes())
            return row

        with ThreadPoolExecutor(max_workers=cores()) as pool:
            yield from pool.map(one, range(rows))


def _check_room(store: Store, rows: int, shape: tuple[int, ...], read: Callable[[int], NDArray[np.uint8]] | None) -> None:
    """Refuse what the store would throw out again, before all of it is decoded.

    Args:
        store: whose limit it is.
        rows: how many images there are.
        shape: of each, height, width, channels.
        read: gives an image, where they are encoded; some of all of them tell the size.
    """
    images, needed = f"{rows:,} images of {shape[1]} x {shape[0]} pixels", rows * math.prod(shape)
    if read is not None:
        some, raw = range(0, rows, max(1, rows // 64)), needed
        needed = rows * sum(len(encode(read(row))) for row in some) // len(some)
        held = f"they are held as JPEG of quality {QUALITY}, about {needed / 2**30:.2f} GB"
        LOG.warning(f"{images} would take {raw / 2**30:.2f} GB as they are: {held}")
    if needed > store.limit:
        takes = f"{images} take {needed / 2**30:.2f} GB, and the store may hold {store.limit / 2**30:.2f}"
        raise BadData(f"{takes}; set TAILWISE_STORE_GB higher, or make them smaller with --set recipe.image_size={max(1, shape[0] // 2)}")


def keep_array(store: Store, kind: str, key: str, write: Callable[[Path], None]) -> NDArray[Any]:
    """Keep an array in the store: written once, mapped afterwards, written again where it is damaged.

    Args:
        store: where.
        kind: of thing; the array is `<kind>/<key>/<kind>.npy`.
        key: all that decides the array.
        write: writes the array to a file.
    """
    return _kept(
        store, kind, key, lambda draft: write(draft / f"{kind}.npy"), lambda folder: np.load(folder / f"{kind}.npy", mmap_mode="r")
    )


def _kept(store: Store, kind: str, key: str, fill: Callable[[Path], None], opened: Callable[[Path], Made]) -> Made:
    """Keep what fills a folder, and open it."""
    while True:
        folder = store.make(kind, key, fill)
        try:
            return opened(folder)
        except FileNotFoundError:  # another process has trimmed it in this very moment
            continue
