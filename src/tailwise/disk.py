"""Files and folders that appear whole or not at all, whatever is killed, full or switched off on the way.

What is written lies beside its final name until it is on the disk, files before the folders that list them. Then it takes its name.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import itertools
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

from tailwise.errors import BadValue, OutputExists, Stopped, Unwritable

PENDING = ".pending-"
ASIDE = ".replaced-"
DEAD_SECONDS = 24 * 3600.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        said = error.strerror or str(error)
        if error.errno in FULL or said.endswith(" written"):  # numpy says how many of how many, and gives no number
            raise Stopped(f"the disk is full at {where}: {said}; make room and run the same command again") from None
        raise Unwritable(f"{where} cannot be written ({said}); choose another place with --out or TAILWISE_STORE") from None


# --- whole or not at all ----------------------------------------------------------------------------------------------


def whole_folder(final: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder beside its final name, sync it and rename it: it appears whole, or not at all.

    When two writers race, the loser discards its own. What a killed writer left is swept by the next one.
    """
    with _pending_folder(final, fill) as pending:
        try:
            pending.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    return final


def replace_folder(final: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder that takes the place of another; the old one stands until the new one is whole.

    No single rename puts one folder in the place of another, so the old one is put aside first, as `NAME.replaced-` and 32 digits
    that nobody types. Killed between the two renames, the old one has no other name: the next call, or `put_back`, puts that right.
    """
    put_back(final)
    if not final.exists():
        return whole_folder(final, fill)
    with _pending_folder(final, fill) as pending:
        aside = final.with_name(f"{final.name}{ASIDE}{uuid.uuid4().hex}")
        final.rename(aside)
        try:
            pending.rename(final)
        except OSError:
            put_back(final)
            raise
    put_back(final)
    return final


def put_back(final: Path) -> None:
    """Put right what a replacing left that was killed: the old folder gets its name back, or goes where the new one stands."""
    for aside in sorted(final.parent.glob(f"{glob.escape(final.name)}{ASIDE}{'[0-9a-f]' * 32}")):
        with writing(final):
            doomed = final.with_name(_pending_name(final)) if final.exists() else None
            aside.rename(doomed or final)
            sync(final.parent)  # before anything is deleted: no power cut brings back half of what was put aside
        if doomed is not None:
            shutil.rmtree(doomed, ignore_errors=True)


def remove_folder(folder: Path) -> bool:
    """Take a folder away: at once for all who look, its files afterwards. False where it is gone already, or cannot be taken."""
    doomed = folder.with_name(_pending_name(folder))
    try:
        folder.rename(doomed)
    except OSError:
        return False
    shutil.rmtree(doomed, ignore_errors=True)
    return True


def whole_file(final: Path, data: bytes) -> Path:
    """Write a file beside its final name, sync it and rename it over the old one."""
    with writing(final):
        make_folder(final.parent)
        _sweep_dead(final.parent)
        pending = final.with_name(_pending_name(final))
        try:
            with pending.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(pending, final)
            sync(final.parent)
        finally:
            pending.unlink(missing_ok=True)
    return final


@contextlib.contextmanager
def _pending_folder(final: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """Fill a folder beside its final name and force it to disk; whoever asked renames it, and what is left of it goes."""
    with writing(final):
        make_folder(final.parent)
        _sweep_dead(final.parent)
        pending = final.with_name(_pending_name(final))
        pending.mkdir()
        try:
            fill(pending)
            sync_folder(pending)
            yield pending
            sync(final.parent)
        finally:
            shutil.rmtree(pending, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, on the disk too; nothing happens where it is there."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in reversed(missing):
        sync(place.parent)


def sync_folder(folder: Path) -> None:
    """Force a folder's files, then the folders that list them, to disk."""
    inside = sorted(p for p in folder.rglob("*") if not p.is_symlink())
    with ThreadPoolExecutor(max_workers=16) as pool:  # waits for the disk: many files at once are several times faster
        list(pool.map(sync, (p for p in inside if p.is_file())))
    for path in [*reversed([p for p in inside if p.is_dir()]), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- what is pending --------------------------------------------------------------------------------------------------


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


# --- finding out ------------------------------------------------------------------------------------------------------


def check_apart(*places: Path | str) -> None:
    """Refuse places of which one is, or lies in, another: a later reading would find both, a replacing delete one with the other.

    Raises:
        BadValue: naming the two.
    """
    real = [os.path.realpath(place) for place in places]
    for (one, place), (other, beside) in itertools.combinations(zip(places, real, strict=True), 2):
        if os.path.commonpath([place, beside]) in (place, beside):
            raise BadValue(f"{other} and {one} lie one in the other; write to a folder apart from it")


def check_writable(folder: Path) -> None:
    """Find out before hours of work whether a folder can be written.

    Raises:
        Unwritable: it cannot; nothing is left behind.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputExists(f"{folder} is a file; --out takes a folder")
    with writing(folder):
        try_writing(folder)


def try_writing(folder: Path) -> None:
    """Write an empty file into a folder, or into the nearest one above it that is there, and delete it.

    Raises:
        OSError: it cannot be written.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    handle, probe = tempfile.mkstemp(prefix=PENDING, dir=existing)
    os.close(handle)
    Path(probe).unlink()


# --- JSON and hashes --------------------------------------------------------------------------------------------------


def leave_file(path: Path, data: bytes, force: bool, is_ours: Callable[[bytes], bool], kind: str) -> bool:
    """Write a file whole, and say whether it was not there already, byte for byte. Nothing but a file of its kind is ever replaced.

    Args:
        path: where it goes.
        data: what it holds.
        force: whether another file of the kind is replaced.
        is_ours: says of the bytes that stand there whether they are of the kind.
        kind: in words, as in `.npy file`.

    Raises:
        OutputExists: a link, a folder, a file of another kind, or one of the kind without `force`.
        Unwritable: it cannot be read or written.
    """
    there = check_leavable(path, is_ours, kind)
    if there == data:
        return False
    if there is not None and not force:
        raise OutputExists(f"{path} exists and holds something else; give --out another name, or replace it with --force")
    whole_file(path, data)
    return True


def check_leavable(path: Path, is_ours: Callable[[bytes], bool], kind: str) -> bytes | None:
    """Refuse a place whose file could not be replaced, before any work is done; give the bytes that stand there.

    Raises:
        As `leave_file`, but for a file of the kind.
    """
    if not os.path.lexists(path):
        return None
    if path.is_symlink():
        raise OutputExists(f"{path} is a link, and what it leads to is never replaced; give --out another name")
    with writing(path):
        there = path.read_bytes() if path.is_file() else b""
    if not is_ours(there):
        raise OutputExists(f"{path} exists and is no {kind}, so it is never replaced; give --out another name")
    return there


def json_bytes(value: Any) -> bytes:
    """Write plain values as indented JSON, as all our records are."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> Path:
    """Write plain values as indented JSON, whole or not at all."""
    return whole_file(path, json_bytes(value))


def sealed(value: Any) -> bytes:
    """Write plain values as JSON together with their hash, so that `unsealed` finds any damage.

    >>> unsealed(sealed({"step": 4, "loss": 0.1}))
    {'step': 4, 'loss': 0.1}
    """
    return json.dumps({"hash": _hash(value), "content": value}).encode() + b"\n"


def unsealed(data: bytes) -> Any:
    """Read what `sealed` wrote.

    Raises:
        ValueError: a bit of it is another one.
    """
    found = json.loads(data)
    if not isinstance(found, dict) or set(found) != {"hash", "content"} or found["hash"] != _hash(found["content"]):
        raise ValueError("the hash does not fit")
    return found["content"]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Hash a file's bytes: SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
