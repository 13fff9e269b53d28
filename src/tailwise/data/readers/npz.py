"""The arrays of an `.npz` file: their headers are read first, so that no more is set aside than the file holds."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tailwise.data.readers.opening import first_bytes
from tailwise.errors import BadData

_NPY = ".npy"
_HEADERS: dict[tuple[int, int], Callable[..., tuple[tuple[int, ...], bool, np.dtype]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_BOMB_RATIO, _BOMB_BYTES = 1000, 1 << 30
_BROKEN = (OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What NumPy and zipfile raise over a file that is no archive, or a damaged one."""


class Header(NamedTuple):
    """What an array's header says of it."""

    shape: tuple[int, ...]
    dtype: np.dtype


def npz_headers(file: Path) -> dict[str, Header]:
    """Read the headers of all arrays; none of them is loaded.

    Raises:
        BadData: no such archive, or a damaged one; an array that declares other than what the file holds, or unpacks to a thousand
            times its size.
    """
    first_bytes(file)
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(_NPY)]
            return {member.filename.removesuffix(_NPY): _header(archive, member, file) for member in members}
    except BadData:
        raise
    except _BROKEN as error:
        raise _unreadable(file, error) from error


def load_npz(file: Path, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """Load some arrays; Python objects are refused, never unpickled.

    Raises:
        BadData: as `npz_headers`, or one of them holds Python objects.
    """
    headers = npz_headers(file)
    for key in keys:
        if headers[key].dtype.hasobject:
            raise BadData(f"{file}: {key} holds Python objects, which are never unpickled; save plain arrays of numbers and text")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    except _BROKEN as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: BaseException) -> BadData:
    try:
        with open(file, "rb") as stream:
            is_single = stream.read(6) == b"\x93NUMPY"
    except OSError:
        is_single = False
    if is_single:
        return BadData(f"{file}: holds a single array, expected an archive with labels; write it with np.savez")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BadData(f"{file}: no readable .npz archive ({reason}); write it again with np.savez")


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> Header:
    key = member.filename.removesuffix(_NPY)
    with archive.open(member) as stream:
        try:
            shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        except Exception as error:  # on damage NumPy lets through TokenError, SyntaxError, RecursionError ...
            raise ValueError(f"the header of {key} is damaged") from error
        held = member.file_size - stream.tell()
    declared = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and declared != held:
        raise BadData(f"{file}: {key} declares {_size(declared)}, and the file holds {_size(held)} of it; write it again with np.savez")
    if declared > max(_BOMB_BYTES, _BOMB_RATIO * member.compress_size):
        raise BadData(f"{file}: {key} unpacks to {_size(declared)} from {_size(member.compress_size)}; it is refused as a bomb")
    return Header(tuple(shape), dtype)


def _size(count: int) -> str:
    """Say a number of bytes as people do, however large a damaged header makes it."""
    if count >= 1 << 60:
        return "more than a million TB"
    for power, unit in ((40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")):
        if count >= 1 << power:
            return f"{count / (1 << power):,.1f} {unit}"
    return f"{count:,} bytes"
