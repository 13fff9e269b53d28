"""A recording file layer, and what a power cut at any moment would leave of it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Tree = dict[str, bytes | None]
"""Path -> bytes of a file, None for a folder."""

NAMING = ("mkdir", "rename", "replace", "unlink", "rmdir")


def tree(root: Path) -> Tree:
    """Everything under a folder, as it is now."""
    return {p.relative_to(root).as_posix(): None if p.is_dir() else p.read_bytes() for p in root.rglob("*")}


def below(found: Tree, name: str) -> Tree | bytes | None:
    """What a tree has under a name: None where there is nothing."""
    if name not in found:
        return None
    if found[name] is not None:
        return found[name]
    return {path.removeprefix(f"{name}/"): data for path, data in found.items() if path.startswith(f"{name}/")}


class Disk:
    """Watches what is synced under a folder, and remembers what would be left after each call.

    Two disks are modelled. One loses everything that was not synced: names that no synced folder lists, bytes of no synced file. The
    other writes names at once and bytes only when they are synced, as journals of metadata do.

    Attributes:
        moments: (call, what the first disk has left, what the second one has left) after each call.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bytes: dict[int, bytes] = {}
        self.lists: dict[int, dict[str, int]] = {}
        self.moments: list[tuple[str, Tree, Tree]] = []
        self._one = threading.RLock()
        for place in (root, *root.rglob("*")):
            self.remember(place)

    def remember(self, place: Path) -> None:
        """Take a file's bytes, or a folder's list, as written to the disk."""
        found = place.stat()
        if stat.S_ISDIR(found.st_mode):
            self.lists[found.st_ino] = {inner.name: inner.lstat().st_ino for inner in place.iterdir()}
        else:
            self.bytes[found.st_ino] = place.read_bytes()

    def after(self, call: str) -> None:
        named = {p.relative_to(self.root).as_posix(): None if p.is_dir() else self.bytes.get(p.stat().st_ino, b"") for p in self._inside()}
        self.moments.append((call, dict(self._synced(self.root.stat().st_ino, "")), named))

    def _inside(self) -> list[Path]:
        return [p for p in self.root.rglob("*") if p.exists()]

    def _synced(self, folder: int, above: str) -> Iterator[tuple[str, bytes | None]]:
        for name, inode in self.lists.get(folder, {}).items():
            is_folder = inode in self.lists and inode not in self.bytes
            yield above + name, None if is_folder else self.bytes.get(inode, b"")
            yield from self._synced(inode, f"{above}{name}/")

    @contextmanager
    def watching(self) -> Iterator[Disk]:
        """Record every call that names or syncs something, in all threads."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", self._fsync(os.fsync))
            for name in NAMING:
                patch.setattr(os, name, self._naming(name, getattr(os, name)))
            yield self

    def _fsync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(handle: int) -> None:
            real(handle)
            place = Path(os.readlink(f"/proc/self/fd/{handle}"))
            with self._one:
                self.remember(place)
                self.after(f"sync {place.name}")

        return fsync

    def _naming(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **words: Any) -> Any:
            with self._one:
                gone = os.lstat(path, dir_fd=words.get("dir_fd")).st_ino if name in ("unlink", "rmdir") and os.path.lexists(path) else None
                made = real(path, *args, **words)
                if gone is not None:  # its number is given to another file
                    self.bytes.pop(gone, None)
                    self.lists.pop(gone, None)
                self.after(f"{name} {os.path.basename(path)}")
                return made

        return call

    def left(self, name: str) -> list[Tree | bytes | None]:
        """What each disk has of a name, after each call."""
        return [below(found, name) for _, *disks in self.moments for found in disks]
