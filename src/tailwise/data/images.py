"""The only place that opens an image: every file becomes upright 8-bit pixels here, or one line that names it.

Needs Pillow and NumPy, nothing else, so that worker processes can use it without tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from tailwise.data.listing import first_five
from tailwise.errors import BadData, BadValue

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Lower-case endings of the files that are read as images; what a file really is, its first bytes say."""

# Named, so that no other format that Pillow knows (EPS starts a program) hides behind an innocent ending.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

MAX_PIXELS = 89_478_485
"""Largest width x height that is decoded: 256 MiB as RGB, Pillow's own threshold for a warning."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TOGETHER = 64
"""Headers that a thread reads at a time: handing over a file costs more than a header that the system has in memory."""

_UNREAD = (
    (rb"(?s)....ftypcrx|II[RU]\0|IIR[OS]|MMOR|FUJIFILMCCD-RAW|FOVb", "RAW"),
    (rb"(?s)....ftypavi[fs]", "AVIF"),
    (rb"(?s)....ftyp(hei|hev|mif1|msf1)", "HEIC"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"8BPS", "PSD"),
    (rb"%!PS", "PostScript"),
    (rb"%PDF", "PDF"),
)
"""How files begin that hold pictures in a format that is not read here."""

_LOOKED_AT = 1024
_CANON = 8, b"CR"
_PAGE_KIND, _PAGES_BELOW, _DNG_VERSION = 254, 330, 50706
"""Numbers of TIFF tags."""

FilePath = str | os.PathLike[str]


class _Broken(Exception):
    """Why one file is no image for us; becomes `BadData` with the file's name."""


def read_header(path: FilePath) -> tuple[int, int, str]:
    """Read an image's upright width, height (pixels, as `read_pixels` will give them) and Pillow mode, without decoding it.

    Raises:
        BadData: the file cannot be opened, is no image of a known format, or has more than `MAX_PIXELS` pixels.
    """
    try:
        return _header(path)
    except _Broken as broken:
        raise _refusal(path, broken) from broken


def count_pictures(path: FilePath) -> int:
    """Count the pictures of a file: frames of an animation, pages of a TIFF; 1 where there is one, or where nobody can tell.

    Raises:
        BadData: as `read_header`.
    """
    try:
        with _open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except _Broken as broken:
        raise _refusal(path, broken) from broken
    except Exception:  # frames are found by going through the file, which may be damaged: decoding it says so
        return 1


def _refusal(path: FilePath, broken: _Broken) -> BadData:
    return BadData(f"{os.fspath(path)}: {broken}; repair or remove the file")


def _header(path: FilePath) -> tuple[int, int, str]:
    with _open(path) as image:
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        return width, height, image.mode


