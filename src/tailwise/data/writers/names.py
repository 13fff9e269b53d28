"""Names of files and folders that are safe on every file system, and unique where upper and lower case are the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from os.path import splitext

import polars as pl

from tailwise.data.manifest import Manifest

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE | re.DOTALL)
_MOST_BYTES = 200  # of 255, so that an ending and a number have room


def safe_name(name: str) -> str:
    """Make one part of a path of any text: `_` for what a file system may not take, nothing hidden, no reserved word.

    >>> safe_name("T-shirt/top"), safe_name(".."), safe_name("con"), safe_name("naïve")
    ('T-shirt_top', '__', '_con', 'naïve')
    """
    safe = _UNSAFE.sub("_", name)
    while len(safe.encode("utf-8", "surrogatepass")) > _MOST_BYTES:
        safe = safe[:-1]
    kept = safe.rstrip(". ")
    safe = kept + "_" * (len(safe) - len(kept))
    if safe.startswith("."):
        safe = "_" + safe[1:]
    return f"_{safe}" if _RESERVED.fullmatch(safe) else safe or "_"


def unique_names(names: Iterable[str]) -> list[str]:
    """Give each name a safe one of its own, in order; a later name that is taken gets `-2`, `-3` before its ending.

    >>> unique_names(["a.png", "A.png", "b.png", "a.png"])
    ['a.png', 'A-2.png', 'b.png', 'a-3.png']
    """
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    given = []
    for name in names:
        safe = safe_name(name)
        stem, ending = splitext(safe)
        number = next_number.get(_folded(safe), 2)
        candidate = safe
        while _folded(candidate) in taken:
            candidate = f"{stem}-{number}{ending}"
            number += 1
        next_number[_folded(safe)] = number
        taken.add(_folded(candidate))
        given.append(candidate)
    return given


def _folded(name: str) -> str:
    """What a file system without cases compares; composed and decomposed letters are the same on some."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def class_folders(manifest: Manifest, splits: Mapping[str, str] = {}) -> pl.Series:
    """Put every image into a folder for its split and one for its class: (N,) String, `train/cat/7.png`, in row order.

    Images without one label lie in the folder of the split itself. Names are safe on every file system and unique; which of equal names
    keeps it depends on ids, not on the order of rows.

    Args:
        manifest: of images.
        splits: other names of splits, where a layout has them.
    """
    folders = unique_names(manifest.classes)
    rows = manifest.rows.select("id", "path", "split", "label").with_row_index("place").sort("id")
    plain = [plain_name(path, id_) for path, id_ in rows.select("path", "id").iter_rows()]
    rows = rows.with_columns(pl.Series("plain", plain, dtype=pl.String))
    paths = pl.Series("path", [""] * rows.height)
    for (split, label), group in rows.group_by(["split", "label"], maintain_order=True):
        folder = splits.get(str(split), str(split)) + ("" if label is None else f"/{folders[int(str(label))]}")
        paths = paths.scatter(group["place"], [f"{folder}/{name}" for name in unique_names(group["plain"])])
    return paths


def plain_name(path: str | None, id_: str) -> str:
    """Give the name that a file has, or that an array's row gets: the end of its id.

    >>> plain_name("cat/a.JPG", "7"), plain_name(None, "train/0007")
    ('a.JPG', '0007.png')
    """
    return path.rsplit("/", 1)[-1] if path is not None else f"{id_.rstrip('/').rsplit('/', 1)[-1]}.png"
