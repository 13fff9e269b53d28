"""Threads: measured once where that is asked for, kept in the store, in the key and in the record; never more than there are cores."""

from __future__ import annotations

import pytest

import tailwise as tw
from tailwise.errors import BadValue, Clash
from tailwise.pixels import cores
from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study import pace, setup
from tailwise.study.setup import make_setup
from tailwise.study.words import DataWords, TrainingWords

DATA = DataWords(split="50/10/40", tail="exponential:50")


def made(store: Store, **words):
    return make_setup("digits", parse_rows("ce,ldam"), DATA, TrainingWords("demo", **words), store)


@pytest.mark.parametrize(
    ("seconds", "best"), [({1: 1.0, 2: 0.6, 4: 0.5}, 4), ({1: 1.0, 2: 0.95, 4: 0.92}, 1), ({1: 1.0, 2: 0.6, 4: 0.58}, 2)]
)
def test_the_fastest_number_is_taken_and_kept(seconds, best, tmp_path, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(pace, "cores", lambda: 4)
    monkeypatch.setattr(pace, "seconds_a_step", lambda root, leg, device: asked.append(leg.recipe.threads) or seconds[leg.recipe.threads])
    store = Store(tmp_path / "store")
    found = made(store, threads="auto")
    assert found.recipe.threads == found.recipe.second.threads == best
    assert found.root(0).numerics["threads"] == str(best)
    assert made(store, threads="auto").root(0).key == found.root(0).key
    assert asked == [1, 2, 4], "measured once"


def test_it_is_really_measured_and_leaves_nothing_but_a_number(tmp_path):
    store = Store(tmp_path / "store")
    found = made(store, threads="auto")
    assert 1 <= found.recipe.threads <= cores.cores()
    assert [place.parent.name for place in (tmp_path / "store").rglob("*.json")].count("threads") == 1
    assert not list((tmp_path / "store").glob("states/*"))


def test_no_more_threads_than_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(setup, "cores", lambda: 1)
    store = Store(tmp_path / "store")
    assert made(store, settings=("recipe.threads=4",)).recipe.threads == 1
    with pytest.raises(BadValue, match=r"--threads 2 are more than the 1 cores .*; give at most 1, or auto"):
        made(store, threads=2)


@pytest.mark.parametrize(("said", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("", 64)])
def test_a_container_s_quota_is_a_bound(said, expected, tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text(said)
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    assert cores.cores() == expected


def test_speeds_are_in_the_key_and_in_the_record(tmp_path):
    store = Store(tmp_path / "store")
    keys = {speed: made(store, speed=speed).root(0).key for speed in ("fast", "plain")}
    assert len(set(keys.values())) == 2
    run = tw.train("digits", "ce", recipe="demo", settings=["recipe.epochs=1"], speed="plain", out=tmp_path / "run", store=store)
    assert run.record["numerics"]["speed"] == "plain"


def test_frozen_features_are_not_compiled(tmp_path):
    with pytest.raises(Clash, match="heads on features take seconds"):
        make_setup("digits", parse_rows("ce"), DATA, TrainingWords("head", speed="compiled"), Store(tmp_path / "store"))
