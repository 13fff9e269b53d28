"""The store is a cache: whole or not there, damage found, the limit kept, results independent of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tailwise.errors import OutputExists, Stopped, Unwritable
from tailwise.store import Store, check_writable, replace_folder, whole_file, whole_folder
from tailwise.training.states import State, load_state, save_state, stored_steps
from toy import toy_recipe


def state(line: str, step: int, size: int = 4) -> State:
    return State(line, step, {"net.w": torch.full((size,), float(step))}, ({"epoch": 0, "step": step, "loss": 1.0},), 1.5)


def test_state_comes_back_as_it_was(tmp_path):
    store = Store(tmp_path)
    save_state(store, state("a", 7), inner=False)
    back = load_state(store, "a", 7)
    assert torch.equal(back.tensors["net.w"], torch.full((4,), 7.0))
    assert back.log == ({"epoch": 0, "step": 7, "loss": 1.0},)
    assert back.seconds == 1.5


@pytest.mark.parametrize("damage", ["flip", "truncate", "no record", "no tensors", "other record"])
def test_damaged_state_is_dropped_and_not_believed(tmp_path, damage):
    store = Store(tmp_path)
    save_state(store, state("a", 7), inner=False)
    folder = next(tmp_path.glob("states/a/*"))
    tensors, record = folder / "tensors.safetensors", folder / "state.json"
    if damage == "flip":
        data = bytearray(tensors.read_bytes())
        data[-1] ^= 1
        tensors.write_bytes(bytes(data))
    elif damage == "truncate":
        tensors.write_bytes(tensors.read_bytes()[:-3])
    elif damage == "other record":
        record.write_text("{}")
    else:
        (record if damage == "no record" else tensors).unlink()
    assert load_state(store, "a", 7) is None
    assert stored_steps(store, "a") == []


def test_training_recomputes_what_was_damaged(run, tmp_path):
    whole, _ = run("ce-drw", store="s")
    for tensors in tmp_path.glob("s/states/*/*/tensors.safetensors"):
        tensors.write_bytes(b"rubbish")
    again, _ = run("ce-drw", store="s")
    assert again.trained == whole.trained
    assert all(torch.equal(t, again.state.tensors[n]) for n, t in whole.state.tensors.items())


def test_deleting_the_store_between_stages_costs_time_only(run, tmp_path):
    whole, _ = run("crt", store="s")
    shutil.rmtree(tmp_path / "s")
    predictor = whole.predictor  # needs the states before it, and trains them again
    again, _ = run("crt", store="other")
    assert all(torch.equal(t, again.predictor.state_dict()[n]) for n, t in predictor.state_dict().items())


def test_limit_drops_inner_states_first_and_the_oldest_next(tmp_path):
    store = Store(tmp_path, limit=10**9)
    for step, inner in ((1, False), (2, True), (3, False)):
        save_state(store, state("a", step, 20_000), inner)
        stamp = time.time() - 100 + step
        os.utime(tmp_path / "states" / "a" / f"{step:09d}", (stamp, stamp))
    size = sum(store.sizes().values())
    store.limit = size - 1
    assert store.trim() > 0
    assert stored_steps(store, "a") == [1, 3]
    store.limit = size // 2
    store.trim()
    assert stored_steps(store, "a") == [3]


def test_folder_appears_whole_or_not_at_all(tmp_path):
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
    whole_folder(tmp_path / "a", lambda p: (p / "old").touch() or None)
    with pytest.raises(RuntimeError):
        replace_folder(tmp_path / "a", lambda p: (_ for _ in ()).throw(RuntimeError("no")))
    assert (tmp_path / "a" / "old").exists()
    replace_folder(tmp_path / "a", lambda p: (p / "new").touch() or None)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_file_is_synced_before_it_takes_its_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda h: order.append("sync") or fsync(h))
    monkeypatch.setattr(os, "replace", lambda a, b: order.append("rename") or replace(a, b))
    whole_file(tmp_path / "f", b"data")
    assert order == ["sync", "rename", "sync"]


def test_folder_is_synced_before_it_takes_its_name(tmp_path, monkeypatch):
    order = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda h: order.append("sync") or fsync(h))
    monkeypatch.setattr(Path, "rename", lambda a, b: order.append("rename") or rename(a, b))
    whole_folder(tmp_path / "a", lambda p: (p / "x").write_text("x") or None)
    assert order == ["sync", "sync", "rename", "sync"]  # the file, its folder, the name, the folder around it


def test_folders_inside_are_synced_after_their_files_and_before_what_lists_them(tmp_path, monkeypatch):
    """A file whose folder was never forced to disk is lost with the list that names it."""
    synced, fsync = [], os.fsync
    names: dict[int, str] = {}

    def watched(handle: int) -> None:
        synced.append(names.get(os.fstat(handle).st_ino, ""))
        fsync(handle)

    def fill(folder: Path) -> None:
        (folder / "outer" / "inner").mkdir(parents=True)
        (folder / "outer" / "inner" / "file").write_text("x")
        names.update({path.stat().st_ino: path.name for path in folder.rglob("*")})

    monkeypatch.setattr(os, "fsync", watched)
    whole_folder(tmp_path / "a", fill)
    assert synced[:3] == ["file", "inner", "outer"]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from pathlib import Path\nfrom tailwise.errors import Stopped\nfrom tailwise.store import whole_folder\n"
        "try:\n    whole_folder(Path(sys.argv[1]) / 'a', lambda p: (p / 'big').write_bytes(b'x' * 5000) and None)\n"
        "except Stopped as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert "disk is full" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_found_before_the_work(tmp_path):
    with pytest.raises(Unwritable, match="cannot be written"):
        check_writable(Path("/proc/nowhere/run"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputExists, match="is a file"):
        check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert issubclass(Stopped, RuntimeError)


def test_recipe_of_two_lengths_shares_nothing(run):
    run("ce", store="s")
    longer, _ = run("ce", store="s", recipe=toy_recipe(epochs=6))
    assert longer.trained == longer.leg.stop
