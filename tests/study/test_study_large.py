"""Long and large: memory stays flat over epochs and over runs, and a store beyond its limit with a thousand states is only looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tailwise.cli import run
from tailwise.registry import parse_rows
from tailwise.study import tree
from tailwise.study.setup import Setup, make_setup
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training.states import State, save_state, stored_steps

TESTS = Path(__file__).parents[1]

LOOK = """
import gc, json, sys, tracemalloc
from pathlib import Path
import torch

tracemalloc.start()
seen = []

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 if Path("/proc/self/statm").exists() else 0

def look():
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
    seen.append({"tensors": len(tensors), "kilobytes": tracemalloc.get_traced_memory()[0] // 1024, "resident": resident()})
"""
"""What lives: tensors by number, what Python and NumPy hold, and all that the process has, in KiB."""

EPOCHS = """
from dataclasses import replace
from tailwise.registry import parse_row
from tailwise.method import Best, Stage, Stream
from tailwise.store import Store
from tailwise.training import Root, RunSettings, run_method
from tailwise.training.states import save_state
from training import seam_objectives as seams
from training.seam_runs import RECIPE, image_splits

LEAK
streams = {"main": Stream(views=("recipe", "recipe")), "more": Stream(batch_share=0.5)}
method = seams.Stages(lambda about: [Stage(objective=seams.Remembering(), streams=streams, leaves=Best())])
ema = parse_row("ce+ema(decay=0.9)").modifiers
root = Root(image_splits(), replace(RECIPE, epochs=200), RECIPE.net, 0, {"test": "yes"})
kept = []

def watch(leg, done, trained):
    if leak == "tensor a step":
        kept.append(torch.zeros(4))
    if leak == "array a step":
        kept.append(bytearray(2048))
    if done in [epoch * leg.steps + 1 for epoch in (20, 100, 199)]:
        look()

run_method(root, method, ema, RunSettings(Store(Path(sys.argv[1])), watch=watch, keep_seconds=1.0))
print(json.dumps(seen))
"""

RUNS = """
import numpy as np
from tailwise.registry import parse_rows
from tailwise.data import from_arrays
from tailwise.store import Store
from tailwise.study.compare import compare
from tailwise.study.setup import make_setup
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import RunSettings

LEAK
labels = np.repeat(np.arange(4), (30, 20, 12, 8))
data = from_arrays(labels, features=np.random.default_rng(0).normal(size=(70, 16)).astype(np.float32))
words = TrainingWords("head", None, ("recipe.epochs=1", "recipe.second.epochs=1"))
setup = make_setup(data, parse_rows("ce,la,ldam,crt"), DataWords(), words, Store(Path(sys.argv[1]) / "store"))
begun, kept = [], []

def begins(row, seed):
    begun.append((row, seed))
    if leak == "predictions a run":
        kept.append(bytearray(100_000))
    if len(begun) in (6, 42):
        look()

compare(setup, range(11), Path(sys.argv[1]) / "study", RunSettings(setup.store), begun=begins)
print(json.dumps(seen))
"""


def grown(program: str, folder: Path, leak: str = "") -> dict[str, int]:
    """Run a program that looks at its memory, and give what has grown between the first look and the last."""
    program = LOOK + program.replace("LEAK", f"leak = {leak!r}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    first, *_, last = json.loads(done.stdout.splitlines()[-1])
    return {name: last[name] - first[name] for name in first}


STATE = 400
"""Tensors of the state that `Best` may hold at one look and not at another: network, copy, queue, momentum, average."""


@pytest.mark.slow
def test_memory_stays_flat_over_two_hundred_epochs(tmp_path):
    """With a queue, a momentum copy, an average, a second stream, states stored and the best one kept: 180 epochs of 4 steps."""
    found = grown(EPOCHS, tmp_path)
    assert found["tensors"] <= STATE
    assert found["kilobytes"] < 500  # the log: a record an epoch
    assert found["resident"] < 16_000


@pytest.mark.slow
@pytest.mark.parametrize(("leak", "what", "most"), [("tensor a step", "tensors", STATE), ("array a step", "kilobytes", 500)])
def test_a_small_leak_would_be_seen(tmp_path, leak, what, most):
    assert grown(EPOCHS, tmp_path, leak)[what] > most


@pytest.mark.slow
def test_memory_stays_flat_over_forty_runs(tmp_path):
    found = grown(RUNS, tmp_path)
    assert found["tensors"] <= 50
    assert found["kilobytes"] < 1000
    assert found["resident"] < 32_000


@pytest.mark.slow
def test_predictions_kept_of_every_run_would_be_seen(tmp_path):
    assert grown(RUNS, tmp_path, "predictions a run")["kilobytes"] > 1000


# --- a thousand states ----------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path, monkeypatch) -> Setup:
    """A study of 12 methods and 20 seeds on 200 classes, half of whose lines are stored up to their middle."""
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TAILWISE_STORE_GB", "0.0001")
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    labels = np.arange(1200) % 200
    np.savez(tmp_path / "many.npz", images=np.random.default_rng(0).integers(0, 256, (1200, 8, 8), dtype=np.uint8), labels=labels)
    return make_setup(tmp_path / "many.npz", parse_rows("all"), DataWords(), TrainingWords("demo"))


def fill(made: Setup, seeds: range, states: int) -> dict[str, int]:
    """Store states of every other line; gives the last step of each that lies within what is planned."""
    legs = sorted((leg for seed in seeds for row in made.rows for leg in made.plan(row, seed).legs), key=lambda leg: leg.stop)
    stored = {}
    for leg in list({leg.line: leg for leg in legs}.values())[::2]:  # of those on one line the longest
        steps = [leg.stop * part // (states + 2) for part in range(1, states + 1)] + [leg.stop + 1]
        for step in steps:
            save_state(made.store, State(leg.line, step, {"net.w": torch.zeros(20)}), inner=step != steps[0])
        stored[leg.line] = max(step for step in steps if step <= leg.stop)
    return stored


@pytest.mark.slow
def test_a_plan_counts_a_thousand_states_in_one_listing_a_line_and_deletes_none(study, tmp_path, monkeypatch, capsys):
    stored = fill(study, range(20), 7)
    folders = sorted(study.store.root.glob("states/*/*"))
    assert len(folders) > 1000
    assert sum(study.store.sizes().values()) > study.store.limit
    listed: list[str] = []
    monkeypatch.setattr(tree, "stored_steps", lambda store, line: listed.append(line) or stored_steps(store, line))
    words = ["compare", str(tmp_path / "many.npz"), "--seeds", "20", "--recipe", "demo", "--dry-run", "--json"]
    assert run(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(listed) == len(set(listed))
    assert set(stored) <= set(listed)
    assert said["steps_stored"] == sum(stored.values())
    assert sorted(study.store.root.glob("states/*/*")) == folders


def test_what_is_stored_beyond_a_plan_is_not_counted_as_its_own(study):
    stored = fill(study, range(1), 2)
    plans = [study.plan(row, 0) for row in study.rows]
    steps = tree.count_steps(plans, study.store)
    longest: dict[str, int] = {}
    for leg in (leg for plan in plans for leg in plan.legs):
        longest[leg.line] = max(longest.get(leg.line, 0), leg.stop)
    assert steps.left == {line: stop - stored.get(line, 0) for line, stop in longest.items()}
    assert steps.ahead == sum(steps.left.values())
