"""The store's own promises: things checked by hashes, room made, nothing dear deleted, written or not."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tailwise.disk import PENDING, whole_folder
from tailwise.store import Store, Thing
from vocabulary.recording import Disk, tree

HOUR = 3600.0


def fill(size: int = 10):
    def write(folder: Path) -> None:
        (folder / "data").write_bytes(b"x" * size)

    return write


def keep(store: Store, kind: str, *key: str, size: int = 100_000, age: float = 0.0, inner: bool = False) -> Path:
    """Keep a thing that was last used `age` seconds ago."""

    def write(folder: Path) -> None:
        fill(size)(folder)
        if kind == "states":
            (folder / "state.json").touch()
        if inner:
            (folder / "inner").touch()

    folder = store.make(kind, *key, write) if kind != "states" else store.put(lambda final: whole_folder(final, write), kind, *key)
    os.utime(folder, (time.time() - age,) * 2)
    return folder


def standing(store: Store) -> set[str]:
    return {thing.folder.name for thing in store.things()}


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data", "seal.json", "size"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_damage_is_found_said_and_made_good(tmp_path, caplog, name, damage):
    made = []
    for _ in range(2):
        folder = Store(tmp_path).make("pixels", "a", lambda draft: made.append(1) or fill()(draft))
    file = folder / name
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.unlink() if damage == "delete" else file.write_bytes(bytes(data if damage == "flip" else data[:-2]))
    assert not caplog.records
    folder = Store(tmp_path).make("pixels", "a", lambda draft: made.append(1) or fill()(draft))
    assert tree(folder)["data"] == b"x" * 10
    assert len(made) == 2
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "damaged in the store, and computed again: decoded images" in caplog.text
    assert str(folder) in caplog.text


def test_what_a_disk_alters_without_a_trace_is_found_by_the_next_process(tmp_path):
    folder = Store(tmp_path).make("pixels", "a", fill())
    before = (folder / "data").stat()
    (folder / "data").write_bytes(b"y" * 10)
    os.utime(folder / "data", ns=(before.st_atime_ns, before.st_mtime_ns))
    program = (
        "import sys\nfrom pathlib import Path\nfrom tailwise.store import Store\n"
        "folder = Store(Path(sys.argv[1])).make('pixels', 'a', lambda draft: (draft / 'data').write_bytes(b'x' * 10))\n"
        "print((folder / 'data').read_text())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == "x" * 10 + "\n"
    assert "damaged" in done.stderr


def test_values_are_kept_with_their_hash(tmp_path, caplog):
    store = Store(tmp_path)
    assert store.read_json("scores", "a") is None
    file = store.write_json("scores", "a", {"4": 0.25})
    assert store.read_json("scores", "a") == {"4": 0.25}
    assert not caplog.records
    file.write_bytes(file.read_bytes().replace(b"0.25", b"0.75"))
    assert store.read_json("scores", "a") is None
    assert "validation scores" in caplog.text
    assert not file.exists()


def test_of_two_processes_one_makes_and_the_other_waits(tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom tailwise.store import Store\n"
        "def fill(folder):\n    print('made', flush=True)\n    time.sleep(0.3)\n    (folder / 'data').touch()\n"
        "Store(Path(sys.argv[1])).make('pixels', 'a', fill)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0] for process in both) == ["", "made\n"]
    assert tree(tmp_path / "pixels").keys() == {"a", "a/data", "a/seal.json", "a/size"}


# --- the limit --------------------------------------------------------------------------------------------------------


def test_inner_states_go_first_then_what_was_not_used_for_longest(tmp_path):
    store = Store(tmp_path)
    keep(store, "states", "l", "1", age=9 * HOUR)
    keep(store, "states", "l", "2", age=5 * HOUR, inner=True)
    keep(store, "states", "l", "3", age=7 * HOUR)
    keep(store, "pixels", "p", age=8 * HOUR)
    gone = []
    for limit in (350_000, 250_000, 150_000, 50_000):
        before = standing(store)
        store.limit = limit
        store.trim()
        gone += sorted(before - standing(store))
    assert gone == ["2", "1", "p", "3"]


def test_what_is_used_is_young_again(tmp_path):
    store = Store(tmp_path, limit=150_000)
    keep(store, "pixels", "used", age=9 * HOUR)
    keep(store, "pixels", "other", age=8 * HOUR)
    store.make("pixels", "used", fill())
    store.trim()
    assert standing(store) == {"used"}


def test_what_was_used_within_the_hour_goes_late_and_what_is_dear_last(tmp_path):
    store = Store(tmp_path)
    keep(store, "states", "dear", "1", age=90 * HOUR)
    keep(store, "states", "other", "2", age=0.5 * HOUR, inner=True)
    keep(store, "pixels", "old", age=2 * HOUR)
    gone = []
    for limit in (250_000, 150_000, 50_000):
        before = standing(store)
        store.limit = limit
        assert store.trim({"dear"}) >= 100_000
        gone += sorted(before - standing(store))
    assert gone == ["old", "2", "1"]


def test_what_somebody_works_on_is_not_trimmed(tmp_path):
    store = Store(tmp_path, limit=1)
    keep(store, "states", "held", "1", age=9 * HOUR)
    keep(store, "pixels", "free")
    with store.lock("line", "held"):
        store.trim()
    assert standing(store) == {"1"}


def test_within_the_limit_nothing_goes(tmp_path):
    store = Store(tmp_path, limit=200_000)
    keep(store, "pixels", "a", age=9 * HOUR)
    keep(store, "files", "b", age=9 * HOUR)
    assert store.trim() == 0
    assert standing(store) == {"a", "b"}


def test_pending_folders_are_neither_counted_nor_trimmed(tmp_path):
    store = Store(tmp_path, limit=1)
    (tmp_path / "states" / "l" / f"{PENDING}1-host-1-x").mkdir(parents=True)
    (tmp_path / "pixels" / f"{PENDING}p-host-1-x").mkdir(parents=True)
    assert standing(store) == set()
    assert store.trim() == 0
    assert len(list(tmp_path.glob(f"**/{PENDING}*"))) == 2


def test_several_processes_trim_at_once(tmp_path):
    store = Store(tmp_path, limit=1_000_000)
    for number in range(60):
        keep(store, "states", f"l{number % 7}", str(number), age=number * HOUR)
    with ThreadPoolExecutor(4) as pool:
        freed = list(pool.map(lambda _: Store(tmp_path, limit=1_000_000).trim(), range(4)))
    assert sum(thing.bytes for thing in store.things()) + sum(freed) == 6_000_000
    assert 0 < sum(thing.bytes for thing in store.things()) <= 1_000_000


def test_things_say_what_they_are(tmp_path):
    store = Store(tmp_path)
    keep(store, "states", "l", "7", age=HOUR, inner=True)
    keep(store, "files", "f")
    state, files = store.things()
    assert (state.kind, state.key, state.folder.name, state.bytes, state.is_inner) == ("states", "l", "7", 100_000, True)
    assert state.used == pytest.approx(time.time() - HOUR, abs=60)
    assert (files.kind, files.key, files.is_inner) == ("files", "f", False)
    assert files.bytes == 100_000
    assert store.remove(state)
    assert not store.remove(state)
    assert [thing.kind for thing in store.things()] == ["files"]
    assert isinstance(files, Thing)


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """A disk of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_on_a_full_disk_room_is_made_by_what_is_old(small):
    store = Store(small)
    store.trim({"dear"})
    keep(store, "states", "dear", "1", size=500_000, age=99 * HOUR)
    keep(store, "pixels", "old", size=500_000, age=9 * HOUR)
    keep(store, "states", "inner", "2", size=500_000, age=2 * HOUR, inner=True)
    keep(store, "pixels", "new", size=900_000)
    assert standing(store) == {"1", "new"}, "a tenth of the limit is more than there is, so all that may go went"
    assert tree(small / "pixels" / "new")["data"] == b"x" * 900_000


