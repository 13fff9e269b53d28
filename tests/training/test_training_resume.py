"""Interrupted, killed, damaged: a run goes on from the store and ends in the same bits."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import torch

from tailwise.disk import _host
from tailwise.store import Store
from tailwise.training import Outcome
from tailwise.training.states import stored_steps
from training import seam_objectives as seams
from training import seam_runs


@functools.cache
def watched(name: str) -> tuple[Outcome, bool]:
    """Run a case undisturbed, and say whether the caller's generators moved meanwhile."""
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(3)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    outcome = seam_runs.case(name)
    outcome.accuracy("val")
    moved = not torch.equal(torch.random.get_rng_state(), before[0])
    return outcome, moved or (np.random.get_state()[1].tolist(), random.getstate()) != before[1:]


def whole(name: str) -> Outcome:
    return watched(name)[0]


@pytest.mark.parametrize("name", seam_runs.CASES)
def test_interrupted_at_random_steps_equals_uninterrupted(name: str) -> None:
    resumed, stops = seam_runs.interrupted_case(name, stops=4, seed=sum(map(ord, name)))
    assert stops == 4
    assert seam_runs.differing(resumed, whole(name)) == []
    assert json.dumps(resumed.state.log) == json.dumps(whole(name).state.log)  # in their order too


@pytest.mark.parametrize("name", seam_runs.CASES)
def test_the_callers_generators_are_untouched(name: str) -> None:
    assert not watched(name)[1]


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
@pytest.mark.parametrize("name", ["rows grow, sam, ema and drw", "bilevel step", "best, then another stage"])
def test_killed_at_random_moments_equals_undisturbed(name: str, store: Store) -> None:
    rng, forking, kills = random.Random(5), multiprocessing.get_context("fork"), 0
    for _ in range(3):
        process = forking.Process(target=seam_runs.case, args=(name, store), kwargs={"keep_seconds": 0.0})
        stood = newest(store)
        process.start()
        until = time.monotonic() + 20
        while process.is_alive() and newest(store) == stood and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.06))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        kills += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:  # a fast machine was done before the second or third kill
            break
    assert kills > 0, "the first kill came too late to test anything"
    done = seam_runs.case(name, store, keep_seconds=0.0)
    assert done.trained < whole(name).trained
    assert seam_runs.differing(done, whole(name)) == []


def newest(store: Store) -> list[str]:
    """Name the last stored state of each line."""
    lines = sorted(store.root.glob("states/*"))
    last = {line.name: max((state.name for state in line.iterdir() if state.name.isdigit()), default="") for line in lines}
    return [f"{name} {state}" for name, state in last.items() if state]


def test_what_a_killed_writer_left_is_swept(store: Store) -> None:
    left = store.path("states", seam_runs.plan("ce").legs[0].line, f".pending-000000004-{_host()}-{2**22 + 1}-dead")
    left.mkdir(parents=True)
    os.utime(left, (1, 1))
    seam_runs.train("ce", store=store)
    assert not left.exists()
