"""Encoded images out of a container, as files: a folder in the store, made whole and keyed by what the images come from."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import polars as pl

from tailwise.data.content import hash_bytes
from tailwise.store import Store

KIND = "files"
"""Where in the store the folders are."""

_LIST = "unpacked.parquet"
_SIGNS = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"))


def unpacking_key(*parts: str | Sequence[str]) -> str:
    """Give the key of what is unpacked: 32 hexadecimal digits of a hash of where it comes from.

    >>> unpacking_key("parquet", ["a", "b"]) == unpacking_key("parquet", ["a", "c"])
    False
    """
    return hashlib.sha256(json.dumps(["files/1", *parts]).encode()).hexdigest()[:32]


def unpack(key: str, images: Callable[[], Iterable[tuple[str, bytes]]]) -> tuple[Path, pl.DataFrame]:
    """Write encoded images as files, unless they are there already, whole; a folder with missing or changed files is made anew.

    Args:
        key: from `unpacking_key`; equal keys must mean equal images.
        images: gives (name without ending, bytes of the file) of every image; names are unique and may hold `/`.

    Returns:
        The folder, and a table of `path` (relative to it) and `content`, a row an image in the order of `images`.

    Raises:
        TailwiseError: what `images` raises.
        Unwritable, Stopped: the store cannot be written.
    """
    folder = Store().make(KIND, key, lambda draft: _fill(draft, images()))
    return folder, pl.read_parquet(folder / _LIST)


def _fill(draft: Path, images: Iterable[tuple[str, bytes]]) -> None:
    rows = []
    made: set[str] = set()
    for name, encoded in images:
        path = name + _ending(encoded)
        parent = os.path.dirname(path)
        if parent not in made:
            (draft / parent).mkdir(parents=True, exist_ok=True)
            made.add(parent)
        (draft / path).write_bytes(encoded)
        rows.append((path, hash_bytes(encoded)))
    table = io.BytesIO()  # not to the file itself: polars says a full disk in words of its own
    pl.DataFrame(rows, schema={"path": pl.String, "content": pl.String}, orient="row").write_parquet(table)
    (draft / _LIST).write_bytes(table.getvalue())


def _ending(encoded: bytes) -> str:
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return ".webp"
    return next((ending for sign, ending in _SIGNS if encoded.startswith(sign)), ".img")