def test_where_no_room_can_be_made_what_stands_stays_whole(small):
    from tailwise.errors import Stopped

    store = Store(small)
    keep(store, "pixels", "a", size=900_000)
    keep(store, "states", "l", "1", size=500_000)
    before = tree(small)
    with pytest.raises(Stopped, match=r"disk is full at .*run the same command again.*all that is stored stands.*TAILWISE_STORE"):
        keep(store, "states", "l", "2", size=900_000)
    with pytest.raises(Stopped):
        store.write_json("scores", "s", "x" * 900_000)
    assert tree(small) == before | {"scores": None}


# --- a store that cannot be written -----------------------------------------------------------------------------------

STRANGER = """
import os, sys
from pathlib import Path
import tailwise.store
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
from tailwise.disk import whole_folder
from tailwise.store import Store
def fill(folder):
    (folder / "data").write_text("made")
    (folder / "state.json").touch()
store = Store(Path(sys.argv[1]))
for _ in range(2):
    with store.lock("pixels", "old"):
        print((store.make("pixels", "old", fill) / "data").read_text(), (store.make("pixels", "new", fill) / "data").read_text())
print((Store(store.root).make("features", "damaged", fill) / "data").read_text())
store.write_json("scores", "new", 2)
store.write_json("scores", "old", 3)
print(store.read_json("scores", "old"), store.read_json("scores", "new"), sorted(store.names("scores")))
print(sorted(p.name for p in store.shelf("hashes").iterdir()), (store.shelf("hashes") / "b").write_text("b"))
store.drop("states", "l", "2")
store.put(lambda final: whole_folder(final, fill), "states", "l", "3")
print(sorted(store.names("states", "l")), store.has("states", "l", "2"), store.has("states", "l", "3"))
print(store.holds(store.path("states", "l", "3")), store.holds(store.root / "states"), store.holds("/usr"))
store.limit = 1
store.trim()
print(sorted(store.names("states", "l")))
print(store.path("states", "l").parents[1])
"""


