"""The decode-once store: every image decoded, in parallel, into one packed array of bytes, memory-mapped afterwards."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import PIL
from numpy.typing import NDArray

from tailwise.data.images import read_pixels
from tailwise.errors import BadData
from tailwise.specification import key_of, room_digest
from tailwise.store import Store

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux says how much of a processor a container has, and in which period."""


def pixel_key(contents: Sequence[str], size: int | None, channels: int) -> str:
    """Name a packed array: the images' content hashes in order, the rule of resizing, and the code that decodes, Pillow's too."""
    return key_of(list(contents), size, channels, room_digest("data.images"), PIL.__version__)


def cores() -> int:
    """Give the cores that this process may use: those of its affinity, and no more than the quota of its container."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return max(1, min(mine, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or no quota: `max 100000`
        return mine


def pack(
    paths: Sequence[Path],
    contents: Sequence[str],
    size: int | None,
    channels: Literal[1, 3],
    store: Store,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8]:
    """Decode images into (N, height, width, channels) uint8, once; later calls map the stored array.

    Args:
        paths: image files.
        contents: their content hashes, in the same order.
        size: side to which the shorter side is brought before a centre crop; None keeps the size, which must then be one.
        channels: 1 or 3.
        store: where the packed array is kept.
        progress: called with images done and in all.

    Raises:
        BadData: an image that cannot be decoded.
    """
    key = pixel_key(contents, size, channels)

    def decode(file: Path) -> None:
        first = read_pixels(paths[0], size, channels)
        head = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), *first.shape)}
        writing = Lock()
        with file.open("wb") as packed:  # written, not mapped: a full disk under a map kills the process, without a word
            np.lib.format.write_array_header_1_0(packed, head)
            start = packed.tell()

            def one(i: int) -> None:
                pixels = read_pixels(paths[i], size, channels)
                if pixels.shape != first.shape:
                    raise BadData(f"{paths[i]} has shape {pixels.shape}, and {paths[0]} {first.shape}; bring all to one size")
                with writing:
                    packed.seek(start + i * first.nbytes)
                    packed.write(pixels.tobytes())

            with ThreadPoolExecutor(max_workers=cores()) as pool:
                for done, _ in enumerate(pool.map(one, range(len(paths))), start=1):
                    if progress:
                        progress(done, len(paths))

    return keep_array(store, "pixels", key, decode)


def keep_array(store: Store, kind: str, key: str, write: Callable[[Path], None]) -> NDArray[Any]:
    """Keep an array in the store: written once, mapped afterwards, written again where it is damaged.

    Args:
        store: where.
        kind: of thing; the array is `<kind>/<key>/<kind>.npy`.
        key: all that decides the array.
        write: writes the array to a file.
    """
    while True:
        folder = store.make(kind, key, lambda draft: write(draft / f"{kind}.npy"))
        try:
            return np.load(folder / f"{kind}.npy", mmap_mode="r")
        except FileNotFoundError:  # another process has trimmed it in this very moment
            continue
