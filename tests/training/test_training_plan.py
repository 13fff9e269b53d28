"""Plans: what is one line, what decides a key, what is said before the first step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from tailwise.counts import SHOWN
from tailwise.errors import BadValue, Clash
from tailwise.losses import BalancedSoftmaxLoss, ClassWeighted, CrossEntropyLoss, LDAMLoss
from tailwise.method import About, Best, Stage, Start, Stream
from tailwise.optim import EMA, SAM, SGD
from tailwise.samplers import ClassBalancedSampler
from training import seam_objectives as seams
from training.seam_runs import COUNTS, RECIPE, STEPS, image_splits, make_root, plan, train


def stages(*given: Stage) -> seams.Stages:
    return seams.Stages(lambda about: list(given))


def ce(**fields: Any) -> Stage:
    return Stage(criterion=CrossEntropyLoss(), **fields)


def line(stage: Stage, **recipe: Any) -> str:
    return plan(stages(stage), root=make_root(replace(RECIPE, **recipe))).legs[0].line


def test_equal_stages_that_continue_are_one_line() -> None:
    cut = plan(stages(ce(until=0.2), ce(until=0.6, name="the same"), ce()))
    assert {leg.line for leg in cut.legs} == {plan("ce").legs[0].line}
    assert [(leg.start, leg.stop) for leg in cut.legs] == [(0, 4), (4, 12), (12, 20)]
    assert cut.steps == 5 * STEPS


def test_equal_stages_with_a_reset_are_two_lines() -> None:
    legs = plan(stages(ce(until=0.6), ce(start=Start(reset=("net.head.*",))))).legs
    assert legs[0].line != legs[1].line
    assert legs[1].parent == (legs[0].line, 12)


@pytest.mark.parametrize("fields", [{"until": 0.5}, {"name": "another name"}, {"leaves": Best()}])
def test_what_does_not_decide_is_not_in_the_key(fields: dict[str, Any]) -> None:
    assert line(ce(**fields)) == line(ce())


@pytest.mark.parametrize(
    "fields",
    [
        {"gradient": SAM(0.1)},
        {"average": EMA(0.9)},
        {"frozen_norm": "train"},
        {"streams": {"main": Stream(views=("plain",))}},
        {"streams": {"main": Stream(), "other": Stream()}},
        {"start": Start(clock="restart")},
    ],
)
def test_what_decides_is_in_the_key(fields: dict[str, Any]) -> None:
    assert line(ce(**fields)) != line(ce())


@pytest.mark.parametrize(
    "fields", [{"epochs": 6}, {"batch_size": 8}, {"accumulate": 2}, {"clip": 1.0}, {"optimiser": SGD(0.1)}, {"augment": ()}, {"threads": 2}]
)
def test_the_recipe_is_in_the_key(fields: dict[str, Any]) -> None:
    assert line(ce(), **fields) != line(ce())


def test_the_recipes_name_cuts_and_sources_are_not() -> None:
    assert line(ce(), name="other", cuts=(0.4,), sources={"epochs": "a guess"}) == line(ce())


def test_parts_with_other_fields_are_other_lines() -> None:
    lines = {line(Stage(criterion=LDAMLoss(COUNTS, margin))) for margin in (0.1, 0.2, 0.2)}
    assert len(lines) == 2


def test_validation_rows_are_in_no_key() -> None:
    whole = image_splits()
    other = replace(whole, contents={**whole.contents, "val": "other images"})
    assert plan("ce", root=make_root(splits=other)).legs[0].line == plan("ce").legs[0].line
    other = replace(whole, contents={**whole.contents, "train": "other images"})
    assert plan("ce", root=make_root(splits=other)).legs[0].line != plan("ce").legs[0].line


def test_a_second_recipe_restarts_the_clock() -> None:
    first, second = plan("crt").legs
    assert (first.epoch, first.origin, first.base) == (0, 0, 0)
    assert (second.epoch, second.origin, second.base) == (0, 20, 20)
    assert second.recipe.epochs == 2
    assert second.parent == (first.line, 20)


def test_a_stage_cannot_continue_into_another_recipe() -> None:
    with pytest.raises(Clash, match="recipe of its own"):
        plan(stages(ce(until=0.4), ce(recipe="second")))


def test_a_recipe_that_is_not_there_is_named() -> None:
    with pytest.raises(BadValue, match="'third'"):
        plan(stages(ce(recipe="third")))


def test_shown_counts_are_those_of_the_stage() -> None:
    def make(about: About) -> Iterable[Stage]:
        yield Stage(criterion=BalancedSoftmaxLoss(SHOWN), until=0.4)
        yield Stage(criterion=BalancedSoftmaxLoss(SHOWN), streams={"main": Stream(sampler=ClassBalancedSampler(2))})

    first, second = plan(seams.Stages(make)).legs
    assert first.stage.objective.criterion.counts == first.shown == (28.0, 11.0, 6.0, 4.0)
    assert second.stage.objective.criterion.counts == second.shown == (12.25,) * 4


@pytest.mark.parametrize(
    ("row", "warned"),
    [("balanced-softmax", 0), ("la", 0), ("la(base=balanced-softmax)", 1), ("la(base=crt)", 0), ("la(base=ldam-drw)", 1), ("crt+drw", 1)],
)
def test_a_prior_that_is_corrected_twice_is_warned_of(row: str, warned: int) -> None:
    assert len(plan(row).warnings) == warned


@pytest.mark.parametrize("name", ["ce", "ldam-drw", "crt", "rows grow", "two streams"])
def test_a_run_walks_the_lines_of_its_plan(name: str) -> None:
    method = {"rows grow": seams.growing(), "two streams": seams.two_streams()}.get(name, name)
    planned, ran = plan(method), train(method)
    assert [leg.line for leg in planned.legs] == [leg.line for leg in ran.legs]
    assert planned.steps == ran.trained
    assert len(planned.sentences()) == len(planned.legs)


@pytest.mark.parametrize("start", [0.01, 0.19])
def test_a_first_stage_without_a_step_changes_nothing_that_is_planned(start: float) -> None:
    planned, ran = plan(f"ldam-drw(start={start})"), train(f"ldam-drw(start={start})")
    assert planned.legs[-1].line == ran.leg.line
    assert planned.legs[-1].net == ran.leg.net


def test_what_results_decide_is_said_and_decided() -> None:
    planned = plan(seams.decided(2.0))
    assert planned.decided_by_results
    assert planned.sentences()[-1] == "then: decided by results"
    assert planned.steps == 2 * STEPS
    assert train(seams.decided(2.0)).trained == 5 * STEPS
    assert train(seams.decided(0.0)).trained == 2 * STEPS


def test_a_base_decided_by_results_may_be_gone_on_from() -> None:
    def make(about: About) -> Any:
        yield from seams.decided(2.0).stages(about)
        yield ce(recipe="second", start=Start(clock="restart"))

    assert train(seams.Stages(make)).trained == 5 * STEPS + 2 * STEPS


@pytest.mark.parametrize("modifier", ["sam", "ema"])
def test_a_modifier_passes_results_on(modifier: str) -> None:
    from training.seam_runs import parse_row

    modifiers = parse_row(f"ce+{modifier}").modifiers
    assert plan(seams.decided(2.0), modifiers).decided_by_results
    assert train(seams.decided(2.0), modifiers).trained == 5 * STEPS


def test_the_constants_of_a_weighted_stage_are_in_its_key() -> None:
    lines = {line(Stage(criterion=ClassWeighted(CrossEntropyLoss(), COUNTS, beta))) for beta in (0.0, 0.9, 0.99)}
    assert len(lines) == 3


def test_a_criterion_over_a_network_with_branches_takes_their_mean() -> None:
    base = seams.two_streams()

    def make(about: About) -> Iterable[Stage]:
        yield next(iter(base.stages(about)))
        yield ce(recipe="second", start=Start(clock="restart", reset=("net.*head.*",)))

    outcome = train(seams.Stages(make))
    assert outcome.predictions().splits["test"].logits.ndim == 2
    assert outcome.log()[-1]["loss"] > 0


def test_a_base_whose_stages_are_a_list_may_be_gone_on_from() -> None:
    def make(about: About) -> Iterable[Stage]:
        yield from seams.Stages(lambda about: [ce()]).stages(about)
        yield ce(recipe="second", start=Start(clock="restart"))

    assert len(train(seams.Stages(make)).legs) == 2
