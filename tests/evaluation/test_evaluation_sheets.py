"""Further figures of rows: levels of a hierarchy and relative accuracy, against loops over images and the survey's own figures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tailwise.counts import ClassCounts
from tailwise.errors import BadData
from tailwise.evaluation import Cell, Interval, Measured, Predictions, SplitPredictions, evaluate, relative_sheet, summarise
from tailwise.evaluation.folds import pool
from tailwise.groups import make_groups

LEVELS = {"family": ("Rosaceae", "Rosaceae", "Rosaceae", None), "genus": ("Rosa", "Rosa", "Malus", "Acer")}
COUNTS = ClassCounts((90, 40, 9, 3))


def predictions(seed: int, levels=LEVELS) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), [12, 9, 7, 5])
    ids = tuple(f"{7 * i % 33:02}" for i in range(33))  # not in order
    test = SplitPredictions(ids, labels, rng.normal(size=(33, 4)) + 1.2 * np.eye(4)[labels])
    names = ("Rosa alba", "Rosa canina", "Malus alba", "Acer rubrum")
    return Predictions({"test": test}, names, COUNTS, make_groups(COUNTS.real), "a", levels=levels, class_ids=("0", "7", "9", "10"))


def summary(seeds: int = 3, levels=LEVELS):
    return summarise([Measured("ce", [evaluate(predictions(seed, levels), "test") for seed in range(seeds)])])


def by_hand(level: str, seeds: int) -> float:
    """Mean over seeds and members of the share of a member's images that are answered with one of its classes."""
    means = []
    for seed in range(seeds):
        test, members = predictions(seed).split("test"), LEVELS[level]
        shares = {}
        for label, row in zip(test.labels, test.logits, strict=True):
            if members[label] is not None:
                shares.setdefault(members[label], []).append(members[int(np.argmax(row))] == members[label])
        means.append(np.mean([np.mean(right) for right in shares.values()]))
    return float(np.mean(means))


@pytest.mark.reference
@pytest.mark.parametrize("level", ["family", "genus"])
def test_a_level_is_the_mean_over_its_members(level):
    (sheet,) = summary().sheets
    cell = sheet.rows["ce"][level]
    assert cell.mean == pytest.approx(by_hand(level, 3), abs=1e-12)
    assert cell.images == (28 if level == "family" else 33)
    assert cell.method.low <= cell.mean <= cell.method.high


@pytest.mark.limit
def test_where_each_class_is_its_own_member_a_level_is_macro_accuracy():
    found = summary(levels={"genus": ("a", "b", "c", "d")})
    (sheet,) = found.sheets
    macro = found.rows[0].cells["macro"]
    assert sheet.rows["ce"]["genus"].mean == pytest.approx(macro.mean, abs=1e-12)
    assert sheet.rows["ce"]["genus"].method == macro.method
    assert sheet.rows["ce"]["macro"].mean == pytest.approx(macro.mean, abs=1e-12)


def test_a_coarser_level_forgives_more():
    cells = summary().sheets[0].rows["ce"]
    assert cells["genus"].mean > cells["macro"].mean


def test_without_a_hierarchy_there_is_no_sheet():
    assert summary(levels={}).sheets == ()


def test_a_sheet_stands_in_every_form():
    found = summary()
    assert "| level | family | genus | macro |" in found.to_markdown()
    assert "genus" in found.to_latex()
    said = json.loads(json.dumps(found.to_dict()))["sheets"][0]
    assert said["name"] == "levels"
    assert said["rows"]["ce"]["genus"]["mean"] == found.sheets[0].rows["ce"]["genus"].mean


def test_levels_and_ids_are_stored(tmp_path):
    predictions(0).save(tmp_path / "p")
    found = Predictions.load(tmp_path / "p")
    assert (found.levels, found.class_ids) == (LEVELS, ("0", "7", "9", "10"))
    with pytest.raises(BadData, match="genus has 1 values for 4 classes"):
        predictions(0, {"genus": ("a",)})


def cell(share: float, half: float | None = None) -> Cell:
    ends = None if half is None else Interval(share - half, share + half, 0.95)
    return Cell(share, None, ends, ends, 3, 50_000)


@pytest.mark.parametrize(("reached", "upper", "relative"), [(0.455, 0.573, 79.4), (0.514, 0.583, 88.2), (0.588, 0.632, 93.0)])
def test_the_ratios_are_those_of_the_survey(reached, upper, relative):
    """Softmax, MiSLAS and TADE, on ImageNet-LT with ResNeXt-50."""
    found = relative_sheet({"row": cell(reached)}, cell(0.573), {"row": cell(upper)}, "test", "ce").rows["row"]
    assert round(100 * found["relative"].mean, 1) == relative
    assert found["A_u"].mean == max(0.573, upper)