def _open(path: FilePath) -> Image.Image:
    try:
        image = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise _Broken(_what_instead(path)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Broken(f"more than {MAX_PIXELS:,} pixels") from error
    except OSError as error:
        raise _Broken(f"cannot be opened ({error.strerror or error})") from error
    except Exception as error:  # on damaged headers Pillow's formats let through struct.error, IndexError, TypeError ...
        raise _Broken(f"a damaged image ({_first_line(error)})") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise _Broken(f"{width} x {height} is more than {MAX_PIXELS:,} pixels")
    if image.format == "TIFF" and _is_preview(image):
        image.close()
        raise _Broken("format RAW is not read here")
    return image


def _what_instead(path: FilePath) -> str:
    """Say what a file is that is none of our images, by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(_LOOKED_AT)
    if not start:
        return "an empty file"
    unread = next((name for pattern, name in _UNREAD if re.match(pattern, start)), None)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    what = ""
    if text.startswith((b"<!doctype html", b"<html")):
        what = " (a web page)"
    elif text.startswith(b"<") and b"<svg" in text:
        unread = "SVG"
    elif text.startswith(b"version https://git-lfs"):
        what = " (a Git-LFS pointer: `git lfs pull` fetches the file)"
    return f"format {unread} is not read here" if unread else f"not an image of a known format{what}"


def _is_preview(image: Any) -> bool:
    """Tell a camera's RAW file, which begins as a TIFF of a small preview: Canon's mark, DNG's tag, or a page that has others below it."""
    image.fp.seek(_CANON[0])
    tags = image.tag_v2
    kind = tags.get(_PAGE_KIND, 0)
    is_reduced = isinstance(kind, int) and kind & 1 == 1
    return image.fp.read(2) == _CANON[1] or _DNG_VERSION in tags or (is_reduced and _PAGES_BELOW in tags)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8 as the header gives it, 1 where there is none or the EXIF block is damaged."""
    if image.format == "TIFF":  # Pillow turns these by itself
        return 1
    try:
        # Not image.getexif(): for PNG files that decodes the whole image.
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
        return int(value) if value in _UPRIGHT else 1
    except Exception:  # a damaged EXIF block is no reason to refuse good pixels
        return 1


def read_pixels(path: FilePath, size: int | None = None, channels: Literal[1, 3] = 3) -> np.ndarray:
    """Decode an image to upright 8-bit pixels.

    EXIF rotation is applied; palettes become colours; transparency is laid on white; CMYK becomes RGB; 16-bit grey keeps its upper
    8 bits. Colour becomes grey by ITU-R 601 when one channel is asked for. Of animations the first frame is read.

    Args:
        path: the file; its first bytes say what it is, not its name.
        size: pixels; the shorter side is resized to it (antialiased bilinear), then the centre `size` x `size` is cut out, as
            torchvision's `Resize(size)` and `CenterCrop(size)` do with Pillow images. None keeps the native size.
        channels: 1 or 3.

    Returns:
        (H, W, channels) uint8, contiguous, owned by the caller.

    Raises:
        BadData: the file cannot be opened or decoded, is no image of a known format, has more than `MAX_PIXELS` pixels, or holds
            floats or more than 16 bits.
        BadValue: `size` is not positive, or `channels` neither 1 nor 3.
    """
    if size is not None and size < 1:
        raise BadValue(f"size {size} is no image size; give a number of pixels from 1 on, or None for the native size")
    if channels not in (1, 3):
        raise BadValue(f"channels {channels} is neither 1 (grey) nor 3 (colour)")
    try:
        return _pixels(path, size, channels)
    except _Broken as broken:
        raise _refusal(path, broken) from broken


def _pixels(path: FilePath, size: int | None, channels: int) -> np.ndarray:
    with _open(path) as image:
        turn = _orientation(image)
        try:
            image.load()
            image = _flat(image, "L" if channels == 1 else "RGB")
        except _Broken:
            raise
        except Exception as error:  # truncated and damaged files raise whatever the format's reader trips over
            raise _Broken(f"a damaged image ({_first_line(error)})") from error
    if turn in _UPRIGHT:
        image = image.transpose(_UPRIGHT[turn])
    if size is not None:
        image = _resize_and_crop(image, size)
    pixels = np.array(image, dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], channels)


def image_pixels(image: Image.Image, where: str) -> np.ndarray:
    """Give the pixels of a Pillow image in memory by the rules of `read_pixels`; it is not turned, which is for who opened it.

    Returns:
        (H, W, C) uint8; C is 1 for grey, else 3.

    Raises:
        BadData: it cannot be decoded, or holds floats or more than 16 bits; `where` begins the line.
    """
    channels = 1 if _is_grey(image.mode) else 3
    try:
        flat = _flat(image, "L" if channels == 1 else "RGB")
    except _Broken as broken:
        raise BadData(f"{where} has {broken}; convert it") from broken
    except Exception as error:  # a file opened and not yet loaded: as in `_pixels`
        raise BadData(f"{where} is a damaged image ({_first_line(error)}); repair or remove it") from error
    return np.array(flat, dtype=np.uint8).reshape(flat.height, flat.width, channels)


def _is_grey(mode: str) -> bool:
    return mode in ("1", "L", "LA", "La") or mode.startswith("I")


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """Bring any Pillow mode to opaque `L` or `RGB`."""
    if image.mode == "F":
        raise _Broken("floating-point pixels, expected 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise _Broken("pixels of more than 16 bits, expected 8 or 16")
        clear = image.info.get("transparency")  # one value of the 16 bits that is to be seen through
        if isinstance(clear, int):
            values = np.where(values == clear, 0xFFFF, values)
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image if image.mode == mode else image.convert(mode)


def fit_pixels(images: np.ndarray, size: int | None) -> np.ndarray:
    """Bring images in memory to a size by the rule of `read_pixels`.

    Args:
        images: (N, H, W) or (N, H, W, C) uint8, C 1 or 3.
        size: side in pixels; None keeps theirs.

    Returns:
        (N, size, size, C) uint8, or (N, H, W, C) as they are.
    """
    pixels = images[..., None] if images.ndim == 3 else images
    if size is None or pixels.shape[1:3] == (size, size):
        return pixels
    plain = (Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture) for picture in pixels)
    return np.stack([np.asarray(_resize_and_crop(picture, size)).reshape(size, size, pixels.shape[-1]) for picture in plain])


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to `size` and cut out the centre, in one step.

    `box` computes only the pixels that stay: faster, and an image of 1 x 1,000,000 pixels does no harm. Values differ from those of
    resizing the whole image by at most one of 255, since coordinates are rounded elsewhere.
    """
    width, height = image.size
    short = min(width, height)
    wide, high = (int(size * side / short) for side in (width, height))  # torchvision truncates the long side
    left, top = round((wide - size) / 2.0), round((high - size) / 2.0)
    if short == size:
        return image.crop((left, top, left + size, top + size))
    across, down = width / wide, height / high
    # min() because the last bits of a product may lie beyond the edge, which Pillow refuses.
    box = (left * across, top * down, min((left + size) * across, width), min((top + size) * down, height))
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


@dataclass(frozen=True)
class Survey:
    """What the headers of many images say.

    Attributes:
        sizes: (N, 2) int32, upright width and height in pixels, in the order asked.
        channels: 1 if every image is grey, else 3 (palette images count as colour).
        same_size: whether all have the same width and height.
    """

    sizes: np.ndarray
    channels: Literal[1, 3]
    same_size: bool


def survey(paths: Sequence[FilePath]) -> Survey:
    """Read the headers of many images, and refuse all unreadable ones at once.

    Raises:
        BadData: some files are no images; the first five and why, and how many there are.
    """
    if not paths:
        raise BadData("there are no images to survey; give at least one path")
    parts = [paths[at : at + _TOGETHER] for at in range(0, len(paths), _TOGETHER)]
    with ThreadPoolExecutor(max_workers=8) as pool:  # waits for the disk, hence more threads than cores
        found = [header for part in pool.map(_headers_or_reasons, parts) for header in part]
    broken = [f"{os.fspath(path)} ({what})" for path, what in zip(paths, found, strict=True) if isinstance(what, str)]
    if broken:
        raise BadData(f"{len(broken):,} of {len(paths):,} images cannot be read: {first_five(broken)}; repair or remove them")
    headers: list[Any] = found
    sizes = np.array([header[:2] for header in headers], dtype=np.int32)
    is_grey = all(_is_grey(mode) for _, _, mode in headers)
    return Survey(sizes, 1 if is_grey else 3, bool((sizes == sizes[0]).all()))


def _headers_or_reasons(paths: Sequence[FilePath]) -> list[tuple[int, int, str] | str]:
    return [_header_or_reason(path) for path in paths]


def _header_or_reason(path: FilePath) -> tuple[int, int, str] | str:
    try:
        return _header(path)
    except _Broken as broken:
        return str(broken)


def is_image_name(name: FilePath) -> bool:
    """Tell whether a file's name ends like an image's, in upper or lower case."""
    text = os.fspath(name)
    dot = text.rfind(".")
    return dot > 0 and text[dot - 1] not in "/\\" and text[dot:].lower() in IMAGE_SUFFIXES
