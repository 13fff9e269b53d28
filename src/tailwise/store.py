"""The store: a cache of what was computed, addressed by content. Deleting it costs time, never a result.

One implementation of folders that appear whole or not at all, of locks that only save work, and of the limit.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from tailwise.errors import BadValue, OutputExists, Stopped, Unwritable

LIMIT_GIGABYTES = 20.0
PENDING = ".pending-"
DEAD_SECONDS = 24 * 3600.0


def default_root() -> Path:
    """Give the store's place: `TAILWISE_STORE`, or the user's cache folder."""
    named = os.environ.get("TAILWISE_STORE")
    return Path(named) if named else user_cache_path("tailwise", appauthor=False)


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


def sync_folder(folder: Path) -> None:
    """Force a folder's files, then the folders that list them, to disk."""
    inside = sorted(p for p in folder.rglob("*") if not p.is_symlink())
    with ThreadPoolExecutor(max_workers=16) as pool:  # waits for the disk: many files at once are several times faster
        list(pool.map(_sync, (p for p in inside if p.is_file())))
    for path in [*reversed([p for p in inside if p.is_dir()]), folder]:
        _sync(path)


@contextlib.contextmanager
def writing(where: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into one line.

    Raises:
        Unwritable: no permission, a read-only disk, a name that is no folder.
        Stopped: the disk is full; what stood before stands.
    """
    try:
        yield
    except (Unwritable, OutputExists, Stopped):
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Stopped(f"the disk is full at {where}: {error.strerror}; make room and run the same command again") from None
        raise Unwritable(f"{where} cannot be written ({error.strerror}); choose another place with --out or TAILWISE_STORE") from None


def whole_folder(final: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder beside its final name, sync it and rename it: it appears whole, or not at all.

    When two writers race, the loser discards its own. What a killed writer left is swept by the next one.
    """
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep_dead(final.parent)
        pending = final.parent / _pending_name(final)
        pending.mkdir()
        try:
            fill(pending)
            sync_folder(pending)
            try:
                pending.rename(final)
            except OSError:
                if not final.is_dir():
                    raise
            _sync(final.parent)
        finally:
            shutil.rmtree(pending, ignore_errors=True)
    return final


def _pending_name(final: Path) -> str:
    """Name what is being written: for which name, by which process of which machine."""
    return f"{PENDING}{final.name}-{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _host() -> str:
    """Give this machine's name without the dashes that part the names of pending folders."""
    return socket.gethostname().replace("-", "_") or "here"


def _sweep_dead(parent: Path) -> None:
    """Delete the pending folders of processes of this machine that are no more."""
    for left in parent.glob(f"{PENDING}*-{_host()}-*-*"):
        owner = left.name.rsplit("-", 2)[1]
        is_old = False
        with contextlib.suppress(FileNotFoundError):
            is_old = time.time() - left.stat().st_mtime > DEAD_SECONDS  # process numbers of another container mean nothing here
        if is_old and owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def whole_file(final: Path, data: bytes) -> Path:
    """Write a file beside its final name, sync it and rename it over the old one."""
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep_dead(final.parent)
        pending = final.parent / _pending_name(final)
        try:
            with pending.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(pending, final)
            _sync(final.parent)
        finally:
            pending.unlink(missing_ok=True)
    return final


def _sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(folder: Path) -> None:
    """Find out before hours of work whether a folder can be written.

    Raises:
        Unwritable: it cannot; nothing is left behind.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputExists(f"{folder} is a file; --out takes a folder")
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    with writing(folder):
        handle, probe = tempfile.mkstemp(prefix=PENDING, dir=existing)
        os.close(handle)
        Path(probe).unlink()


def json_bytes(value: Any) -> bytes:
    """Write plain values as indented JSON, as all our records are."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> Path:
    """Write plain values as indented JSON, whole or not at all."""
    return whole_file(path, json_bytes(value))


class Store:
    """Folders by kind and key.

    Args:
        root: where; `default_root()` when None.
        limit: bytes above which `trim` deletes; `default_limit()` when None.
    """

    def __init__(self, root: Path | None = None, limit: int | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()
        self.limit = limit if limit is not None else default_limit()

    def path(self, kind: str, *key: str) -> Path:
        """Give the place of a thing, whether or not it is there."""
        return self.root.joinpath(kind, *key)

    def has(self, kind: str, *key: str) -> bool:
        """Say whether the thing is there, whole."""
        return self.path(kind, *key).is_dir()

    def make(self, kind: str, key: str, fill: Callable[[Path], None]) -> Path:
        """Give the folder of a thing, filling it first where it is not there; one process fills, others wait."""
        final = self.path(kind, key)
        if not final.is_dir():
            with self.lock(kind, key):
                if not final.is_dir():
                    whole_folder(final, fill)
        return final

    @contextlib.contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Hold the lock of a thing, so that two processes do not compute it twice; the kernel frees a dead owner's."""
        place = self.root / "locks"
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            lock = FileLock(place / f"{kind}-{key}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def drop(self, kind: str, *key: str) -> None:
        """Delete a thing; nothing happens when it is not there."""
        shutil.rmtree(self.path(kind, *key), ignore_errors=True)

    def sizes(self) -> dict[str, int]:
        """Give bytes by kind."""
        kinds = [p for p in sorted(self.root.iterdir()) if p.is_dir()] if self.root.is_dir() else []
        return {p.name: _bytes(p) for p in kinds if p.name != "locks"}

    def trim(self) -> int:
        """Delete until the store is within its limit, and say how many bytes went.

        States in the middle of a line go first, then the oldest of the rest: what ends a line or is shared is dearer than what only
        shortens a resumption.
        """
        total = sum(self.sizes().values())
        freed = 0
        for folder in sorted((f for f in self._folders() if not f.name.startswith(PENDING)), key=_dearness):
            if total - freed <= self.limit:
                break
            freed += _bytes(folder)
            shutil.rmtree(folder, ignore_errors=True)
        return freed

    def _folders(self) -> Iterator[Path]:
        yield from self.root.glob("states/*/*/")
        for kind in ("pixels", "features", "files"):
            yield from self.root.glob(f"{kind}/*/")


def _dearness(folder: Path) -> tuple[int, float]:
    try:
        return (0 if (folder / "inner").exists() else 1, folder.stat().st_mtime)
    except FileNotFoundError:  # another process trims too
        return (0, 0.0)


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def replace_folder(final: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder that takes the place of another; the old one stands until the new one is whole."""
    if not final.exists():
        return whole_folder(final, fill)
    new = final.with_name(f"{final.name}.new-{uuid.uuid4().hex[:8]}")
    old = final.with_name(f"{final.name}.old-{uuid.uuid4().hex[:8]}")
    whole_folder(new, fill)
    with writing(final):
        final.rename(old)
        new.rename(final)
        _sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)
    return final
