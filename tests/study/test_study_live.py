"""What is under way keeps what it needs, and only that; what was announced is text and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from photos import paint
from tailwise.errors import OutputExists, Stopped
from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study.cleaning import clean, needless, things
from tailwise.study.live import KEPT, Needs, announce, announced, announcements, dear, needs_of, withdraw
from tailwise.study.setup import make_setup
from tailwise.study.words import DataWords, TrainingWords

MINE, OTHER, THIRD = "a" * 32, "b" * 32, "c" * 32
DAY = 24 * 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(store: Store, kind: str, key: str, days: float = 0.0) -> Path:
    """Put a thing into the store that was written some days ago."""
    place = store.path(kind, key, "000000001" if kind == "states" else "")
    place.mkdir(parents=True)
    (place / "data").write_bytes(b"x" * 1000)
    (place / ("state.json" if kind == "states" else "seal.json")).touch()
    for folder in {place, store.path(kind, key)}:
        age(folder, days)
    return place


def age(place: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(place, (then, then))


def file_of(store: Store) -> Path:
    (file,) = store.path("live").iterdir()
    return file


def study(folder: Path, key: str, finished: bool) -> None:
    (folder / "runs" / "ce-seed0").mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps({"key": key, "rows": {"ce": ["ce-seed0"]}}))
    if finished:
        (folder / "runs" / "ce-seed0" / "run.json").touch()
        (folder / "report.json").touch()


def test_what_is_announced_is_dear_until_it_is_withdrawn(store, tmp_path):
    announce(store, tmp_path / "run", "train", "k", Needs(frozenset({MINE})))
    (found,), damaged = announcements(store)
    assert (found.folder, found.kind, found.is_live, damaged) == (tmp_path / "run", "train", True, [])
    assert dear(store) == {MINE}
    withdraw(store, tmp_path / "run", "k")
    assert announcements(store) == ([], [])
    assert dear(store) == frozenset()


def test_an_end_withdraws_and_an_interruption_does_not(store, tmp_path):
    words = (store, tmp_path / "run", "train", "k", Needs(frozenset({MINE})))
    for error in (KeyboardInterrupt, Stopped("the disk is full"), RuntimeError("fault")):
        with pytest.raises(type(error) if isinstance(error, Exception) else error), announced(*words):
            raise error
        assert dear(store) == {MINE}
    with announced(*words):
        assert dear(store) == {MINE}
    assert announcements(store) == ([], [])


def test_what_turns_out_to_be_somebody_elses_is_not_announced(store, tmp_path):
    announce(store, tmp_path / "study", "compare", "theirs", Needs(frozenset({MINE})))
    with pytest.raises(OutputExists), announced(store, tmp_path / "study", "compare", "ours", Needs(frozenset({OTHER}))):
        raise OutputExists("holds another study")
    assert dear(store) == {MINE}


def test_a_relative_folder_is_found_from_anywhere(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    announce(store, Path("run"), "train", "k", Needs(frozenset({MINE})))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert announcements(store)[0][0].folder == tmp_path / "run"
    withdraw(store, tmp_path / "run", "k")
    assert announcements(store) == ([], [])


@pytest.mark.parametrize(("days", "is_live"), [(29, True), (31, False)])
def test_a_run_is_held_for_thirty_days_after_anything_of_it_was_written(store, tmp_path, days, is_live):
    put(store, "states", MINE, days)
    announce(store, tmp_path / "run", "train", "k", Needs(frozenset({MINE})))
    age(file_of(store), 100)
    assert announcements(store)[0][0].is_live is is_live
    age(store.path("states", MINE), 1)
    assert dear(store) == {MINE}


def test_a_run_that_stands_needs_nothing_and_another_one_in_its_place_does_not_count(store, tmp_path):
    announce(store, tmp_path / "run", "train", "k", Needs(frozenset({MINE})))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"key": "another"}')  # to be replaced by force
    assert dear(store) == {MINE}
    (tmp_path / "run" / "run.json").write_text('{"key": "k"}')
    assert dear(store) == frozenset()


def test_a_comparison_is_live_while_its_folder_stands_unfinished_however_old(store, tmp_path):
    folder = tmp_path / "study"
    begun = announced(store, folder, "compare", "k", Needs(frozenset({MINE})))
    claimed = begun.__enter__()  # and never left: it is killed
    assert dear(store) == {MINE}  # its features are computed before its folder stands
    study(folder, "k", finished=False)
    claimed()
    age(file_of(store), 400)
    assert dear(store) == {MINE}
    folder.rename(tmp_path / "away")
    assert dear(store) == frozenset()
    (tmp_path / "away").rename(folder)
    (folder / "report.json").touch()
    assert dear(store) == {MINE}  # a run is missing
    (folder / "runs" / "ce-seed0" / "run.json").touch()
    assert dear(store) == frozenset()


def test_a_comparison_whose_folder_is_another_one_by_now_is_over(store, tmp_path):
    folder = tmp_path / "study"
    study(folder, "k", finished=False)
    announce(store, folder, "compare", "k", Needs(frozenset({MINE})))
    (folder / "study.json").write_text('{"key": "another", "rows": {}}')
    assert dear(store) == frozenset()


def test_lines_that_results_decide_on_are_kept_from_the_beginning_on(store, tmp_path):
    put(store, "states", MINE, days=3)
    announce(store, tmp_path / "run", "train", "k", Needs(frozenset({OTHER}), undecided=True))
    put(store, "states", THIRD)
    assert dear(store) == {OTHER, THIRD}


@pytest.mark.kill
def test_a_line_in_training_is_dear_and_a_killed_process_holds_nothing(store):
    """Who trains without an announcement, in a store where none could be written, holds a lock."""
    put(store, "states", MINE)
    put(store, "states", OTHER)
    put(store, "pixels", THIRD)
    program = (
        f"from tailwise.store import Store\nfrom pathlib import Path\nimport time\n"
        f"store = Store(Path({str(store.root)!r}))\n"
        f"with store.lock('line', {MINE!r}), store.lock('pixels', {THIRD!r}):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert dear(store) == {MINE}
        assert [thing.key for thing in needless(store)] == [OTHER, THIRD]
        clean(store, things(store))  # whatever one asks for: what another process holds stays
        assert [thing.key for thing in things(store)] == [MINE, THIRD]
        process.kill()
    assert dear(store) == frozenset()


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "tailwise.live/2"},
        {"kind": "rm -rf"},
        {"folder": "relative/run"},
        {"folder": 3},
        {"folder": "/run\0/x"},
        {"begun": "yesterday"},
        {"begun": "2026-01-01T00:00:00"},
        {"needs": "all"},
        {"needs": ["../../photos"]},
        {"needs": [".."]},
        {"needs": ["/etc"]},
        {"needs": [""]},
        {"command": "tailwise train"},
    ],
)
def test_a_damaged_announcement_is_listed_and_ignored(store, tmp_path, changes):
    announce(store, tmp_path / "run", "train", "k", Needs(frozenset({MINE})))
    file = file_of(store)
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    assert announcements(store) == ([], [file])
    assert dear(store) == frozenset()


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b'{"schema": "tailwise.live/1"}'])
def test_whatever_lies_there_is_no_fault(store, tmp_path, data):
    announce(store, tmp_path / "run", "train", "k", Needs(frozenset({MINE})))
    file_of(store).write_bytes(data)
    assert dear(store) == frozenset()
    announce(store, tmp_path / "run", "train", "k", Needs(frozenset({MINE})))  # and it is written anew
    assert dear(store) == {MINE}


def test_what_is_announced_again_keeps_its_beginning(store, tmp_path):
    words = (store, tmp_path / "run", "train", "k", Needs(frozenset({MINE})))
    announce(*words)
    before = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    file_of(store).write_text(json.dumps({**json.loads(file_of(store).read_text()), "begun": before.isoformat()}))
    announce(*words)
    assert announcements(store)[0][0].begun == before


def test_a_store_that_cannot_be_written_stops_nobody(tmp_path):
    (tmp_path / "file").touch()
    for root in (Path("/proc/nowhere"), tmp_path / "file"):
        with announced(Store(root), tmp_path / "run", "train", "k", Needs(frozenset({MINE}))) as claimed:
            claimed()
        assert dear(Store(root)) == frozenset()


@pytest.mark.parametrize("rows", ["crt,ldam-drw", "ce"])
def test_all_that_a_run_leaves_in_the_store_is_among_what_it_needs(store, tmp_path, monkeypatch, rows):
    """Whatever is missing here would be cleaned away under a running comparison."""
    from tailwise.study.compare import compare
    from tailwise.training import RunSettings

    monkeypatch.setenv("TAILWISE_STORE", str(store.root))
    is_digits = "," in rows
    settings = ("recipe.epochs=1", "recipe.second.epochs=1") if is_digits else ("recipe.epochs=1", "recipe.image_size=8")
    source = "digits" if is_digits else paint(tmp_path / "photos")
    training = TrainingWords("demo", None if is_digits else "resnet8", settings)
    setup = make_setup(source, parse_rows(rows), DataWords(split="50/10/40"), training, store)
    needs = needs_of(setup, setup.rows, [0, 1])
    compare(setup, [0, 1], tmp_path / "study", RunSettings(store))
    left = {thing.key for thing in things(store) if thing.kind in KEPT}
    assert left
    assert left <= needs.keys
    assert announcements(store) == ([], [])


def test_frozen_features_are_among_what_is_needed(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TAILWISE_STORE", str(store.root))
    words = DataWords(split="50/10/40"), TrainingWords("head")
    setup = make_setup(paint(tmp_path / "photos", {"ant": 6, "bee": 4}), parse_rows("ce"), *words, store=store)
    needs = needs_of(setup, setup.rows, [0])
    setup.ready()
    assert {thing.key for thing in things(store) if thing.kind == "features"} <= needs.keys
    assert any(thing.kind == "features" for thing in things(store))
