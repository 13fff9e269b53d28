"""Tracking: what TensorBoard reads again is what log.jsonl and the figures say; a client that fails costs nothing."""

from __future__ import annotations

import json
import logging

import pytest

import tailwise as tw
from tailwise.cli import run as command
from tailwise.errors import BadValue
from tailwise.ship import tracking
from tailwise.store import Store

TRAIN = ["train", "digits", "--split", "50/10/40", "--tail", "exponential:50", "--method", "crt", "--recipe", "demo"]
QUICK = ["--set", "recipe.epochs=2", "--set", "recipe.second.epochs=1"]


def scalars(place):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(place))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_the_log_and_the_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    out = tmp_path / "runs/first"
    assert command([*TRAIN, *QUICK, "--out", str(out), "--track", "tensorboard"]) == 0
    found = scalars(out / "tensorboard")
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in log]
    assert steps == sorted(set(steps)), "two stages, one clock"
    assert [step for step, _ in found["train/loss"]] == steps
    assert [value for _, value in found["train/loss"]] == pytest.approx([line["loss"] for line in log])
    figures = tw.report(out).rows[0].cells
    assert found["test/macro_accuracy"] == [(steps[-1], pytest.approx(figures["macro"].mean))]
    assert found["test/few_accuracy"][0][1] == pytest.approx(figures["few"].mean)
    assert command([*TRAIN, *QUICK, "--out", str(out), "--track", "tensorboard"]) == 0
    assert scalars(out / "tensorboard") == found
    assert command([*TRAIN, *QUICK, "--seed", "1", "--out", str(out), "--force"]) == 0  # what is ours there is no file of somebody else's
    assert not (out / "tensorboard").exists()


def test_a_study_has_a_folder_a_run(digits, caplog):
    runs = [runs[0] for runs in digits.runs.values()]
    tracking.track(runs, "tensorboard")
    assert all(any((run.folder / "tensorboard").iterdir()) for run in runs)
    assert not caplog.records


def test_a_library_that_is_not_there_is_said_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadValue, match="pip install wandb"):
        tw.train("digits", "ce", recipe="demo", out=tmp_path / "r", track="wandb", store=Store(tmp_path / "store"))
    assert not (tmp_path / "r").exists()
    with pytest.raises(BadValue, match="takes tensorboard, trackio, wandb"):
        tracking.check_tracker("mlflow")


def test_a_client_that_fails_touches_no_run(digits, monkeypatch, caplog):
    def broken(run):
        raise ConnectionError("no\nroute")

    monkeypatch.setitem(tracking.TRACKERS, "tensorboard", broken)
    with caplog.at_level(logging.WARNING, "tailwise"):
        tracking.track([digits.runs["ce"][0]], "tensorboard")
    assert "could not be mirrored to tensorboard (ConnectionError: no route)" in caplog.text
    assert digits.runs["ce"][0].check_whole()
