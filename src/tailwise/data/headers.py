"""What the headers of a set's image files say: sizes, formats, kinds of pixels. Nothing is decoded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tailwise.data.images import read_header
from tailwise.errors import BadData

READ_ALL = 20_000
"""Up to so many files every header is read, of more a sample."""

SAMPLE = 5_000

_FORMATS = (
    (b"\xff\xd8", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"RIFF", "WebP"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"II", "TIFF"),
    (b"MM", "TIFF"),
    (b"P", "PNM"),
)
"""First bytes of the formats that `images` reads."""

_KINDS = {
    "1": "grey",
    "L": "grey",
    "LA": "grey with alpha",
    "La": "grey with alpha",
    "P": "palette",
    "PA": "palette with alpha",
    "RGB": "colour",
    "RGBA": "colour with alpha",
    "RGBa": "colour with alpha",
    "CMYK": "CMYK",
    "F": "floating point",
}
"""Pillow's modes in words; those that begin with `I` are 16-bit grey, any other is its own word."""


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest of a number of pixels."""

    smallest: int
    median: int
    largest: int


@dataclass(frozen=True)
class Headers:
    """Sizes and kinds of image files.

    Attributes:
        files: image files in all.
        read: of these, whose headers were read: all, or a sample at even steps through the sorted paths.
        width: upright widths.
        height: upright heights.
        common_size: the most common width and height; the smallest such among equals.
        other_sizes: share of the files read that are of another size, 0-1.
        formats: JPEG, PNG ... -> files read, most first.
        kinds: grey, colour, palette, CMYK ... -> files read, most first.
        unreadable: of the files read, those that are no images, and why.
    """

    files: int
    read: int
    width: Spread
    height: Spread
    common_size: tuple[int, int]
    other_sizes: float
    formats: Mapping[str, int]
    kinds: Mapping[str, int]
    unreadable: tuple[str, ...]


def read_headers(root: Path, paths: Sequence[str]) -> Headers:
    """Read the headers of files below `root`; of more than `READ_ALL` files only `SAMPLE`.

    Raises:
        BadData: not one of them is an image.
    """
    paths = sorted(paths)
    wanted = len(paths) if len(paths) <= READ_ALL else SAMPLE
    paths_read = [paths[place] for place in np.linspace(0, len(paths) - 1, wanted).round().astype(int)]
    with ThreadPoolExecutor(max_workers=8) as pool:  # waits for the disk, hence more threads than cores
        found = list(pool.map(lambda path: _header(root, path), paths_read))
    headers = [header for header in found if not isinstance(header, str)]
    unreadable = tuple(header for header in found if isinstance(header, str))
    if not headers:
        raise BadData(f"{root}: none of {len(paths_read):,} files is an image ({unreadable[0]}); check the folder that the paths begin at")
    widths, heights, formats, kinds = zip(*headers, strict=True)
    common, times = min(Counter(zip(widths, heights, strict=True)).items(), key=lambda item: (-item[1], item[0]))
    return Headers(
        files=len(paths),
        read=len(paths_read),
        width=_spread(widths),
        height=_spread(heights),
        common_size=common,
        other_sizes=1 - times / len(headers),
        formats=_most_first(formats),
        kinds=_most_first(kinds),
        unreadable=unreadable,
    )


def _header(root: Path, path: str) -> tuple[int, int, str, str] | str:
    """Give width, height, format and kind, or why there are none."""
    file = os.path.join(root, path)
    try:
        width, height, mode = read_header(file)
        form = read_form(file)
    except (BadData, OSError) as error:
        return str(error)
    return width, height, form, kind_of_pixels(mode)


def read_form(file: str) -> str:
    """Tell an image file's format by its first bytes: JPEG, PNG, WebP, BMP, GIF, TIFF, PNM or other."""
    with open(file, "rb") as opened:
        start = opened.read(4)
    return next((name for magic, name in _FORMATS if start.startswith(magic)), "other")


def kind_of_pixels(mode: str) -> str:
    """Give a Pillow mode in words: grey, colour, palette, CMYK, 16-bit grey ..."""
    return "16-bit grey" if mode.startswith("I") else _KINDS.get(mode, mode)


def _spread(pixels: Sequence[int]) -> Spread:
    return Spread(min(pixels), int(np.median(pixels)), max(pixels))


def _most_first(words: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items(), key=lambda item: (-item[1], item[0])))
