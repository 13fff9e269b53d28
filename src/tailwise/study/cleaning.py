"""What of the store nobody needs, and making room: the store is a cache, so this costs time, never a result."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tailwise.disk import ASIDE, DEAD_SECONDS, PENDING, check_writable, writing
from tailwise.errors import Unwritable
from tailwise.store import Store, Thing
from tailwise.study.live import KEY, Announcement, announcements, dear
from tailwise.study.live import KIND as LIVE

ASIDE_NAME = re.compile(rf".+{re.escape(ASIDE)}[0-9a-f]+(-[0-9]+)?")
"""What a folder is called that a replacing put aside."""


def things(store: Store) -> Iterator[Thing]:
    """List what the store holds: states, arrays, unpacked images; and files: scores, threads, announcements, hashes of contents."""
    yield from (thing for thing in store.things() if KEY.fullmatch(thing.key) and not _is_linked(thing))
    for kind in ("scores", "threads", LIVE):
        yield from (_file(kind, place) for place in _listed(store.root, f"{kind}/*.json") if KEY.fullmatch(place.stem))
    yield from (_file("hashes", place) for place in _listed(store.root, "hashes/content.sealed"))


def _listed(folder: Path, pattern: str) -> list[Path]:
    """List what lies in a folder; nothing where it cannot be looked into."""
    try:
        return sorted(folder.glob(pattern))
    except (OSError, ValueError):
        return []


def _is_linked(thing: Thing) -> bool:
    """Whether somebody put a link in the place of a folder of ours: what it leads to is not the store's."""
    return thing.folder.is_symlink() or (thing.kind == "states" and thing.folder.parent.is_symlink())


def _file(kind: str, place: Path) -> Thing:
    return Thing(kind, place.stem, place, bytes_of(place), _time(place))


def needless(store: Store) -> list[Thing]:
    """List what nothing live needs: all but what runs and comparisons under way need, and what a running process holds.

    Small files that serve them all, scores and hashes of contents, stay for as long as anything is live.
    """
    live = {announced.place for announced in announcements(store)[0] if announced.is_live}
    kept = dear(store)

    def is_needed(thing: Thing) -> bool:
        if thing.kind == LIVE:
            return thing.folder in live
        return bool(live or kept) if thing.folder.is_file() else thing.key in kept

    return [thing for thing in things(store) if not is_needed(thing)]


def clean(store: Store, unneeded: Iterable[Thing]) -> int:
    """Delete things of the store, and what killed writers left there, and say how many bytes went.

    What became needed meanwhile stays, and so does what another process holds.

    Raises:
        Unwritable: the store cannot be written, or something of it could not be deleted.
    """
    with writing(store.root):
        if store.root.exists():
            check_writable(store.root)
    still, freed, stuck = {thing.folder for thing in needless(store)}, 0, []
    for thing in unneeded:
        if thing.folder not in still or store.is_locked(*thing.lock):
            continue
        with suppress(OSError):
            thing.folder.unlink() if thing.folder.is_file() else store.remove(thing)
        if thing.folder.exists():
            stuck.append(thing.folder)
        else:
            freed += thing.bytes
    for left in leftovers(store):
        if left.is_dead:
            shutil.rmtree(left.place, ignore_errors=True) if left.place.is_dir() else left.place.unlink(missing_ok=True)
            freed += left.size
    for line in (line for line in _listed(store.root, "states/*/") if KEY.fullmatch(line.name) and not store.is_locked("line", line.name)):
        with suppress(OSError):  # one that is not empty stays
            line.rmdir()
    if stuck:
        raise Unwritable(f"{stuck[0]} and {len(stuck) - 1:,} more could not be deleted; give leave to write there, or delete them yourself")
    return freed


# --- what was left behind ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Left:
    """A file or folder that is half-written, or that a replacing put aside.

    Attributes:
        place: where it is.
        size: in bytes.
        touched: when something in it was last written, seconds since 1970.
    """

    place: Path
    size: int
    touched: float

    @property
    def is_dead(self) -> bool:
        """Whether nobody has written to it for a day, so that its writer is no more."""
        return time.time() - self.touched > DEAD_SECONDS


def leftovers(store: Store) -> list[Left]:
    """List what is being written in the store, or was when its writer was killed."""
    kinds = ("states", "pixels", "features", "files", "scores", "threads", "hashes", LIVE)
    lines = [place for place in _listed(store.root, "states/*/") if KEY.fullmatch(place.name)]
    return [_left(place) for folder in (*map(store.root.joinpath, kinds), *lines) for place in _listed(folder, f"{PENDING}*")]


def left_in(folders: Iterable[Path]) -> list[Left]:
    """List what lies in folders of outputs: half-written ones, and old ones that a replacing put aside; they need not be there."""
    found: set[Path] = set()
    for folder in folders:
        found |= {place for place in _listed(folder, f"*{ASIDE}*") if ASIDE_NAME.fullmatch(place.name)}
        found |= set(_listed(folder, f"{PENDING}*"))
    return [_left(place) for place in sorted(found)]


def _left(place: Path) -> Left:
    return Left(place, bytes_of(place), max(_time(inner) for inner in (place, *place.rglob("*"))))


def _time(place: Path) -> float:
    try:
        return place.lstat().st_mtime
    except OSError:
        return 0.0


def bytes_of(place: Path) -> int:
    """Give the bytes of a file, or of all files in a folder; links count as themselves."""
    total = 0
    for inner in (place, *place.rglob("*")):
        with suppress(OSError):
            total += inner.lstat().st_size if not inner.is_dir() or inner.is_symlink() else 0
    return total


def needed(held: Iterable[Thing], announced: Announcement) -> int:
    """Give the bytes that the store holds for something under way, of all that it holds."""
    return sum(thing.bytes for thing in held if thing.key in announced.needs)
