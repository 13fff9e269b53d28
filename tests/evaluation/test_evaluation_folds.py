"""Pooled folds: equal to one table of all held-out answers, made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tailwise.counts import ClassCounts, mean_counts
from tailwise.errors import BadData, BadValue
from tailwise.evaluation import Predictions, SplitPredictions, evaluate
from tailwise.evaluation.folds import pool
from tailwise.groups import explicit

CLASSES = ("cat", "okapi")
GROUPS = explicit({"many": [0], "few": [1]}, 2)
LOGITS = {"a": [3.0, 1.0], "b": [0.0, 1.0], "c": [2.0, 0.5], "d": [0.0, 4.0], "e": [5.0, 0.0]}
LABELS = {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1}


def part(names: str, corrected: bool = False) -> SplitPredictions:
    logits = np.array([LOGITS[name] for name in names], np.float32)
    network = logits + 10 if corrected else None
    return SplitPredictions(tuple(names), np.array([LABELS[name] for name in names]), logits, np.ones((len(names), 3)), network)


def fold(test: str, val: str, real: tuple[int, int], **fields: object) -> Predictions:
    made = Predictions(
        {"test": part(test), "val": part(val)},
        CLASSES,
        ClassCounts(real, (real[0] * 2.0, real[1] * 1.0)),
        GROUPS,
        f"data {test}",
        class_means=np.zeros((2, 3)),
        head_weight=np.ones((2, 3)),
    )
    return replace(made, **fields)


def three() -> list[Predictions]:
    return [fold("ca", "d", (1, 1)), fold("d", "be", (2, 1)), fold("eb", "ca", (2, 0))]


def test_pooled_answers_are_those_of_all_folds_by_id_and_nothing_of_one_network():
    found = pool(three())
    for name in ("test", "val"):
        got = found.split(name)
        assert got.ids == ("a", "b", "c", "d", "e")
        assert got.labels.tolist() == [0, 0, 0, 1, 1]
        assert np.array_equal(got.logits, np.array([LOGITS[id_] for id_ in "abcde"], np.float32))
        assert got.features is None
        assert got.network_logits is None
    assert (found.class_means, found.head_weight, found.head_bias) == (None, None, None)
    assert found.counts.real == (2, 1)  # 5/3 and 2/3
    assert found.counts.shown == pytest.approx((10 / 3, 2 / 3))
    assert found.groups == GROUPS


def test_figures_of_the_pool_are_worked_out_by_hand():
    # a and c of three cats are right, d of two okapis
    found = evaluate(pool(three()), "test")
    assert (found.images, found.accuracy) == (5, 3 / 5)
    assert found.macro_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert [result.train_images for result in found.per_class] == [2, 1]
    assert {name: group.images for name, group in found.groups.items()} == {"many": 3, "few": 2}


def test_order_of_the_folds_decides_no_answer():
    one, other = pool(three()), pool(three()[::-1])
    assert one.split("test").ids == other.split("test").ids
    assert np.array_equal(one.split("test").logits, other.split("test").logits)


def test_network_logits_stay_beside_corrected_ones():
    folds = three()
    folds[1] = replace(folds[1], splits={"test": part("d", corrected=True), "val": part("be", corrected=True)})
    found = pool(folds).split("test")
    assert found.logits[3].tolist() == LOGITS["d"]
    assert found.network_logits[3].tolist() == [10.0, 14.0]
    assert found.network_logits[0].tolist() == LOGITS["a"]  # nothing was changed there


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (fold("ab", "d", (1, 1)), "image 'a' is in test of two folds"),
        (fold("be", "c", (1, 1), classes=("cat", "okapi!")), "classes differ"),
        (fold("be", "c", (1, 1), groups=explicit({"many": [1], "few": [0]}, 2)), "groups differ"),
        (fold("be", "c", (1, 1), splits={"test": part("be")}), "pool whole folds"),
    ],
)
def test_what_are_no_folds_of_one_set_is_refused(other, said):
    with pytest.raises(BadData, match=said):
        pool([fold("ca", "d", (1, 1)), other])


def test_nothing_is_no_pool():
    with pytest.raises(BadValue, match="got none"):
        pool([])


def test_mean_counts_round_halves_up():
    assert mean_counts([ClassCounts((1, 4, 0)), ClassCounts((2, 4, 0))]).real == (2, 4, 0)
    assert mean_counts([ClassCounts((1, 3)), ClassCounts((1, 4)), ClassCounts((2, 3))]).real == (1, 3)
