"""States on disk: they come back bit for bit, damage is found wherever it is, and a power cut leaves none or a whole one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from tailwise.errors import Stopped
from tailwise.store import Store
from tailwise.training.states import State, drop_inner, load_state, nearest_state, save_state, stored_steps
from vocabulary.recording import Disk, tree


def state(step: int = 7, size: int = 4) -> State:
    log = ({"epoch": 0, "step": step, "loss": 0.1, "rate": 1e-05}, {"epoch": 1, "step": step, "loss": float("nan")})
    return State("a", step, {"net.w": torch.full((size,), 0.1), "net.n": torch.tensor(3)}, log[:1], 1.5, {"objective.w": "CE"})


def folder_of(store: Store, step: int = 7) -> Path:
    return store.path("states", "a", f"{step:09d}")


def test_a_state_comes_back_as_it_was(store):
    save_state(store, state(), inner=False)
    back = load_state(store, "a", 7)
    assert back is not None
    assert (back.line, back.step, back.log, back.seconds, back.owners) == ("a", 7, state().log, 1.5, {"objective.w": "CE"})
    assert {name: tensor.dtype for name, tensor in back.tensors.items()} == {"net.w": torch.float32, "net.n": torch.int64}
    assert torch.equal(back.tensors["net.w"], state().tensors["net.w"])


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damage_anywhere_in_a_state_is_found_and_said(store, name, damage, caplog):
    save_state(store, state(), inner=False)
    folder = folder_of(store)
    saved = folder.rename(store.root / "saved")
    whole = (saved / name).read_bytes()
    for place in range(0, len(whole) - 1, 3):  # the last byte of JSON is white space
        shutil.copytree(saved, folder)
        (folder / name).write_bytes(whole[:place] + (bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]) * (damage == "flip"))
        caplog.clear()
        assert load_state(store, "a", 7) is None
        assert "damaged in the store, and computed again: a state" in caplog.text
        assert stored_steps(store, "a") == []


def test_a_digit_of_the_log_is_covered_by_the_hash(store):
    save_state(store, state(), inner=False)
    file = folder_of(store) / "state.json"
    file.write_bytes(file.read_bytes().replace(b'"loss": 0.1', b'"loss": 0.2'))
    assert load_state(store, "a", 7) is None


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_a_state_without_one_of_its_files_is_dropped_and_said(store, name, caplog):
    save_state(store, state(), inner=False)
    (folder_of(store) / name).unlink()
    assert load_state(store, "a", 7) is None
    assert "damaged" in caplog.text
    assert not folder_of(store).exists()


def test_a_state_under_another_ones_name_is_not_believed(store):
    save_state(store, state(7), inner=False)
    folder_of(store, 7).rename(folder_of(store, 8))
    assert load_state(store, "a", 8) is None


def test_what_is_not_there_is_no_damage(store, caplog):
    assert load_state(store, "a", 7) is None
    assert nearest_state(store, "a", 9) is None
    assert stored_steps(store, "a") == []
    assert not caplog.records


def test_the_nearest_whole_state_is_taken(store):
    for step in (3, 5, 7):
        save_state(store, state(step), inner=step == 5)
    (folder_of(store, 7) / "tensors.safetensors").write_bytes(b"")
    found = nearest_state(store, "a", 9)
    assert found is not None
    assert found.step == 5
    assert stored_steps(store, "a") == [3, 5]
    drop_inner(store, "a", below=9)
    assert stored_steps(store, "a") == [3]


def test_a_used_state_is_young_again(store):
    save_state(store, state(), inner=False)
    os.utime(folder_of(store), (1, 1))
    load_state(store, "a", 7)
    (thing,) = store.things()
    assert thing.used > 1e9


def test_an_inner_state_that_is_wanted_lastingly_is_no_longer_inner(store):
    save_state(store, state(), inner=True)
    assert [thing.is_inner for thing in store.things()] == [True]
    save_state(store, state(), inner=False)
    assert [thing.is_inner for thing in store.things()] == [False]


@pytest.mark.skipif(sys.platform != "linux", reason="the recording layer asks /proc which file is synced")
def test_after_a_power_cut_a_state_is_whole_or_not_there(tmp_path):
    store = Store(tmp_path / "store")
    with Disk(tmp_path).watching() as disk:
        save_state(store, state(), inner=True)
    whole = tree(folder_of(store))
    assert set(whole) == {"tensors.safetensors", "state.json", "inner"}
    left = disk.left(f"store/states/a/{7:09d}")
    assert all(found in (None, whole) for found in left)
    assert left[-2:] == [whole, whole]


def test_a_full_disk_stops_and_leaves_the_states_before(store, monkeypatch):
    save_state(store, state(3), inner=False)
    before = tree(store.root)
    real = os.fsync

    def full(handle: int) -> None:
        real(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Stopped, match="disk is full"):
        save_state(store, state(7), inner=False)
    assert tree(store.root) == before
