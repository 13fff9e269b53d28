"""Locks between processes, held by the kernel: a dead owner's is free at once, that of one who is asleep or stopped never is.

They only save work, and nothing depends on them: where a lock cannot be taken (a folder that cannot be written, a file system without
locks) it counts as ours. Lock files are never deleted: whoever deleted one could let a second owner in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tailwise.disk import make_folder

WAITING_SECONDS = 0.5


@contextlib.contextmanager
def hold(file: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock, once nobody else does.

    Args:
        file: of the lock.
        waiting: called about twice a second while another process holds the lock; may raise, to give up.
    """
    with _made(file) as lock:
        if not _takes(lock, -1.0 if waiting is None else 0.0) and waiting is not None:
            waiting()
            while not _takes(lock, WAITING_SECONDS):
                waiting()
        yield


@contextlib.contextmanager
def try_hold(file: Path) -> Iterator[bool]:
    """Hold a lock if nobody else does: True when it is ours, False when it is not."""
    with _made(file) as lock:
        yield _takes(lock, 0.0)


def is_held(file: Path) -> bool:
    """Say whether somebody holds a lock; whoever asks may be the one."""
    if not file.exists():
        return False
    with try_hold(file) as is_ours:
        return not is_ours


@contextlib.contextmanager
def _made(file: Path) -> Iterator[FileLock]:
    """Give a lock that is not held yet, and release it in the end."""
    with contextlib.suppress(OSError):
        make_folder(file.parent)
    lock = FileLock(file, fallback_to_soft=False)  # no file that merely says "taken": it would outlive a killed owner
    try:
        yield lock
    finally:
        lock.release()


def _takes(lock: FileLock, seconds: float) -> bool:
    """Say whether a lock becomes ours within some seconds, or cannot be taken at all; below 0 as long as it takes."""
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    except OSError:
        return True
    return True
