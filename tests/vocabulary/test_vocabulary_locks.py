"""Kernel locks: a killed owner's is free, a stopped one's is never stolen, and nothing depends on them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tailwise.locks import hold, is_held, try_hold
from tailwise.store import Store

OWNER = """
import sys, time
from pathlib import Path
from tailwise.store import Store
with Store(Path(sys.argv[1])).lock("line", "a"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def owner(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of line `a`."""
    with subprocess.Popen([sys.executable, "-c", OWNER, str(root)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def is_ours(store: Store, key: str = "a") -> bool:
    with store.try_lock("line", key) as ours:
        return ours


@pytest.mark.kill
def test_a_killed_owners_lock_is_free_and_a_stopped_owners_is_not(tmp_path):
    store = Store(tmp_path)
    with owner(tmp_path) as process:
        assert store.is_locked("line", "a")
        assert not is_ours(store)
        assert is_ours(store, "b")
        process.send_signal(signal.SIGSTOP)  # a laptop that sleeps
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        long_ago = 1.0
        os.utime(tmp_path / "locks" / "line-a", (long_ago, long_ago))
        assert not is_ours(store)
        assert store.is_locked("line", "a")
        process.kill()
        process.wait()
        assert not store.is_locked("line", "a")
        assert is_ours(store)


@pytest.mark.kill
def test_whoever_waits_is_asked_and_may_give_up(tmp_path):
    asked = []

    def give_up() -> None:
        asked.append(True)
        if len(asked) == 2:
            raise KeyboardInterrupt

    with owner(tmp_path) as process:
        with pytest.raises(KeyboardInterrupt), Store(tmp_path).lock("line", "a", give_up):
            pytest.fail("two owners")
        process.kill()
        process.wait()
        with Store(tmp_path).lock("line", "a", give_up):
            assert len(asked) == 2


@pytest.mark.kill
def test_whoever_waits_goes_on_once_the_owner_is_dead(tmp_path):
    with owner(tmp_path) as process, Store(tmp_path).lock("line", "a", process.kill):
        assert process.wait() == -signal.SIGKILL


def test_lock_files_stay_so_that_no_two_owners_hold_two_files_of_one_name(tmp_path):
    store = Store(tmp_path)
    with store.lock("line", "a"):
        before = (tmp_path / "locks" / "line-a").stat().st_ino
    assert (tmp_path / "locks" / "line-a").stat().st_ino == before


def test_asking_makes_no_lock_file(tmp_path):
    assert not Store(tmp_path).is_locked("line", "a")
    assert list(tmp_path.iterdir()) == []


def test_where_no_lock_can_be_taken_the_work_goes_on(tmp_path):
    (tmp_path / "locks").touch()  # no folder
    store = Store(tmp_path)
    with store.lock("line", "a"), store.try_lock("line", "a") as ours:
        assert ours
    assert not store.is_locked("line", "a")


def test_on_a_file_system_without_locks_no_file_says_taken(tmp_path, monkeypatch):
    """Such a file would outlive a killed owner, and everybody would wait for a dead one."""
    fcntl = pytest.importorskip("fcntl", reason="locks of this system are not the kernel's flock")

    def absent(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, "no locks here")

    monkeypatch.setattr(fcntl, "flock", absent)
    with hold(tmp_path / "lock"), try_hold(tmp_path / "lock") as ours:
        assert ours
    assert not is_held(tmp_path / "lock")
