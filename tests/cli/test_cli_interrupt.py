"""A run that is stopped on the way says how to go on: Ctrl-C, a scheduler's wish, a loss that explodes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailwise.cli import run

WORDS = ["train", "digits", "--recipe", "demo", "--tail", "exponential:50", "--set", "recipe.epochs=400"]


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return tmp_path


@pytest.mark.kill
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_after_the_step_and_names_the_command_that_goes_on(own_place: Path, kind: signal.Signals) -> None:
    words = [*WORDS, "--out", "a run"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "tailwise", *words], stderr=subprocess.PIPE, text=True, env=environment)
    until = time.monotonic() + 60
    while process.poll() is None and not list(own_place.glob("store/locks/line-*")) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(1)
    process.send_signal(kind)
    process.send_signal(kind)  # a scheduler and a launcher may each send theirs
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "ending after this step" in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("tailwise: interrupted; step ")
    assert " is stored, go on with: " in last
    assert shlex.split(last.partition("go on with: ")[2]) == ["tailwise", *words]
    (stored,) = own_place.glob("store/states/*/[0-9]*")
    assert f"step {int(stored.name):,} of " in last
    assert not Path("a run").exists()


def test_a_rate_that_explodes_stops_with_one_line_and_exit_code_3(own_place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*WORDS, "--set", "recipe.optimiser.rate=1e9", "--out", "a"]) == 3
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert said.startswith("tailwise: the loss is no longer finite at step ")
    assert "learning rate" in said
    assert "--set recipe.clip=5" in said
    assert not Path("a").exists()
