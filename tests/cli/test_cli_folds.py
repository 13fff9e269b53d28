"""`compare --folds K` as a user types it: planned, told, stopped and taken up, and refused in one line."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tailwise.cli import run

WORDS = ["compare", "f.npz", "--methods", "ce,tau-norm", "--seeds", "2", "--folds", "3", "--set", "recipe.epochs=2"]


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "160")
    labels = np.repeat([0, 1, 2, 3], [20, 9, 4, 1])
    features = np.random.default_rng(0).normal(0, 0.5, (34, 4)) + np.eye(4)[labels]
    np.savez("f.npz", features=features.astype(np.float32), labels=labels)
    return tmp_path


def said(capsys, *words: str) -> str:
    assert run(list(words)) == 0, capsys.readouterr().err
    return " ".join(capsys.readouterr().out.split())


def test_a_comparison_over_folds_is_planned_told_and_not_run_twice(capsys):
    planned = said(capsys, *WORDS, "--dry-run")
    assert "2 methods x 2 seeds x 3 folds on features, recipe head; each seed in each fold, here fold 1 of 3:" in planned
    assert "3 folds, seed 0: in each one part of 3 is test, the next val, and the rest train" in planned
    assert "1 class has one image, which is always trained on and never measured" in planned
    steps = int(planned.split(" steps instead of")[0].split()[-1].replace(",", ""))
    text = said(capsys, *WORDS, "--out", "s")
    assert "n = 33 images" in text
    assert "Pooled over 3 folds: each image is measured by a network that did not see it." in text
    assert "the spread over seeds understates what new data would change (Bengio & Grandvalet, JMLR 2004)" in text
    assert "1 of 4 classes have no image in this split and are in no mean" in text
    assert "Recommended: " in text
    assert f"{steps:,} steps instead of" in text.split("sharing: ")[1]
    assert "tailwise predict" not in text
    command = text.rpartition("next: ")[2]
    assert "--all-data" in command
    assert "--folds" not in command
    again = said(capsys, *WORDS, "--out", "s")
    assert again.startswith("already done: s")
    assert "Pooled over 3 folds" in again
    found = json.loads(said(capsys, *WORDS, "--out", "s", "--json"))
    assert found["summary"]["images"] == 33
    assert [row["seeds"] for row in found["summary"]["rows"]] == [2, 2]
    assert json.loads(said(capsys, "report", "s", "--json"))["images"] == 33


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--folds", "2"], "folds are a whole number from 3 to 20, got 2; write for example --folds 5"),
        (["--folds", "21"], "folds are a whole number from 3 to 20, got 21"),
        (["--folds", "many"], "Invalid value for --folds"),
        (["--folds", "5", "--split", "80/10/10"], "--folds 5 measures every image, and --split 80/10/10 sets some aside; leave one out"),
        (["--folds", "5", "--tail", "exponential:4"], "--tail exponential:4 thins what trains, and --folds 5 is for sets"),
    ],
)
def test_words_that_make_no_folds_are_refused_in_one_line(own_place, capsys, words, expected):
    assert run(["compare", "f.npz", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert error.startswith("tailwise: ")
    assert expected in error
    assert {path.name for path in own_place.iterdir()} <= {"f.npz", "store"}


def test_too_few_images_for_so_many_folds_are_refused_in_one_line(capsys):
    np.savez("few.npz", features=np.zeros((8, 2), np.float32), labels=np.repeat([0, 1], 4))
    assert run(["compare", "few.npz", "--folds", "9"]) == 2
    assert "has 8 images in classes of three or more, too few for 9 folds" in capsys.readouterr().err


def test_ctrl_c_in_a_fold_names_the_command_that_goes_on_in_it(own_place, capsys, monkeypatch):
    from tailwise.study import compare as room

    train, begun = room.train_job, []

    def stopped(setup, job, *words, **options):
        begun.append(str(job))
        if len(begun) == 4:
            raise KeyboardInterrupt
        train(setup, job, *words, **options)

    words = [*WORDS, "--out", "s"]
    monkeypatch.setattr("sys.argv", ["tailwise", *words])
    monkeypatch.setattr(room, "train_job", stopped)
    assert run(words) == 130
    assert shlex.split(capsys.readouterr().err.partition("go on with: ")[2]) == ["tailwise", *words]
    assert begun == [f"{row}, seed 0, fold {j} of 3" for j in (1, 2) for row in ("ce", "tau-norm")]
    said(capsys, *words)
    assert begun[4:6] == ["tau-norm, seed 0, fold 2 of 3", "ce, seed 0, fold 3 of 3"]
    assert len(begun) == 4 + 12 - 3


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_a_comparison_that_is_stopped_goes_on_where_it_was(own_place, capsys, kind):
    words = [*WORDS[:-1], "recipe.epochs=60", "--out", "s"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "tailwise", *words], stderr=subprocess.PIPE, text=True, env=environment)
    until = time.monotonic() + 60
    while process.poll() is None and not list(own_place.glob("s/runs/ce-seed0-fold2/run.json")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(kind)
    _, error = process.communicate(timeout=60)
    if kind == signal.SIGINT:
        assert process.returncode == 130
        assert shlex.split(error.partition("go on with: ")[2]) == ["tailwise", *words]
    before = {path: path.stat().st_mtime_ns for path in own_place.glob("s/runs/*/run.json")}
    assert 2 <= len(before) < 12
    text = said(capsys, *words)
    assert "Pooled over 3 folds" in text
    assert len(list(own_place.glob("s/runs/*/run.json"))) == 12
    assert {path: path.stat().st_mtime_ns for path in before} == before
