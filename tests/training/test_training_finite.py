"""A loss that is no longer finite stops the run at its step, and the last good state stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tailwise.errors import Stopped
from tailwise.method import About, Best, Stage, Start
from tailwise.objective import Batch, Clock, Objective, Term
from tailwise.store import Store
from tailwise.training.states import load_state, stored_steps
from training import seam_objectives as seams
from training.seam_runs import RECIPE, make_root, plan, train


@dataclass(eq=False)
class Exploding(Objective):
    """A loss that is infinite at one step, or whose gradient is there."""

    at: int
    value: str = "nan"
    only_gradient: bool = False

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        values = cross_entropy(net(batch["main"].images).logits, batch["main"].labels, reduction="none")
        if now.total != self.at:
            return Term(values)
        return Term(values + (values - values.detach()).sqrt() if self.only_gradient else values * float(self.value))


@dataclass(eq=False)
class Remembering(Objective):
    """What it remembers is no number after one step; its loss never looks."""

    at: int

    def build(self, net: nn.Module, about: About) -> None:
        self.register_buffer("memory", torch.full((3,), torch.inf))

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        return Term(cross_entropy(net(batch["main"].images).logits, batch["main"].labels, reduction="none"))

    def settle(self, net: nn.Module, kept: Mapping[str, Tensor], now: Clock) -> None:
        self.memory.fill_(torch.nan if now.total == self.at else torch.inf)


def exploding(**fields: object) -> seams.Stages:
    return seams.Stages(lambda about: [Stage(objective=Exploding(**fields))])  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_loss_that_is_not_finite_stops_at_its_step(store: Store, value: str) -> None:
    method = exploding(at=6, value=value)
    with pytest.raises(Stopped) as stopped:
        train(method, store=store, keep_seconds=0.0)
    said = str(stopped.value)
    assert said.startswith("the loss is no longer finite at step 7 (epoch 1, learning rate 0.05)")
    assert "the last good state, step 6, is kept" in said
    assert "--set recipe.optimiser.rate=0.005" in said
    assert stopped.value.exit_code == 3
    assert stored_steps(store, plan(method).legs[0].line) == [6]


def test_what_is_left_is_good_and_the_same_command_stops_at_the_same_step(store: Store) -> None:
    method = exploding(at=6)
    line = plan(method).legs[0].line
    said = []
    for _ in range(2):
        with pytest.raises(Stopped) as stopped:
            train(method, store=store, keep_seconds=0.0)
        said.append(str(stopped.value))
    assert said[0] == said[1]
    left = load_state(store, line, 6)
    assert left is not None
    assert all(bool(t.isfinite().all()) for t in left.tensors.values() if t.is_floating_point())


def test_where_nothing_was_stored_yet_the_message_says_so(store: Store) -> None:
    method = exploding(at=2)
    with pytest.raises(Stopped, match=r"at step 3 .*no state of this stage was stored yet"):
        train(method, store=store)
    assert stored_steps(store, plan(method).legs[0].line) == []


def test_a_finite_loss_with_a_gradient_that_is_not_leaves_no_bad_state(store: Store) -> None:
    method = exploding(at=6, only_gradient=True)
    with pytest.raises(Stopped, match=r"the tensor net\.\S+ is no longer finite at step 7"):
        train(method, store=store, keep_seconds=0.0)
    assert stored_steps(store, plan(method).legs[0].line) == [6]


def test_without_a_state_to_store_it_is_noticed_at_the_next_step(store: Store) -> None:
    with pytest.raises(Stopped, match="the loss is no longer finite at step 8"):
        train(exploding(at=6, only_gradient=True), store=store)


def test_an_interrupt_at_a_bad_step_stores_nothing_bad(store: Store) -> None:
    method = exploding(at=6)
    calls = iter(range(100))
    with pytest.raises(Stopped):
        train(method, store=store, interrupted=lambda: next(calls) == 6)
    assert stored_steps(store, plan(method).legs[0].line) == []


def test_bilevel_losses_of_other_optimisers_are_watched_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = torch.nn.functional.cross_entropy
    calls = iter(range(1000))
    monkeypatch.setattr(seams, "cross_entropy", lambda *args, **words: plain(*args, **words) * (float("nan") if next(calls) == 5 else 1))
    with pytest.raises(Stopped, match="the loss is no longer finite at step 6"):
        train(seams.bilevel(), store=store)


def test_a_state_with_a_buffer_that_is_no_number_is_not_stored_and_infinity_in_one_is_fine(store: Store) -> None:
    method = seams.Stages(lambda about: [Stage(objective=Remembering(at=6))])
    with pytest.raises(
        Stopped, match=r"the tensor objective\.memory is no longer finite at step 7 .*; the last good state, step 6, is kept"
    ):
        train(method, store=store, keep_seconds=0.0)
    assert stored_steps(store, plan(method).legs[0].line) == [6]


def test_weights_that_are_not_finite_are_not_measured_to_choose_the_best_epoch(store: Store) -> None:
    method = seams.Stages(lambda about: [Stage(objective=Exploding(at=3, only_gradient=True), leaves=Best())])
    with pytest.raises(Stopped, match=r"the tensor net\.\S+ is no longer finite at step 4"):
        train(method, store=store)


def test_the_advice_names_the_recipe_of_the_stage_and_its_own_rate(store: Store) -> None:
    start = Start(clock="restart", reset=("net.head.*",))
    later = Stage(objective=Exploding(at=22), recipe="second", start=start)
    method = seams.Stages(lambda about: [Stage(objective=Exploding(at=-1)), later])
    recipe = replace(RECIPE, second=replace(RECIPE.second, clip=3.0))  # type: ignore[type-var]
    with pytest.raises(Stopped) as stopped:
        train(method, store=store, root=make_root(recipe))
    assert "--set recipe.second.optimiser.rate=0.005)" in str(stopped.value)
    assert "clip" not in str(stopped.value)
