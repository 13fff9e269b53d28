"""A stage that leaves its best state, chosen on validation and on nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tailwise.errors import BadData, BadValue
from tailwise.losses import ClassWeighted, CrossEntropyLoss
from tailwise.method import About, Best, Stage
from tailwise.store import Store
from training import seam_objectives as seams
from training import seam_runs
from training.seam_runs import STEPS, differing, image_splits, make_root, new_store, train


def best(metric: Any = "macro_accuracy", until: float = 1.0) -> seams.Stages:
    return seams.Stages(lambda about: [Stage(criterion=CrossEntropyLoss(), until=until, leaves=Best(metric))])


def plain(until: float) -> seams.Stages:
    return seams.Stages(lambda about: [Stage(criterion=CrossEntropyLoss(), until=until)])


@pytest.mark.parametrize("metric", ["macro_accuracy", "accuracy"])
def test_the_first_of_the_best_epochs_is_left(metric: str) -> None:
    store = new_store()
    scores = [train(plain(k / 5), store=store).accuracy("val", metric) for k in range(1, 6)]
    left = train(best(metric), store=store)
    assert left.state.step == STEPS * (1 + scores.index(max(scores)))
    assert left.accuracy("val", metric) == max(scores)
    assert differing(left, train(plain(left.state.step / STEPS / 5))) == []


def test_choosing_is_no_part_of_a_line(store: Store) -> None:
    left = train(best(), store=store)
    assert train("ce", store=store).trained == 0
    assert left.leg.line == seam_runs.plan("ce").legs[0].line


def test_the_next_stage_goes_on_from_the_epoch_that_was_best() -> None:
    def make(about: About) -> Iterable[Stage]:
        yield Stage(criterion=CrossEntropyLoss(), until=0.6, leaves=Best())
        yield Stage(criterion=ClassWeighted(CrossEntropyLoss(), about.counts.real, 0.99))

    done = train(seams.Stages(make))
    first, second = done.legs
    chosen = train(best(until=0.6)).state.step
    assert second.parent == (first.line, chosen)
    assert second.epoch == chosen // STEPS
    assert second.origin + second.stop == 5 * STEPS


def test_the_best_of_an_average_is_measured_on_the_average() -> None:
    modifiers = seam_runs.parse_row("ce+ema(decay=0.9)").modifiers
    store = new_store()
    scores = [train(plain(k / 5), modifiers, store).accuracy("val") for k in range(1, 6)]
    assert train(best(), modifiers, store).state.step == STEPS * (1 + scores.index(max(scores)))


def test_scores_survive_an_interruption(store: Store) -> None:
    calls = iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        train(best(), store=store, interrupted=lambda: next(calls) == 13)
    resumed = train(best(), store=store)
    assert resumed.trained == 5 * STEPS - 14
    assert differing(resumed, train(best())) == []


def test_scores_without_their_states_are_measured_again(store: Store) -> None:
    first = train(best(), store=store)
    store.drop("states")
    assert differing(train(best(), store=store), first) == []


def test_test_never_chooses() -> None:
    with pytest.raises(BadValue, match="--split 80/10/10"):
        Best(split="test")


def test_without_validation_rows_nothing_can_be_chosen() -> None:
    whole = image_splits()
    splits = replace(whole, rows={n: r for n, r in whole.rows.items() if n != "val"})
    with pytest.raises(BadData, match="no split 'val'"):
        train(best(), root=make_root(splits=splits))


def test_a_method_may_not_decide_by_test() -> None:
    outcome = train(plain(0.2))
    with pytest.raises(BadValue, match="decides nothing"):
        outcome.accuracy("test")
    assert torch.get_num_threads() == 1
