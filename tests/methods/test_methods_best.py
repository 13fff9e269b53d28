"""`+best`: the last stage leaves the epoch that val chooses, wherever it stands among other modifiers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tailwise.errors import BadData, BadValue, Clash
from tailwise.evaluation import macro_accuracy, micro_accuracy
from tailwise.losses import CrossEntropyLoss
from tailwise.method import Best, Stage
from tailwise.pixels import Rows
from tailwise.registry import Row, parse_row
from tailwise.training import Root, Splits, plan_method
from toy import toy_recipe, toy_rows, toy_splits
from training import seam_objectives as seams

METRICS = {"macro_accuracy": macro_accuracy, "accuracy": micro_accuracy}


def plan(text: str, splits: Splits | None = None):
    recipe, row = toy_recipe(), parse_row(text)
    return plan_method(Root(splits or toy_splits(), recipe, recipe.net, 0, {"test": "yes"}), row.method, row.modifiers)


def uneven_splits() -> Splits:
    """The toy set with a val of many of one class, on which the two metrics choose different epochs."""
    splits = toy_splits()
    return replace(splits, rows={**splits.rows, "val": toy_rows((20, 2, 2, 1), 1, "val")})


@pytest.mark.parametrize("metric", METRICS)
def test_the_epoch_that_is_left_has_the_highest_score_of_all(run, metric):
    splits = uneven_splits()
    labels = splits.rows["val"].labels
    scores = []
    for epoch in range(1, 6):
        until = Stage(criterion=CrossEntropyLoss(), until=epoch / 5)
        outcome, _ = run(Row(seams.Stages(lambda about, until=until: [until]), (), "until"), splits=splits)
        scores.append(METRICS[metric](labels, outcome.logits("val"), 4))
    left, _ = run(f"ce+best(metric={metric})", splits=splits)
    assert left.state.step // left.leg.steps == 1 + scores.index(max(scores))
    assert left.accuracy("val", metric) == max(scores)


@pytest.mark.parametrize("text", ["crt+best", "ce+drw+best", "ce+best+drw", "la+best", "ldam-drw+best(metric=accuracy)", "lws+ema+best"])
def test_only_the_last_stage_is_chosen_from(text):
    planned = plan(text)
    assert not planned.decided_by_results
    *earlier, last = planned.legs
    assert [leg.stage.leaves for leg in earlier] == ["last"] * len(earlier)
    assert last.stage.leaves == Best("accuracy" if "accuracy" in text else "macro_accuracy")
    assert f"leaves the best by {last.stage.leaves.metric} on val" in planned.sentences()[len(earlier)]


@pytest.mark.parametrize("text", ["ce", "crt", "ldam-drw", "la"])
def test_it_trains_nothing_that_is_not_trained_without_it(run, text):
    run(text)
    chosen, _ = run(f"{text}+best")
    again, _ = run(f"{text}+best")
    assert [leg.line for leg in chosen.legs] == [leg.line for leg in plan(text).legs]
    assert again.trained == 0


def test_test_is_refused_before_anything_is_read():
    with pytest.raises(BadValue, match=r"'test' cannot choose a state.*--split 80/10/10") as error:
        parse_row("ce+best(split=test)")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("val", [None, 0])
def test_without_val_it_is_said_how_to_get_one_before_anything_is_trained(val):
    splits = toy_splits()
    rows = {name: found for name, found in splits.rows.items() if name != "val"}
    if val is not None:
        rows["val"] = Rows((), splits.rows["val"].packed, np.arange(0), np.zeros(0, np.int64))
    with pytest.raises(BadData, match="no split 'val' to choose on; set some of train aside with --split 80/10/10") as error:
        plan("crt+best", replace(splits, rows=rows))
    assert "\n" not in str(error.value)


def test_a_metric_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(BadValue, match=re.escape("best.metric is one of 'macro_accuracy', 'accuracy', got 'f1'")):
        parse_row("ce+best(metric=f1)")


def test_a_method_that_decides_by_results_which_stage_is_the_last_is_refused():
    row, recipe = parse_row("ce+best"), toy_recipe()
    with pytest.raises(Clash, match="best must know which stage is the last, and this method decides that by results"):
        plan_method(Root(toy_splits(), recipe, recipe.net, 0, {"test": "yes"}), seams.decided(2.0), row.modifiers)


def test_two_choices_clash():
    with pytest.raises(Clash, match="leaves"):
        plan("ce+best+best(metric=accuracy)")
