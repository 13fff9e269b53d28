"""The store: a cache of what was computed, addressed by content. Deleting it costs time, never a result.

Every thing in it is checked by a hash when it is used; what is damaged is dropped, said and computed again. A store that cannot be
written is read, and what is new goes to a folder that lasts as long as this process.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tailwise.disk import PENDING, hash_file, remove_folder, sealed, try_writing, unsealed, whole_file, whole_folder
from tailwise.errors import BadValue, Stopped, Unwritable
from tailwise.locks import hold, is_held, try_hold

LIMIT_GIGABYTES = 20.0
RECENT_SECONDS = 3600.0
"""What was used so lately is probably still in use."""

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
SEAL, SIZE = "seal.json", "size"
CARDS = {SEAL, "state.json"}
"""A folder with one of these is ours; any other in the store's place is somebody's, and never deleted."""

KINDS = {
    "states": "a state",
    "pixels": "decoded images",
    "features": "features of images",
    "files": "unpacked images",
    "measures": "measures of images",
    "scores": "validation scores",
    "threads": "measured numbers of threads",
}
"""Kinds of things, in words."""

LOG = logging.getLogger("tailwise")


def default_root() -> Path:
    """Give the store's place: `TAILWISE_STORE`, or the user's cache folder."""
    if named := os.environ.get("TAILWISE_STORE"):
        return Path(named)
    from platformdirs import user_cache_path  # what trains names its own place, and runs without

    return user_cache_path("tailwise", appauthor=False)


def default_limit() -> int:
    """Give the store's limit in bytes: `TAILWISE_STORE_GB`, or 20.

    Raises:
        BadValue: the variable is no number above 0.
    """
    named = os.environ.get("TAILWISE_STORE_GB", str(LIMIT_GIGABYTES))
    try:
        gigabytes = float(named)
    except ValueError:
        gigabytes = 0.0
    if not gigabytes > 0:
        raise BadValue(f"TAILWISE_STORE_GB is a number of gigabytes above 0, got {named!r}")
    return int(gigabytes * 1024**3)


@dataclass(frozen=True)
class Thing:
    """A folder of the store that can be deleted by itself.

    Attributes:
        kind: `states`, `pixels`, `features`, `files` or `measures`.
        key: what it is found by; of a state the line.
        folder: where it is.
        bytes: of its files.
        used: when it was last used, in seconds since 1970.
        is_inner: whether it is a state in the middle of a line, which only shortens a resumption.
    """

    kind: str
    key: str
    folder: Path
    bytes: int
    used: float
    is_inner: bool = False

    @property
    def lock(self) -> tuple[str, str]:
        """Kind and key of the lock that whoever works on it holds."""
        return ("line" if self.kind == "states" else self.kind, self.key)


@dataclass
class _Known:
    """What this process knows of a store's place, whichever `Store` asks.

    Attributes:
        temporary: the folder that takes what the place refuses; None while it refuses nothing.
        gone: damaged things that could not be deleted, and are not there for us.
        whole: folder -> sizes and times of its files when their hashes were right.
    """

    temporary: Path | None = None
    gone: set[Path] = field(default_factory=set)
    whole: dict[Path, list[Any]] = field(default_factory=dict)


_KNOWN: dict[str, _Known] = {}


class Store:
    """Folders and small files by kind and key.

    Args:
        root: where; `default_root()` when None.
        limit: bytes above which `trim` deletes; `default_limit()` when None.
    """

    def __init__(self, root: Path | None = None, limit: int | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()
        self.limit = limit if limit is not None else default_limit()
        self._dear: frozenset[str] = frozenset()

    @property
    def _known(self) -> _Known:
        return _KNOWN.setdefault(os.path.abspath(self.root), _Known())

    @property
    def _places(self) -> tuple[Path, ...]:
        """Where things are looked for; they are written to the first."""
        temporary = self._known.temporary
        return (self.root,) if temporary is None else (temporary, self.root)

    # --- looking ------------------------------------------------------------------------------------------------------

    def path(self, kind: str, *key: str) -> Path:
        """Give the place of a thing, or the one where it would be."""
        for place in self._places:
            found = place.joinpath(kind, *key)
            if found.exists() and found not in self._known.gone:
                return found
        return self._places[0].joinpath(kind, *key)

    def has(self, kind: str, *key: str) -> bool:
        """Say whether the thing is there, whole."""
        found = self.path(kind, *key)
        return found.is_dir() and found not in self._known.gone

    def names(self, kind: str, *key: str) -> set[str]:
        """List what is under a key."""
        found = set()
        for place in self._places:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found |= {p.name for p in place.joinpath(kind, *key).iterdir() if p not in self._known.gone}
        return {name for name in found if not name.startswith(PENDING)}

    def holds(self, path: Path | str) -> bool:
        """Say whether something lies in the store."""
        return any(Path(path).resolve().is_relative_to(place.resolve()) for place in self._places)

    def touch(self, kind: str, *key: str) -> None:
        """Note that a thing is used, so that it is not among the first to go."""
        with contextlib.suppress(OSError):
            os.utime(self.path(kind, *key))

    # --- keeping ------------------------------------------------------------------------------------------------------

    def make(self, kind: str, key: str, fill: Callable[[Path], None]) -> Path:
        """Give the folder of a thing, checked, filling it where it is not there or damaged; one process fills, others wait.

        Raises:
            Stopped: the disk is full.
        """

        def fill_and_seal(folder: Path) -> None:
            fill(folder)
            _seal(folder)

        if not self._is_whole(kind, key):
            with self.lock(kind, key):
                if not self._is_whole(kind, key):  # nobody else has made it meanwhile
                    self.put(lambda final: whole_folder(final, fill_and_seal), kind, key)
        self.touch(kind, key)
        return self.path(kind, key)

    def put(self, write: Callable[[Path], Path], kind: str, *key: str) -> Path:
        """Write a thing: where the disk is full once more after making room, where the store cannot be written beside it.

        Args:
            write: writes the thing to the place that it is given, whole or not at all, and returns it.
            kind: of thing.
            key: of the thing.

        Raises:
            Stopped: the disk is full; what stood before stands.
            Unwritable: the place cannot be written, for another reason than that nobody may.
        """
        if self.root.joinpath(kind, *key) in self._known.gone:
            self._go_aside()
        place = self._places[0].joinpath(kind, *key)
        try:
            return write(place)
        except Unwritable:
            if not self._is_refused(place.parent):
                raise
            self._go_aside()
        except Stopped as stopped:
            if not self._make_room():
                raise Stopped(f"{stopped}; all that is stored stands, and TAILWISE_STORE may name another disk") from None
        return write(self._places[0].joinpath(kind, *key))

    def write_json(self, kind: str, name: str, value: Any) -> Path:
        """Keep plain values, with their hash."""
        return self.put(lambda final: whole_file(final, sealed(value)), kind, f"{name}.json")

    def read_json(self, kind: str, name: str) -> Any:
        """Give plain values that were kept; None where there are none, or damaged ones, which are said and dropped."""
        try:
            return unsealed(self.path(kind, f"{name}.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            self.drop_damaged(kind, f"{name}.json")
            return None

    def shelf(self, kind: str) -> Path:
        """Give a folder that can be written, for files that their owner keeps whole; where the store cannot, a copy of its own."""
        if self._known.temporary is None:
            if not self._is_refused(self.root / kind):
                return self.root / kind
            self._go_aside()
        shelf = self._places[0] / kind
        if not shelf.exists() and (self.root / kind).is_dir():
            shelf.mkdir(parents=True)
            for name in self.names(kind):
                with contextlib.suppress(OSError):
                    shutil.copyfile(self.root / kind / name, shelf / name)  # without its rights, which may be to read only
        return shelf

    def _is_whole(self, kind: str, key: str) -> bool:
        """Say whether a thing is there with the bytes that were written; a damaged one is said and dropped.

        All its files are read once a process, and again when one of them has changed: what a disk alters changes no time.
        """
        folder = self.path(kind, key)
        if not self.has(kind, key):
            return False
        try:
            content = unsealed((folder / SEAL).read_bytes())
            now = [(s.st_size, s.st_mtime_ns, s.st_ino) for s in ((folder / name).stat() for name in content)]
            if self._known.whole.get(folder) != now:
                if _hashes(folder, content) != content:
                    raise ValueError("the hash does not fit")
                self._known.whole[folder] = now
        except (OSError, ValueError):
            if folder.is_dir():  # otherwise another process has trimmed it meanwhile
                self.drop_damaged(kind, key)
            return False
        return True

    # --- a store that cannot be written -------------------------------------------------------------------------------

    def _is_refused(self, folder: Path) -> bool:
        """Say whether nobody of our rights may write a folder."""
        try:
            try_writing(folder)
        except OSError as error:
            return error.errno in REFUSED
        return False

    def _go_aside(self) -> None:
        """Write to a temporary folder from now on, and say so."""
        if self._known.temporary is None:
            self._known.temporary = Path(tempfile.mkdtemp(prefix="tailwise-"))
            atexit.register(_remove_own, self._known.temporary, os.getpid())
            LOG.warning(f"the store {self.root} cannot be written: it is read, and nothing new is kept for later runs")

    # --- locks --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, kind: str, key: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock of a thing, so that two processes do not compute it twice; see `locks`.

        Args:
            kind: of thing; of states `line`.
            key: of the thing.
            waiting: called about twice a second while another process holds the lock; may raise, to give up.
        """
        with hold(self._lock_file(kind, key), waiting):
            yield

    @contextlib.contextmanager
    def try_lock(self, kind: str, key: str) -> Iterator[bool]:
        """Hold the lock of a thing if nobody else does: True when it is ours, False when it is not."""
        with try_hold(self._lock_file(kind, key)) as is_ours:
            yield is_ours

    def is_locked(self, kind: str, key: str) -> bool:
        """Say whether somebody holds the lock of a thing; whoever asks may be the one."""
        return is_held(self._lock_file(kind, key))

    def _lock_file(self, kind: str, key: str) -> Path:
        return self._places[0] / "locks" / f"{kind}-{key}"

    # --- deleting -----------------------------------------------------------------------------------------------------

    def drop(self, kind: str, *key: str) -> None:
        """Delete a thing; nothing happens when it is not there. One that cannot be deleted is no longer there for this process."""
        for place in self._places:
            dropped = place.joinpath(kind, *key)
            if dropped.is_dir():
                remove_folder(dropped)
            else:
                with contextlib.suppress(OSError):
                    dropped.unlink(missing_ok=True)
            if dropped.exists():
                self._known.gone.add(dropped)

    def drop_damaged(self, kind: str, *key: str) -> None:
        """Delete a damaged thing and say so; whoever asked for it computes it again."""
        LOG.warning(f"damaged in the store, and computed again: {KINDS.get(kind, kind)}, {self.path(kind, *key)}")
        self.drop(kind, *key)

    def sizes(self) -> dict[str, int]:
        """Give bytes by kind."""
        kinds = [p for p in sorted(self.root.iterdir()) if p.is_dir()] if self.root.is_dir() else []
        return {p.name: _bytes(p) for p in kinds if p.name != "locks"}

    def things(self) -> Iterator[Thing]:
        """List what can be deleted: nothing that is being written, and nothing without our seal, whatever folder the root is."""
        root = self._places[0]
        for line in _folders(root / "states"):
            for state in _folders(Path(line)):
                yield from _thing("states", line.name, state)
        for kind in ("pixels", "features", "files", "measures"):
            for folder in _folders(root / kind):
                yield from _thing(kind, folder.name, folder)

    def remove(self, thing: Thing) -> bool:
        """Delete a thing; False where another process was quicker, or it cannot be deleted."""
        return remove_folder(thing.folder)

    def trim(self, dear: Collection[str] = frozenset()) -> int:
        """Delete until the store is within its limit, and say how many bytes went.

        States in the middle of a line go first, then what was not used for longest: what ends a line or is shared is dearer than what
        only shortens a resumption. What was used within the hour goes when nothing else is left, and after it what is dear. What another
        process works on stays.

        Args:
            dear: keys of what is still wanted; heeded too when a disk is full, until the next call.
        """
        self._dear = frozenset(dear)
        found = list(self.things())
        over = sum(thing.bytes for thing in found) - self.limit
        return self._free(over, sorted(found, key=lambda t: (t.key in self._dear, _is_recent(t), not t.is_inner, t.used)))

    def _make_room(self) -> int:
        """Delete a tenth of the limit of what is neither dear nor lately used, or all that there is of it; say how many bytes went."""
        old = [thing for thing in self.things() if thing.key not in self._dear and not _is_recent(thing)]
        return self._free(self.limit // 10, sorted(old, key=lambda t: (not t.is_inner, t.used)))

    def _free(self, wanted: int, things: Iterable[Thing]) -> int:
        """Delete one thing after another until so many bytes are gone, and say how many we deleted."""
        ours, others, locked = 0, 0, dict[tuple[str, str], bool]()
        for thing in things:
            if ours + others >= wanted:
                break
            if thing.lock not in locked:
                locked[thing.lock] = self.is_locked(*thing.lock)
            if locked[thing.lock]:
                continue
            if self.remove(thing):
                ours += thing.bytes
            elif not thing.folder.exists():  # another process trims too, and what it deleted makes room as well
                others += thing.bytes
        return ours


def _is_recent(thing: Thing) -> bool:
    return time.time() - thing.used < RECENT_SECONDS


def _folders(place: Path) -> list[os.DirEntry[str]]:
    """List the folders in a folder, but for those that are being written, and links, which lead to somebody else's."""
    try:
        with os.scandir(place) as found:
            return [entry for entry in found if not entry.name.startswith(PENDING) and entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _thing(kind: str, key: str, folder: os.DirEntry[str]) -> Iterator[Thing]:
    """Give a thing; nothing where another process was quicker to delete it, or where it is not ours."""
    with contextlib.suppress(OSError, ValueError), os.scandir(folder) as inside:
        files = {entry.name: entry for entry in inside}
        if not files.keys() & CARDS:
            return
        size = files.get(SIZE)
        counted = sum(entry.stat().st_size for entry in files.values()) if size is None else int(Path(size).read_text())
        yield Thing(kind, key, Path(folder), counted, folder.stat().st_mtime, "inner" in files)


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _seal(folder: Path) -> None:
    """Leave the hashes of a folder's files in it, and how many bytes they have."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    (folder / SIZE).write_text(str(_bytes(folder)))  # so that counting does not walk through a million files
    (folder / SEAL).write_bytes(sealed(_hashes(folder, [*names, SIZE])))


def _hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    names = list(names)
    with ThreadPoolExecutor() as pool:  # reading and hashing release the GIL
        return dict(zip(names, pool.map(lambda name: hash_file(folder / name), names), strict=True))


def _remove_own(folder: Path, process: int) -> None:
    """Delete a process's temporary folder at its end; a child that was forked has the same list of ends."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
