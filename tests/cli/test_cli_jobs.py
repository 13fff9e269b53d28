"""`compare --jobs`: the same study by several processes, each with runs of its own; helpers end with the command, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailwise.cli import run as command
from tailwise.cli.jobs import HELPS, Jobs
from tailwise.study import compare as comparing
from tailwise.study.compare import Study
from tailwise.study.estimate import Estimate

WORDS = ["compare", "digits", "--recipe", "demo", "--tail", "exponential:50", "--split", "50/10/40", "--methods", "ce,ldam,focal,la"]
QUICK = ["--seeds", "2", "--set", "recipe.epochs=3"]


def predictions(study: Study) -> dict[str, list[list[float]]]:
    return {text: [run.predictions.split("test").logits.tolist() for run in runs] for text, runs in study.runs.items()}


def test_two_jobs_leave_the_study_that_one_leaves(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store one"))
    assert command([*WORDS, *QUICK, "--out", str(tmp_path / "one")]) == 0
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store two"))
    mine, honest, started = [], comparing.train_job, []

    def slowly(setup, job, *given, **words):
        if len(started) and not mine:
            time.sleep(20)  # long enough for the helper to begin
        mine.append(str(job))
        honest(setup, job, *given, **words)

    class Popen(subprocess.Popen):
        def __init__(self, *given, **words):
            super().__init__(*given, **words)
            started.append(self)

    monkeypatch.setattr(comparing, "train_job", slowly)
    monkeypatch.setattr("tailwise.cli.jobs.subprocess.Popen", Popen)
    capsys.readouterr()
    assert command([*WORDS, *QUICK, "--out", str(tmp_path / "two"), "--jobs", "2"]) == 0
    assert "on 2 jobs at best" in capsys.readouterr().out
    assert [helper.returncode for helper in started] == [0]
    assert 0 < len(mine) < 8, "the helper has done some of the eight runs"
    one, two = (Study.load(tmp_path / name) for name in ("one", "two"))
    assert predictions(one) == predictions(two)
    assert list(one.runs) == list(two.runs)
    kept = [json.loads((study.folder / "report.json").read_text())["summary"]["rows"] for study in (one, two)]
    cells = [[row["cells"] for row in rows] for rows in kept]
    assert cells[0] == cells[1]


def helpers_of(pid: int) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"{HELPS}={pid}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.mark.kill
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_no_helper_outlives_its_command(tmp_path, by):
    environment = {**os.environ, "TAILWISE_STORE": str(tmp_path / "store"), "OMP_NUM_THREADS": "1"}
    long = ["--seeds", "3", "--set", "recipe.epochs=4000", "--out", str(tmp_path / "s"), "--jobs", "2"]
    running = subprocess.Popen(
        [sys.executable, "-m", "tailwise", *WORDS, *long], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not (helpers := helpers_of(running.pid)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(helpers) == 1
        time.sleep(8)  # until it trains
        running.send_signal(by)
        running.wait(60)
        deadline = time.monotonic() + 60
        while helpers_of(running.pid) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert helpers_of(running.pid) == []
    finally:
        running.kill()
        for helper in helpers_of(running.pid):
            os.kill(helper, signal.SIGKILL)


@pytest.mark.parametrize(
    ("words", "error"),
    [(["--jobs", "0"], "whole number from 1"), (["--jobs", "2", "--processes", "2"], "give one of them")],
)
def test_numbers_that_cannot_be_are_refused(words, error, tmp_path, capsys):
    assert command([*WORDS, *words, "--out", str(tmp_path / "s")]) == 2
    assert error in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_helper_has_no_helpers_and_one_job_is_none(monkeypatch):
    assert Jobs(1).wanted == 0
    assert Jobs(3).wanted == 2
    monkeypatch.setenv(HELPS, "1")
    assert Jobs(3).wanted == 0


def test_the_estimate_is_no_less_than_the_longest_chain():
    alone = Estimate(10.0, 0.0, 5, 100.0, 8.0, longest=60.0)
    assert alone.on(1).seconds == alone.seconds == 118.0
    assert alone.on(4).seconds == 10.0 + 60.0 + 2.0
    assert "on 4 jobs at best" in str(alone.on(4))
    assert "jobs" not in str(alone)
