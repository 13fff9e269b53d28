"""Walking through folders for images: links are followed, loops and hidden files left alone, pipes and devices never opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from tailwise.data.images import is_image_name
from tailwise.data.listing import first_five
from tailwise.errors import BadData

_LEFT_BEHIND = {"__MACOSX", "Thumbs.db", "desktop.ini"}


@dataclass
class Tally:
    """What was met on the way.

    Attributes:
        links: symbolic links that were followed.
        loops: links that lead back into themselves.
        again: folders that links lead to a second time below one folder of the root.
        closed: folders that cannot be opened, and why.
        hidden: hidden files and folders, and what operating systems leave behind.
        others: files that are no images.
        strays: images where none were expected; the caller fills it.
    """

    links: int = 0
    loops: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Say it, a sentence a thing."""
        said = []
        if self.links:
            said.append(f"followed {self.links:,} symbolic links")
        if self.loops:
            said.append(f"skipped {len(self.loops):,} links that lead back into themselves: {first_five(sorted(self.loops))}")
        if self.again:
            said.append(f"skipped {len(self.again):,} ways to folders that were walked already: {first_five(sorted(self.again))}")
        if self.closed:
            said.append(f"skipped {len(self.closed):,} folders that cannot be opened: {first_five(sorted(self.closed))}")
        if self.hidden:
            said.append(f"skipped {len(self.hidden):,} hidden files or folders: {first_five(sorted(self.hidden))}")
        if self.others:
            said.append(f"skipped {len(self.others):,} files that are no images: {first_five(sorted(self.others))}")
        if self.strays:
            said.append(f"skipped {len(self.strays):,} images that lie in no class folder: {first_five(self.strays)}")
        return said


def image_paths(root: Path, tally: Tally) -> Iterator[str]:
    """Walk below `root`, links included, and yield the paths of files that are named like images, relative to `root`.

    Below each folder of the root a folder is walked once, by its own name rather than by a link: links between folders would make
    more ways than there are images.

    Raises:
        BadData: `root` cannot be opened; a folder below it is skipped and counted.
    """
    todo = [("", frozenset({os.path.realpath(root)}))]
    walked = set()
    while todo:
        below, above = todo.pop()
        way = (below.partition("/")[0], os.path.realpath(root / below))
        if way in walked:
            tally.again.append(below)
            continue
        walked.add(way)
        folders: list[tuple[str, frozenset[str], bool]] = []
        try:
            found = _scan(root / below)
        except OSError as error:
            if not below:
                raise _cannot_be_opened(root, error) from error
            tally.closed.append(f"{below} ({error.strerror})")
            continue
        before = f"{below}/" if below else ""
        for entry in found:
            path = before + entry.name
            if entry.is_file(follow_symlinks=False) and is_image_name(entry.name) and not _is_hidden(entry.name):
                yield path  # what nearly all entries are, told by as few questions as possible
                continue
            if _is_hidden(entry.name):
                tally.hidden.append(path)
                continue
            tally.links += entry.is_symlink()
            if entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else None
                if real in above:
                    tally.loops.append(path)
                else:
                    folders.append((path, above | {real or os.path.realpath(entry.path)}, entry.is_symlink()))
            # A dangling link is given on, to be refused by name; a pipe or device must never be opened.
            elif is_image_name(entry.name) and (entry.is_file() or not os.path.exists(entry.path)):
                yield path
            else:
                tally.others.append(path)
        todo += [(path, inside) for path, inside, _ in sorted(folders, key=lambda folder: not folder[2])]  # the last is taken first


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """List what is in a folder by name, hidden things left out.

    Raises:
        BadData: it cannot be opened.
    """
    try:
        return [entry for entry in _scan(folder) if not _is_hidden(entry.name)]
    except OSError as error:
        raise _cannot_be_opened(folder, error) from error


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return sorted(found, key=attrgetter("name"))


def _is_hidden(name: str) -> bool:
    """Tell hidden names, `._x.jpg` of macOS among them, and those of what an operating system leaves in any folder."""
    return name.startswith(".") or name in _LEFT_BEHIND


def _cannot_be_opened(folder: Path, error: OSError) -> BadData:
    return BadData(f"{folder}: cannot be opened ({error.strerror}); give leave to read it, or remove it")
