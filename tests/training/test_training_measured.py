"""Val on the way: measured after the epochs that the recipe names, told in the log, and without any trace in what is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tailwise.errors import BadValue
from tailwise.evaluation import macro_accuracy
from tailwise.registry import load
from tailwise.store import Store
from tailwise.training import Root
from training.seam_runs import differing, image_splits, make_root, new_store, train


def with_measures(every: int) -> Root:
    root = make_root()
    return replace(root, recipe=replace(root.recipe, measure_every=every))


def measured(outcome) -> dict[int, float]:
    return {record["epoch"] + 1: record["val_macro"] for record in outcome.log() if "val_macro" in record}


def test_every_second_epoch_is_measured_and_the_last_figure_is_the_run_s_own():
    done = train("ce", root=with_measures(5))
    assert list(measured(done)) == [5]
    assert measured(done)[5] == done.accuracy("val")
    val = image_splits().rows["val"]
    assert measured(done)[5] == macro_accuracy(val.labels, done.logits("val"), 4)
    assert list(measured(train("ce", root=with_measures(2)))) == [2, 4]
    assert measured(train("ce")) == {}


@pytest.mark.parametrize("method", ["ce", "crt", "ldam-drw", "mixup"])
def test_measuring_leaves_no_trace_in_what_is_trained(method):
    assert differing(train(method, root=with_measures(1)), train(method)) == []


def test_a_run_that_goes_on_keeps_what_was_measured(tmp_path):
    whole = measured(train("ce", root=with_measures(1), store=new_store()))
    store = Store(tmp_path / "store")
    left = 7

    def soon() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    with pytest.raises(KeyboardInterrupt):
        train("ce", root=with_measures(1), store=store, interrupted=soon)
    assert measured(train("ce", root=with_measures(1), store=store)) == whole
    assert list(whole) == [1, 2, 3, 4, 5]


def test_a_number_below_zero_is_refused():
    with pytest.raises(BadValue, match="measure_every is a number of epochs"):
        replace(load("recipe", "demo"), measure_every=-1)
