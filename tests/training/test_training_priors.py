"""Priors through a plan: what is left of the training prior, what is corrected twice, and what has nothing to correct."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tailwise.counts import SHOWN
from tailwise.losses import BalancedSoftmaxLoss, ClassWeighted, CrossEntropyLoss, FrequencyWeighted, LDAMLoss
from tailwise.method import Card, Net, Stage, Stream
from tailwise.posthoc import LogitAdjustment, TauNorm
from tailwise.samplers import ClassBalancedSampler, PowerSampler
from tailwise.training import plan_method, prior_left
from tailwise.training.plan import Plan
from toy import toy_recipe, toy_splits
from training import seam_objectives as seams

COUNTS = (40, 12, 4, 1)
EVEN = (5, 5, 5, 5)
BALANCED = Stream(sampler=ClassBalancedSampler())
ROOTED = Stream(sampler=PowerSampler(0.5))


def root(counts: tuple[int, ...] = COUNTS) -> Any:
    from tailwise.training import Root

    recipe = toy_recipe()
    return Root(toy_splits(counts), recipe, recipe.net, 0, {"test": "yes"})


def planned(criterion: Any, stream: Stream = Stream(), posthoc: Any = None, counts: tuple[int, ...] = COUNTS, **stage: Any) -> Plan:
    method = seams.Stages(lambda about: [Stage(criterion=criterion, streams={"main": stream}, **stage)])
    object.__setattr__(method, "posthoc", lambda about: posthoc)
    return plan_method(root(counts), method)


CE = CrossEntropyLoss()


TWICE = {
    "a sampler and weights": (
        lambda n: (FrequencyWeighted(CE, n), BALANCED, None),
        "2 times (ClassBalancedSampler, FrequencyWeighted)",
    ),
    "a sampler and effective numbers": (
        lambda n: (ClassWeighted(CE, n), BALANCED, None),
        "2 times (ClassBalancedSampler, ClassWeighted)",
    ),
    "a milder sampler and weights": (
        lambda n: (FrequencyWeighted(CE, n), ROOTED, None),
        "2 times (PowerSampler, FrequencyWeighted)",
    ),
    "weights and balanced softmax": (
        lambda n: (FrequencyWeighted(BalancedSoftmaxLoss(SHOWN), n), Stream(), None),
        "2 times (FrequencyWeighted, BalancedSoftmaxLoss)",
    ),
    "a sampler and balanced softmax of raw counts": (
        lambda n: (BalancedSoftmaxLoss(n), BALANCED, None),
        "2 times (ClassBalancedSampler, BalancedSoftmaxLoss)",
    ),
    "balanced softmax and a shift": (
        lambda n: (BalancedSoftmaxLoss(SHOWN), Stream(), LogitAdjustment(SHOWN)),
        "2 times (BalancedSoftmaxLoss, LogitAdjustment)",
    ),
    "a sampler and a shift by raw counts": (
        lambda n: (CE, BALANCED, LogitAdjustment(n)),
        "2 times (ClassBalancedSampler, LogitAdjustment)",
    ),
    "weights and a shift": (
        lambda n: (ClassWeighted(CE, n), Stream(), LogitAdjustment(SHOWN)),
        "2 times (ClassWeighted, LogitAdjustment)",
    ),
    "margins, weights and a shift": (
        lambda n: (ClassWeighted(LDAMLoss(n), n), Stream(), LogitAdjustment(SHOWN)),
        "2 times (ClassWeighted, LogitAdjustment)",
    ),
    "three at once": (
        lambda n: (FrequencyWeighted(BalancedSoftmaxLoss(n), n), BALANCED, None),
        "3 times (ClassBalancedSampler, FrequencyWeighted, BalancedSoftmaxLoss)",
    ),
    "one that takes too much": (
        lambda n: (BalancedSoftmaxLoss(SHOWN, tau=2.0), Stream(), None),
        "more than once over (BalancedSoftmaxLoss)",
    ),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_prior_that_is_corrected_twice_is_warned_of(name: str) -> None:
    make, named = TWICE[name]
    (warning,) = planned(*make(COUNTS)).warnings
    assert named in warning
    assert "expect the tail to be over-corrected" in warning


@pytest.mark.parametrize(("tau", "warned"), [(1.2, 0), (1.3, 1)])
def test_a_quarter_of_the_prior_may_be_turned_round(tau: float, warned: int) -> None:
    assert len(planned(BalancedSoftmaxLoss(SHOWN, tau=tau)).warnings) == warned


@pytest.mark.parametrize("name", TWICE)
def test_where_classes_are_even_nothing_is_corrected(name: str) -> None:
    make, _ = TWICE[name]
    plan = planned(*make(EVEN), counts=EVEN)
    assert plan.warnings == plan.notes == ()


def test_a_card_says_where_it_is_meant() -> None:
    class Meant(seams.Stages):
        card = Card(title="Both, as published", family="baseline", prior_twice="VS with deferred weights is published")

    plan = plan_method(root(), Meant(lambda about: [Stage(criterion=FrequencyWeighted(BalancedSoftmaxLoss(SHOWN), COUNTS))]))
    assert plan.warnings == ()


NOTED = {
    "balanced softmax of what a sampler shows": (
        BalancedSoftmaxLoss(SHOWN), BALANCED, None, "BalancedSoftmaxLoss sees a uniform prior: equals cross-entropy"
    ),
    "a shift by what a sampler showed": (CE, BALANCED, LogitAdjustment(SHOWN), "LogitAdjustment has nothing to adjust"),
    "a shift of logits with margins": (LDAMLoss(COUNTS), Stream(), LogitAdjustment(SHOWN), "puts LogitAdjustment on LDAMLoss: margins"),
    "lengths of an even head": (CE, BALANCED, TauNorm(0.5), "puts TauNorm on an even prior: a head"),
    "lengths of a corrected head": (BalancedSoftmaxLoss(SHOWN), Stream(), TauNorm(0.5), "puts TauNorm on an even prior: a head"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTED)
def test_what_has_nothing_to_correct_is_noted_and_not_warned_of(name: str) -> None:
    criterion, stream, posthoc, said = NOTED[name]
    plan = planned(criterion, stream, posthoc, net=Net(head="normalised") if isinstance(criterion, LDAMLoss) else None)
    assert plan.warnings == ()
    (note,) = plan.notes
    assert said in note


def test_lengths_of_a_head_that_saw_the_tail_are_no_note() -> None:
    plan = planned(CE, posthoc=TauNorm(0.5))
    assert plan.warnings == plan.notes == ()


LEFT = {
    "cross-entropy": (CE, Stream(), None, COUNTS),
    "margins": (LDAMLoss(COUNTS), Stream(), None, COUNTS),
    "weights by inverse frequency": (FrequencyWeighted(CE, COUNTS), Stream(), None, (1, 1, 1, 1)),
    "balanced softmax": (BalancedSoftmaxLoss(SHOWN), Stream(), None, (1, 1, 1, 1)),
    "half of it": (BalancedSoftmaxLoss(SHOWN, tau=0.5), Stream(), None, np.sqrt(COUNTS)),
    "a sampler": (CE, BALANCED, None, (1, 1, 1, 1)),
    "the root of the counts": (CE, ROOTED, None, np.sqrt(COUNTS)),
    "a shift": (CE, Stream(), LogitAdjustment(SHOWN), (1, 1, 1, 1)),
    "half a shift": (CE, Stream(), LogitAdjustment(SHOWN, 0.5), np.sqrt(COUNTS)),
    "twice": (BalancedSoftmaxLoss(SHOWN), Stream(), LogitAdjustment(SHOWN), 1 / np.array(COUNTS)),
    "lengths that stay": (CE, Stream(), TauNorm(0.0), COUNTS),
}


@pytest.mark.parametrize("name", LEFT)
def test_the_prior_left_is_that_of_the_formula(name: str) -> None:
    criterion, stream, posthoc, masses = LEFT[name]
    plan = planned(criterion, stream, posthoc)
    left = prior_left(COUNTS, plan.legs[-1], plan.posthoc)
    assert left == pytest.approx(np.array(masses) / np.sum(masses))


def test_what_is_not_known_is_none() -> None:
    plan = planned(CE, posthoc=TauNorm(0.5))
    assert prior_left(COUNTS, plan.legs[-1], plan.posthoc) is None
    own = plan_method(root(), seams.Stages(lambda about: [Stage(objective=seams.Events())]))
    assert prior_left(COUNTS, own.legs[-1], None) is None
    assert own.warnings == own.notes == ()


def test_an_objective_of_its_own_may_say_what_it_leaves() -> None:
    class Reversing(seams.Events):
        def prior_left(self, prior: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(1 / mass for mass in prior)

    plan = plan_method(root(), seams.Stages(lambda about: [Stage(objective=Reversing())]))
    left = 1 / np.array(COUNTS)
    assert prior_left(COUNTS, plan.legs[-1], None) == pytest.approx(left / left.sum())
    assert "more than once over (Reversing)" in plan.warnings[0]


def test_a_class_without_images_does_not_count() -> None:
    counts = (40, 12, 0, 1)
    plan = planned(BalancedSoftmaxLoss(SHOWN), counts=counts)
    left = prior_left(counts, plan.legs[-1], None)
    assert left[2] == 0
    assert plan.warnings == ()
