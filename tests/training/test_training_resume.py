"""Interrupted, killed, damaged: a run goes on from the store and ends in the same bits."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training import seam_objectives as seams
from training import seam_runs
import torch

from tailwise.store import Store
from tailwise.training import Outcome
from tailwise.training.states import stored_steps

TESTS = Path(__file__).parent.parent


@functools.cache
def whole(name: str) -> Outcome:
    return seam_runs.case(name)


@pytest.mark.parametrize("name", seam_runs.CASES)
def test_interrupted_at_random_steps_equals_uninterrupted(name: str) -> None:
    resumed, stops = seam_runs.interrupted_case(name, stops=4, seed=sum(map(ord, name)))
    assert stops == 4
    assert seam_runs.differing(resumed, whole(name)) == []
    assert resumed.state.log == whole(name).state.log


@pytest.mark.parametrize("name", seam_runs.CASES)
def test_the_callers_generators_are_untouched(name: str) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    seam_runs.case(name).accuracy("val")
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_the_result_does_not_depend_on_the_callers_generators() -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    assert seam_runs.differing(seam_runs.case("momentum copy and queue"), whole("momentum copy and queue")) == []


def test_another_seed_gives_another_result() -> None:
    other = seam_runs.train(seams.remembering(), root=seam_runs.make_root(seed=1))
    assert "net.head.weight" in seam_runs.differing(other, whole("momentum copy and queue"))


def test_interrupting_stores_the_very_step(store: Store) -> None:
    calls = iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        seam_runs.train("ce", store=store, interrupted=lambda: next(calls) == 6)
    line = seam_runs.plan("ce").legs[0].line
    assert stored_steps(store, line) == [7]


def test_states_in_the_middle_are_deleted_once_a_later_one_stands(store: Store) -> None:
    done = seam_runs.train("ce", store=store, keep_seconds=0.0)
    assert stored_steps(store, done.leg.line) == [16, 20]


def test_a_damaged_state_is_trained_again(store: Store) -> None:
    first = seam_runs.train("ce", store=store)
    for file in store.root.glob("states/*/*/tensors.safetensors"):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(bytes(data))
    again = seam_runs.train("ce", store=store)
    assert again.trained == first.trained
    assert seam_runs.differing(first, again) == []


def test_a_finished_run_trains_nothing_again(store: Store) -> None:
    first = seam_runs.case("second recipe", store)
    again = seam_runs.case("second recipe", store)
    assert (first.trained, again.trained) == (28, 0)
    assert seam_runs.differing(first, again) == []


def test_events_come_once_however_often_a_run_is_interrupted(store: Store) -> None:
    from tailwise.method import Stage

    method = seams.Stages(lambda about: [Stage(objective=seams.Events())])
    calls = iter(range(1000))
    while True:
        try:
            done = seam_runs.train(method, store=store, interrupted=lambda: next(calls) % 3 == 2)
            break
        except KeyboardInterrupt:
            pass
    heard = {n.removeprefix("objective."): int(t) for n, t in done.state.tensors.items() if n.startswith("objective.")}
    assert heard == {"stage_start": 1, "epoch_start": 5, "epoch_end": 5, "settled": 20, "rows": 5 * 49}


@pytest.mark.kill
@pytest.mark.parametrize("name", ["rows grow, sam, ema and drw", "bilevel step"])
def test_killed_at_random_moments_equals_undisturbed(name: str, store: Store) -> None:
    rng = random.Random(5)
    command = [sys.executable, "-m", "training.seam_runs", name, str(store.root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    for _ in range(3):
        before = len(list(store.root.glob("states/*/*")))
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < until and len(list(store.root.glob("states/*/*"))) <= before:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == seam_runs.digest(whole(name))


@pytest.mark.xfail(strict=True, reason="store.whole_folder: what a killed writer left is never swept, though its docstring says so")
def test_what_a_killed_writer_left_is_swept(store: Store) -> None:
    left = store.path("states", seam_runs.plan("ce").legs[0].line, ".pending-000000004-999999-dead")
    left.mkdir(parents=True)
    os.utime(left, (1, 1))
    seam_runs.train("ce", store=store)
    assert not left.exists()
