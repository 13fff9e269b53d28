"""A path as those see it who ask what it holds: its names, or its first bytes and lines, looked at once."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from tailwise.data.walk import entries
from tailwise.errors import BadData

LOOKED_AT = 1 << 16
"""Bytes of a file that are looked at, after unpacking."""


class Place:
    """A file or folder, before anyone knows what it holds.

    Attributes:
        path: where it is.
        is_folder: whether it is a folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_folder = path.is_dir()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in a folder, sorted, hidden ones left out; of a file none."""
        return tuple(entry.name for entry in entries(self.path)) if self.is_folder else ()

    @cached_property
    def start(self) -> bytes:
        """The first bytes of a file, unpacked where it is gzip; of a folder none."""
        from tailwise.data.readers.opening import first_bytes

        return b"" if self.is_folder else first_bytes(self.path, LOOKED_AT)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The first whole lines of a text file that are not empty, without their ends; none where it is no UTF-8 text."""
        text = self.start
        if not text or b"\0" in text:
            return ()
        is_whole = len(text) < LOOKED_AT
        if not is_whole:
            text = text[: max(text.rfind(b"\n"), text.rfind(b"\r")) + 1]
        try:
            found = re.split(r"\r\n|\n|\r", text.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return ()
        return tuple(line for line in found if line.strip())

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys of the dictionary that a pickled file holds, read without running it; of anything else none.

        Raises:
            BadData: a pickle that is damaged, or asks for more than arrays and plain containers.
        """
        from tailwise.data.readers.pickles import read_pickle, starts_like_pickle

        found = read_pickle(self.path) if starts_like_pickle(self.start, self.plain_name) else None
        return frozenset(key for key in found if isinstance(key, str)) if isinstance(found, dict) else frozenset()

    @property
    def plain_name(self) -> str:
        """The name in lower case, without `.gz`."""
        return self.path.name.lower().removesuffix(".gz")

    def inside(self, *names: str) -> Path | None:
        """Give the first of these files (`train.csv`, or its `.gz`) that a folder has, or that lies beside a file."""
        folder = self.path if self.is_folder else self.path.parent
        for name in names:
            for candidate in (folder / name, folder / f"{name}.gz"):
                if candidate.is_file():
                    return candidate
        return None

    def file(self, *names: str) -> Path:
        """Give what `inside` gives, or refuse.

        Raises:
            BadData: none of them is there.
        """
        found = self.inside(*names)
        if found is None:
            raise BadData(f"{self.path}: no {' or '.join(names)} there; complete the folder, or name another format with --format")
        return found
