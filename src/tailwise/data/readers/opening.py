"""How readers open a file: whole, unpacked by what its first bytes say, and never something that only stands in for it."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

from tailwise.errors import BadData

_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 24
_STAND_INS = {
    b"version https://git-lfs": "is a Git-LFS pointer, not the file itself; fetch it with `git lfs pull`",
    b"<!doctype html": "is a web page, not the file itself; download it again",
    b"<html": "is a web page, not the file itself; download it again",
}


def first_bytes(file: Path, count: int = 64) -> bytes:
    """Give a file's first bytes, unpacked where it is gzip; fewer where it is shorter or damaged.

    Raises:
        BadData: it cannot be opened, is no ordinary file, or is a Git-LFS pointer or a web page in place of data.
    """
    if os.path.exists(file) and not os.path.isfile(file):  # a pipe must never be opened: nobody may be writing to it
        raise BadData(f"{file} is no ordinary file; give a file or a folder")
    try:
        with open(file, "rb") as stream:
            start = stream.read(count)
        if start.startswith(_GZIP):
            with gzip.open(file) as unpacked:
                start = unpacked.read(count)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""
    except OSError as error:
        raise BadData(f"{file}: cannot be opened ({error.strerror or error}); check the path") from error
    for sign, what in _STAND_INS.items():
        if start.lower().startswith(sign):
            raise BadData(f"{file} {what}")
    return start


def read_whole(file: Path, most: int | None = None) -> bytes:
    """Give a file's bytes, unpacked where it is gzip; no more than `most`.

    Raises:
        BadData: as `first_bytes`, or the gzip stream is damaged or ends early.
    """
    first_bytes(file)
    content = bytearray()
    try:
        with open(file, "rb") as stream:
            is_packed = stream.read(2) == _GZIP
        with gzip.open(file) if is_packed else open(file, "rb") as stream:
            # In blocks: Python sets aside as many bytes as are asked for, and a damaged header may ask for any number.
            while block := stream.read(_BLOCK if most is None else min(_BLOCK, most - len(content))):
                content += block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadData(f"{file}: a damaged gzip file ({error}); download or write it again") from error
    except OSError as error:
        raise BadData(f"{file}: cannot be opened ({error.strerror or error}); check the path") from error
    return bytes(content)


MOST_TEXT = 1 << 31
"""Bytes of text that are read at most, unpacked: beyond it a list is no list, or an archive that unpacks for ever."""


def read_text(file: Path, encoding: str = "utf-8-sig") -> str:
    """Give a text file, plain or gzip, with or without a byte order mark; line ends are as they are.

    Raises:
        BadData: as `read_whole`; it is not UTF-8, or too large.
    """
    content = read_whole(file, MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise BadData(f"{file}: more than {MOST_TEXT:,} bytes of text; is it a list?")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadData(f"{file}: not UTF-8 at byte {error.start:,}; save it again as UTF-8") from error