def test_the_upper_reference_is_the_larger_and_its_doubt_counts():
    found = relative_sheet({"la": cell(0.5, 0.05)}, cell(0.8, 0.04), {"la": cell(0.7, 0.01)}, "test", "ce").rows["la"]
    assert found["A_u"].mean == 0.8
    half = 0.625 * np.hypot(0.1, 0.05)
    assert found["relative"].interval.low == pytest.approx(0.625 - half)
    assert found["relative"].interval.high == pytest.approx(0.625 + half)
    alone = relative_sheet({"la": cell(0.5)}, None, {}, "test", "ce").rows["la"]
    assert "relative" not in alone


def with_experts(seed: int) -> Predictions:
    found = predictions(seed, {})
    test = found.split("test")
    experts = np.stack([test.logits + np.random.default_rng(k).normal(size=test.logits.shape) for k in range(3)], 1)
    return replace(found, splits={"test": replace(test, experts=experts, logits=experts.mean(1))})


@pytest.mark.reference
def test_experts_are_measured_one_by_one():
    evaluations = [evaluate(with_experts(seed), "test") for seed in range(2)]
    (sheet,) = summarise([Measured("ride", evaluations), Measured("ce", [evaluate(predictions(0, {}), "test")] * 2)]).sheets
    assert list(sheet.rows) == ["ride, expert 1", "ride, expert 2", "ride, expert 3"]
    for expert in range(3):
        shares = []
        for seed in range(2):
            test = with_experts(seed).split("test")
            right = test.experts[:, expert].argmax(1) == test.labels
            shares.append(np.mean([right[test.labels == label].mean() for label in range(4)]))
        assert sheet.rows[f"ride, expert {expert + 1}"]["macro"].mean == pytest.approx(np.mean(shares), abs=1e-12)
    few = evaluations[0].members["few"]
    assert sheet.rows["ride, expert 1"]["few"].images == sum(result.n for result in evaluations[0].per_class if result.label in few)


def test_experts_of_one_network_stand_once():
    networks = {"ride": 0, "ride, calibrated": 0, "sade": 1}
    rows = [Measured(name, [evaluate(replace(with_experts(seed), levels={}), "test")]) for name, seed in networks.items()]
    (sheet,) = summarise(rows).sheets
    assert [name.partition(", expert")[0] for name in sheet.rows] == ["ride"] * 3 + ["sade"] * 3


def test_experts_are_stored_and_pooled(tmp_path):
    found = with_experts(1)
    found.save(tmp_path / "p")
    np.testing.assert_array_equal(Predictions.load(tmp_path / "p").split("test").experts, found.split("test").experts)
    test = found.split("test")
    halves = []
    for rows in (np.arange(33) % 2 == 1, np.arange(33) % 2 == 0):
        ids = tuple(id_ for id_, mine in zip(test.ids, rows, strict=True) if mine)
        part = SplitPredictions(ids, test.labels[rows], test.logits[rows], experts=test.experts[rows])
        halves.append(replace(found, splits={"test": part}))
    by_id = sorted(range(33), key=test.ids.__getitem__)
    np.testing.assert_array_equal(pool(halves).split("test").experts, test.experts[by_id])
    with pytest.raises(BadData, match="experts must have shape"):
        replace(test, experts=test.experts[..., :2])


def test_views_are_stored_and_pooled_where_all_folds_have_them(tmp_path):
    found = predictions(1)
    test = replace(found.split("test"), views=np.stack([found.split("test").logits * k for k in (2, 3)], 1))
    whole = replace(found, splits={"test": test})
    whole.save(tmp_path / "p")
    np.testing.assert_array_equal(Predictions.load(tmp_path / "p").split("test").views, test.views)
    by_id = sorted(range(test.images), key=test.ids.__getitem__)
    np.testing.assert_array_equal(pool([whole]).split("test").views, test.views[by_id])
    other = SplitPredictions(tuple(f"other-{id_}" for id_ in test.ids), test.labels, test.logits)
    assert pool([whole, replace(whole, splits={"test": other})]).split("test").views is None
    with pytest.raises(BadData, match="views must have shape"):
        replace(test, views=test.views[:3])


def test_tables_show_themselves_in_a_notebook_and_names_stay_text():
    name = "<script>alert(1)</script>"
    page = summarise([Measured(name, [evaluate(predictions(0), "test")])])._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<th style=" in page
    assert "genus" in page
