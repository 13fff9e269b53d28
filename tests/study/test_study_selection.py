"""Who chooses: val alone, by a metric that is named, and the record says so; test is looked at when all is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tailwise as tw
from tailwise.cli import run as typed
from tailwise.cli.train import print_run
from tailwise.data import from_arrays
from tailwise.store import Store

COUNTS = (40, 12, 5)
ROWS = ("ce", "la(tau=val)", "tau-norm", "ce+best", "ce+best(metric=accuracy)")
SETTINGS = ["recipe.epochs=6", "recipe.optimiser.rate=0.02"]


def data(wrong_test: bool = False, val: tuple[int, ...] = (20, 6, 0)) -> tw.Manifest:
    """Vectors in two directions that overlap, a class without val rows; `wrong_test` gives every test row another label."""
    splits = {"train": COUNTS, "val": val, "test": (9, 9, 9)}
    labels = np.concatenate([np.repeat(np.arange(3), counts) for counts in splits.values()])
    names = np.repeat(list(splits), [sum(counts) for counts in splits.values()])
    vectors = np.eye(3, 4)[labels] + np.random.default_rng(3).normal(0, 0.7, (len(labels), 4))
    moved = np.where((names == "test") & wrong_test, (labels + 1) % 3, labels)
    return from_arrays(moved, features=vectors.astype(np.float32), split=names.tolist(), name="vectors")


def study(place: Path, **words: bool):
    store = Store(place / "store")
    return tw.compare(data(**words), ",".join(ROWS), seeds=2, recipe="head", settings=SETTINGS, out=place / "study", store=store)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return study(tmp_path_factory.mktemp("right"))


def decided(study) -> list[object]:
    """All that is chosen: the row, the fitted knobs, the epochs."""
    chosen = study.recommendation()
    runs = [run.record for runs in study.runs.values() for run in runs]
    kept = [(r["method"], r["seed"], r["correction"], r["chosen"], r["selected"], r["prior_left"]) for r in runs]
    return [chosen.row, chosen.val, chosen.next_row, chosen.next_val, chosen.settled, *kept]


def test_no_test_label_reaches_a_choice(made, tmp_path):
    other = study(tmp_path, wrong_test=True)
    assert decided(made) == decided(other)
    assert made.recommendation().test != other.recommendation().test


def test_the_record_says_which_epoch_was_chosen_by_what(made):
    for text, metric in (("ce+best", "macro_accuracy"), ("ce+best(metric=accuracy)", "accuracy")):
        for run in made.runs[text]:
            selected, said = run.record["selected"], run.record["chosen"]
            val = run.predictions.split("val")
            right = val.logits.argmax(1) == val.labels
            expected = right.mean() if metric == "accuracy" else np.mean([right[val.labels == label].mean() for label in (0, 1)])
            epoch = selected["epoch"]
            assert selected == {"metric": metric, "split": "val", "images": 26, "epoch": epoch, "score": pytest.approx(expected)}
            assert run.record["left"]["step"] == epoch * run.record["steps"] // 6
            by = f"by {metric.replace('_', ' ')} ({selected['score']:.2%})"
            assert said == f"epoch {epoch} of 6, chosen on val (n = 26, 1 of 3 classes absent) {by}"
    for run in made.runs["ce"]:
        assert (run.record["chosen"], run.record["selected"]) == ("", None)


def test_what_was_chosen_on_val_is_said_of_the_row_with_its_n(made):
    notes = {row.name: row.note for row in made.summary().rows}
    assert notes["ce"] == ""
    for text in ROWS[1:]:
        assert "chosen on val (n = 26, 1 of 3 classes absent) by" in notes[text]
        assert f"- {text}: {notes[text]}" in (made.folder / "report.md").read_text()


def test_a_best_epoch_scores_no_less_on_val_than_the_last(made):
    for best, last in zip(made.runs["ce+best"], made.runs["ce"], strict=True):
        assert best.evaluate("val").macro_accuracy >= last.evaluate("val").macro_accuracy


def test_the_record_keeps_what_prior_is_left_and_what_is_noted(made):
    for run in (run for runs in made.runs.values() for run in runs):
        record, shares = run.record, np.array(COUNTS) / sum(COUNTS)
        if record["method"] == "tau-norm":
            assert (record["prior_left"] is None) == (record["correction"]["tau"] != 0)
            continue
        left = shares / shares ** (record["correction"] or {"tau": 0.0})["tau"]  # the tau that val chose
        assert record["prior_left"] == pytest.approx(left / left.sum())
        assert record["notes"] == record["warnings"] == []


def test_train_says_what_was_chosen_where_it_says_the_figures(made, capsys):
    for text in ("la(tau=val)", "ce+best"):
        print_run(made.runs[text][0], done=True)
        assert "chosen on val (n = 26, 1 of 3 classes absent) by" in " ".join(capsys.readouterr().out.split())


def test_data_without_val_are_refused_in_one_line_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    data(val=(0, 0, 0)).save(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    for words in (["train", "set", "--method", "ce", "--with", "best"], ["compare", "set", "--methods", "ce,ce+best"]):
        assert typed([*words, "--out", "r"]) == 2
        error = capsys.readouterr().err.strip()
        assert error == "tailwise: the data have no split 'val' to choose on; set some of train aside with --split 80/10/10"
        assert not (tmp_path / "r").exists()
        assert not (tmp_path / "store" / "states").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ce+best(split=test)"], "split 'test' cannot choose a state"),
        (["ce+best", "--all-data"], "the data have no split 'val' to choose on"),
    ],
)
def test_a_choice_that_cannot_be_is_one_line_and_leaves_nothing(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    method, *more = words
    assert typed(["train", "digits", "--method", method, "--recipe", "demo", "--out", "r", *more]) == 2
    error = capsys.readouterr().err.strip()
    assert line in error
    assert "set some of train aside with --split 80/10/10" in error.lower()
    assert "\n" not in error
    assert not (tmp_path / "r").exists()


def test_a_plan_warns_and_notes_and_its_record_keeps_both(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    rows = "la(base=balanced-softmax),la(base=crt)"
    words = ["compare", "digits", "--methods", rows, "--recipe", "demo", "--tail", "exponential:20", "--dry-run"]
    assert typed(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: la(base=balanced-softmax) corrects the class prior 2 times (BalancedSoftmaxLoss, LogitAdjustment)" in said
    assert "note: la(base=crt) shows all classes alike, so LogitAdjustment has nothing to adjust" in said
    assert typed([*words, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (len(plan["warnings"]), len(plan["notes"])) == (1, 1)
