"""Comparisons: counted, continued, killed, and equal to their parts."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest

import tailwise as tw
from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study.compare import Study, plan_study
from tailwise.study.setup import make_setup
from tailwise.study.tree import saving
from tailwise.study.words import DataWords, TrainingWords

SETTINGS = ("recipe.epochs=5", "recipe.second.epochs=1")
WORDS = DataWords(split="50/10/40", tail="exponential:20")
METHODS = "ce,la,tau-norm,ce-drw,ldam,ldam-drw,crt,balanced-softmax"


def setup(store: Path, methods: str = METHODS):
    return make_setup("digits", parse_rows(methods), WORDS, TrainingWords("demo", settings=SETTINGS), Store(store))


def test_tree_counts_equal_parts_once(tmp_path):
    made = setup(tmp_path)
    plans, tree = plan_study(made, range(3))
    epoch = plans["ce"].legs[0].steps
    assert tree.alone == 3 * (8 * 5 * epoch + epoch)
    # ce's line, the last fifth of ce-drw, ldam, the last fifth of ldam-drw, one epoch of crt, balanced softmax
    assert tree.shared == 3 * (5 + 1 + 5 + 1 + 1 + 5) * epoch
    assert tree.stored == 0


def test_saving_counts_a_stretch_once_however_runs_end_on_it():
    def record(*legs: tuple[str, int, int]) -> dict:
        return {"legs": [{"line": line, "start": a, "stop": b, "seconds": float(b - a)} for line, a, b in legs]}

    saved = saving([record(("a", 0, 10)), record(("a", 0, 8), ("b", 0, 2)), record(("a", 0, 10)), record(("a", 4, 10))])
    assert (saved.steps_alone, saved.steps_shared) == (36, 12)
    assert saved.seconds_shared == 12.0
    assert saved.seconds_alone == 36.0


def test_saving_is_the_same_to_the_last_bit_whatever_lines_are_called():
    """A finished study is known by its report, byte for byte: seconds summed in the order of a set would differ by chance."""
    seconds = np.random.default_rng(0).uniform(0.1, 9, 40)
    named = [[f"{seed}-{i}" for i in range(40)] for seed in range(9)]
    made = [
        [{"legs": [{"line": name, "start": 0, "stop": 3, "seconds": s}]} for name, s in zip(names, seconds, strict=True)] for names in named
    ]
    assert len({saving(records).seconds_shared for records in made}) == 1


def test_comparison_trains_exactly_what_its_plan_says_and_rows_equal_runs_alone(tmp_path):
    made = setup(tmp_path / "store", "ce,ce-drw,la")
    data = tw.read("digits", split="50/10/40", tail="exponential:20")
    _, tree = plan_study(made, range(2))
    study = tw.compare(data, "ce,ce-drw,la", seeds=2, settings=SETTINGS, recipe="demo", out=tmp_path / "s", store=Store(tmp_path / "store"))
    assert sum(run.record["steps_trained"] for runs in study.runs.values() for run in runs) == tree.shared
    assert study.saving().steps_shared == tree.shared
    alone = tw.train(data, "ce-drw", settings=SETTINGS, recipe="demo", seed=1, out=tmp_path / "alone", store=Store(tmp_path / "empty"))
    shared = study.runs["ce-drw"][1]
    assert alone.record["steps_trained"] > shared.record["steps_trained"]
    for split in ("val", "test"):
        assert np.array_equal(alone.predictions.split(split).logits, shared.predictions.split(split).logits)
    assert (alone.folder / "weights.safetensors").read_bytes() == (shared.folder / "weights.safetensors").read_bytes()


def test_interrupted_comparison_is_taken_up_where_it_was(tmp_path):
    from tailwise.study.compare import compare
    from tailwise.training import RunSettings

    made = setup(tmp_path / "store", "ce,ldam")
    steps = 0

    def interrupted() -> bool:
        nonlocal steps
        steps += 1
        return steps == 60

    with pytest.raises(KeyboardInterrupt):
        compare(made, [0], tmp_path / "s", RunSettings(made.store, interrupted=interrupted))
    assert not Study.load(tmp_path / "s").is_finished
    study = compare(made, [0], tmp_path / "s", RunSettings(made.store))
    assert study.is_finished
    total = sum(run.record["steps"] for runs in study.runs.values() for run in runs)
    assert sum(run.record["steps_trained"] for runs in study.runs.values() for run in runs) < total


def test_a_network_predicts_once_for_all_rows_of_a_seed_and_is_then_forgotten(tmp_path, monkeypatch):
    from tailwise.study import compare as room
    from tailwise.training import Outcome, RunSettings

    made = setup(tmp_path / "store", "ce,la,tau-norm")
    alive: list[weakref.ref] = []
    predict, train_job = Outcome.predictions, room.train_job

    def predictions(outcome):
        alive.append(weakref.ref(found := predict(outcome)))
        return found

    def watched(setup, job, *words, **options):
        gc.collect()
        assert [ref() is None for ref in alive] == [True] * job.seed + [False] * (len(alive) - job.seed)
        train_job(setup, job, *words, **options)

    monkeypatch.setattr(Outcome, "predictions", predictions)
    monkeypatch.setattr(room, "train_job", watched)
    room.compare(made, range(3), tmp_path / "s", RunSettings(made.store))
    assert len(alive) == 3


def test_report_of_a_study_of_single_runs_agree(tmp_path):
    data = tw.read("digits", split="50/10/40", tail="exponential:20")
    store = Store(tmp_path / "store")
    study = tw.compare(data, "ce,la", seeds=2, settings=SETTINGS, recipe="demo", out=tmp_path / "s", store=store)
    folders = [run.folder for runs in study.runs.values() for run in runs]
    assert tw.report(*folders).to_dict() == tw.report(study.folder).to_dict() == study.summary().to_dict()
    assert json.loads((study.folder / "report.json").read_text())["summary"] == study.summary().to_dict()
    assert "Study of 2 methods, 4 runs" in repr(study)


def test_same_command_in_another_order_of_rows_gives_the_same_figures(tmp_path):
    data = tw.read("digits", split="50/10/40", tail="exponential:20")
    one = tw.compare(data, "ce,crt", seeds=1, settings=SETTINGS, recipe="demo", out=tmp_path / "a", store=Store(tmp_path / "x"))
    two = tw.compare(data, "crt,ce", seeds=1, settings=SETTINGS, recipe="demo", out=tmp_path / "b", store=Store(tmp_path / "y"))
    for text in ("ce", "crt"):
        assert np.array_equal(one.runs[text][0].predictions.split("test").logits, two.runs[text][0].predictions.split("test").logits)