@pytest.fixture
def readable():
    """A folder that every user may read, and only its owner write."""
    place = Path(f"/tmp/tailwise-test-{os.getpid()}-{time.time_ns()}")
    place.mkdir(mode=0o755)
    yield place
    subprocess.run(["chmod", "-R", "u+w", str(place)], check=True)
    shutil.rmtree(place)


def as_stranger(program: str, place: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program that gives up its rights, over a store that its user may not write."""
    subprocess.run(["chmod", "-R", "a-w,a+rX", str(place)], check=True)
    return subprocess.run([sys.executable, "-c", program, str(place)], capture_output=True, text=True, env={**os.environ, **more})


def test_a_store_that_cannot_be_written_is_read_and_the_rest_is_temporary(readable, tmp_path):
    store = Store(readable)

    def old(folder: Path) -> None:
        (folder / "data").write_text("old")

    store.make("pixels", "old", old)
    (store.make("features", "damaged", old) / "data").write_text("bad")
    store.write_json("scores", "old", 1)
    (store.shelf("hashes")).mkdir()
    (store.shelf("hashes") / "a").write_text("a")
    for step in ("1", "2"):
        store.put(lambda final: whole_folder(final, old), "states", "l", step)
    before = tree(readable)
    done = as_stranger(STRANGER, readable)
    assert done.returncode == 0, done.stderr
    *said, temporary = done.stdout.splitlines()
    assert said == [
        "old made",
        "old made",
        "made",
        "3 2 ['new.json', 'old.json']",
        "['a'] 1",
        "['1', '3'] False True",
        "True True False",
        "['1']",
    ]
    assert tree(readable) == before
    assert done.stderr.count("cannot be written") == 1
    assert "nothing new is kept for later runs" in done.stderr
    assert done.stderr.count("damaged in the store") == 1
    assert temporary.startswith("/tmp/tailwise-")
    assert not Path(temporary).exists(), "the temporary folder goes with its process"


def test_a_store_that_is_a_file_is_refused_and_nothing_is_temporary(tmp_path):
    from tailwise.errors import Unwritable

    (tmp_path / "store").touch()
    with pytest.raises(Unwritable, match="TAILWISE_STORE"):
        Store(tmp_path / "store").make("pixels", "a", fill())


# --- power cuts -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="the recording layer asks /proc which file is synced")
def test_what_the_store_keeps_is_whole_or_not_there_after_a_power_cut(tmp_path):
    store = Store(tmp_path / "store")
    with Disk(tmp_path).watching() as disk:
        store.make("pixels", "a", fill())
        store.write_json("scores", "s", {"4": 0.5})
        store.write_json("scores", "s", {"4": 0.5, "8": 0.25})
    made = tree(tmp_path / "store" / "pixels" / "a")
    assert all(left in (None, made) for left in disk.left("store/pixels/a"))
    assert disk.left("store/pixels/a")[-2:] == [made, made]
    assert len(set(disk.left("store/scores/s.json"))) == 3
    last = (tmp_path / "store" / "scores" / "s.json").read_bytes()
    assert disk.left("store/scores/s.json")[-2:] == [last, last]


def test_what_is_not_ours_is_never_counted_or_deleted_wherever_the_store_is(tmp_path):
    store = Store(tmp_path, limit=1)
    for place in ("files/holiday", "pixels/art", "states/idaho/boise"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "picture.jpg").write_bytes(b"x" * 1000)
    keep(store, "pixels", "ours", age=9 * HOUR)
    store.trim()
    assert standing(store) == set()
    assert len(list(tmp_path.rglob("picture.jpg"))) == 3
