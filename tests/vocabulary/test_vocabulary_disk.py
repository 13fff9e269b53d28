"""Folders and files appear whole or not at all, on a disk that loses whatever was not synced."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tailwise.disk import ASIDE, PENDING, put_back, replace_folder, sealed, unsealed, whole_file, whole_folder
from tailwise.errors import Unwritable
from vocabulary.recording import Disk, Tree, below, tree

linux = pytest.mark.skipif(sys.platform != "linux", reason="the recording layer asks /proc which file is synced")

NEW: Tree = {"a": b"1", "deep": None, "deep/er": None, "deep/er/b": b"22"}


def fill(folder: Path) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "b").write_bytes(b"22")
    (folder / "a").write_bytes(b"1")


def make_old(folder: Path) -> Tree:
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    return tree(folder)


@linux
def test_a_folder_is_whole_or_not_there_after_a_power_cut_at_any_moment(tmp_path):
    with Disk(tmp_path).watching() as disk:
        whole_folder(tmp_path / "x" / "y" / "made", fill)
    assert len(disk.moments) > 8
    assert all(left in (None, NEW) for left in disk.left("x/y/made"))
    assert disk.left("x/y/made")[-2:] == [NEW, NEW], "what is done is on the disk, with the new folders around it"


@linux
def test_a_file_is_the_old_or_the_new_one_after_a_power_cut_at_any_moment(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with Disk(tmp_path).watching() as disk:
        whole_file(tmp_path / "file", b"new")
        whole_file(tmp_path / "x" / "other", b"other")
    assert set(disk.left("file")) == {b"old", b"new"}
    assert set(disk.left("x/other")) == {None, b"other"}
    assert disk.left("file")[-2:] == [b"new", b"new"]
    assert disk.left("x/other")[-2:] == [b"other", b"other"]


@linux
def test_of_a_replaced_folder_the_old_or_the_new_one_stands_whole_at_any_moment(tmp_path):
    old = make_old(tmp_path / "made")
    with Disk(tmp_path).watching() as disk:
        replace_folder(tmp_path / "made", fill)
    for call, *disks in disk.moments:
        for left in disks:
            standing = [below(left, name) for name in left if "/" not in name and not name.startswith(PENDING)]
            assert old in standing or NEW in standing, call
            assert all(found in (old, NEW) for found in standing), call
    assert disk.left("made")[-2:] == [NEW, NEW]
    assert tree(tmp_path) == {"made": None, **{f"made/{name}": data for name, data in NEW.items()}}


KILLED = """
import os, sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tailwise.disk import replace_folder
calls, rename = iter(range(100)), os.rename
def dying(*names):
    if next(calls) == {at}:
        os.kill(os.getpid(), 9)
    rename(*names)
os.rename = dying
replace_folder(Path(sys.argv[1]), lambda folder: (folder / "new").touch())
"""


@pytest.mark.kill
@pytest.mark.parametrize(("at", "stands", "repaired"), [(0, ["old"], ["old"]), (1, None, ["old"]), (2, ["new"], ["new"])])
def test_a_replacing_killed_at_any_rename_loses_nothing_and_is_put_right(tmp_path, at, stands, repaired):
    made = tmp_path / "made"
    make_old(made)
    killed = subprocess.run([sys.executable, "-c", KILLED.format(at=at), str(made)], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert (os.listdir(made) if made.exists() else None) == stands
    put_back(made)
    assert os.listdir(made) == repaired
    assert not list(tmp_path.glob(f"*{ASIDE}*"))


@pytest.mark.kill
def test_the_next_replacing_goes_on_where_a_killed_one_left_nothing_under_the_name(tmp_path):
    made = tmp_path / "made"
    make_old(made)
    subprocess.run([sys.executable, "-c", KILLED.format(at=1), str(made)], capture_output=True)

    def broken(folder: Path) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        replace_folder(made, broken)
    assert os.listdir(made) == ["old"]
    replace_folder(made, fill)
    assert tree(made) == NEW


def test_a_study_put_aside_by_force_is_never_taken_for_a_killed_replacing(tmp_path):
    make_old(tmp_path / "made.old-1")
    put_back(tmp_path / "made")
    assert os.listdir(tmp_path) == ["made.old-1"]


def test_numpys_way_of_saying_that_a_disk_is_full_is_understood(tmp_path):
    program = (
        "import resource, sys\nimport numpy as np\nfrom pathlib import Path\nfrom tailwise.errors import Stopped\n"
        "from tailwise.disk import whole_folder\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    whole_folder(Path(sys.argv[1]) / 'a', lambda p: np.save(p / 'big', np.zeros(5000)))\n"
        "except Stopped as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert "disk is full" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unwritable, match="cannot be written"):
        whole_folder(tmp_path / "file" / "made", fill)


def test_every_flipped_bit_of_sealed_values_is_found():
    data = sealed({"step": 4, "loss": 0.1, "log": [{"rate": 1e-05}, None], "name": "ä"})
    before = unsealed(data)
    for place in range(8 * (len(data) - 1)):  # the last byte is the end of the line
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        with contextlib.suppress(ValueError):
            assert unsealed(bytes(damaged)) == before, "another value is believed"


def test_a_folder_that_cannot_be_filled_leaves_nothing(tmp_path):
    def broken(place: Path) -> None:
        (place / "half").write_text("x")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        whole_folder(tmp_path / "a", broken)
    assert list(tmp_path.iterdir()) == []


def test_of_two_writers_the_loser_discards_and_nothing_is_left_behind(tmp_path):
    def slow(place: Path) -> None:
        (place / "who").write_text(place.name)
        time.sleep(0.05)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: whole_folder(tmp_path / "a", slow), range(4)))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["who"]


def test_replacing_keeps_the_old_folder_until_the_new_one_is_whole(tmp_path):
    old = make_old(tmp_path / "a")
    with pytest.raises(RuntimeError):
        replace_folder(tmp_path / "a", lambda p: (_ for _ in ()).throw(RuntimeError("no")))
    assert tree(tmp_path / "a") == old
    replace_folder(tmp_path / "a", fill)
    assert tree(tmp_path / "a") == NEW
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
