"""What figures are drawn from: equal to plain loops over the answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from made_pages import make_content
from tailwise.pages.content import BINS, FILLED, smoothed
from tailwise.pages.figures import figures


@pytest.fixture(scope="module")
def content():
    return make_content(per_class=30)


def answers_of(content, row):
    return [evaluation.answers for evaluation in content.rows[row].measured.evaluations]


@pytest.mark.reference
def test_accuracies_are_means_over_seeds(content):
    found = content.rows["method 2"].accuracies
    for label in range(12):
        shares = [
            np.mean([p == y for p, y in zip(a.predicted, a.labels, strict=True) if y == label]) for a in answers_of(content, "method 2")
        ]
        assert found[label] == pytest.approx(np.mean(shares), rel=1e-12)


@pytest.mark.reference
def test_confusions_are_the_shares_of_the_true_class(content):
    found = content.confusions("ce", worst=5)
    assert [pair.share for pair in found] == sorted((pair.share for pair in found), reverse=True)
    for pair in found:
        wrong = sum(
            int(y == pair.truth and p == pair.answer) for a in answers_of(content, "ce") for y, p in zip(a.labels, a.predicted, strict=True)
        )
        assert pair.share == pytest.approx(wrong / (2 * 30), rel=1e-12)
        assert pair.truth != pair.answer
    assert pair.images == 30


def test_classes_of_few_images_are_no_confusions_while_others_have_enough():
    few = make_content(per_class=3)
    assert all(pair.images == 3 for pair in few.confusions("ce"))
    assert few.confusions("ce")


@pytest.mark.reference
def test_reliability_is_accuracy_in_bins_of_confidence(content):
    found = {(group, round(sure, 9)): (right, images) for group, sure, right, images in content.reliability("ce")}
    rows = [
        (content.group_of[y], c, y == p)
        for a in answers_of(content, "ce")
        for y, p, c in zip(a.labels, a.predicted, a.confidence, strict=True)
    ]
    wanted = {}
    for group in ("many", "medium", "few"):
        for number in range(BINS):
            here = [(c, ok) for g, c, ok in rows if g == group and min(int(c * BINS), BINS - 1) == number]
            if len(here) >= FILLED:
                wanted[group, round(np.mean([c for c, _ in here]), 9)] = (pytest.approx(np.mean([ok for _, ok in here])), len(here))
    assert found == wanted
    assert len(wanted) > 5


@pytest.mark.reference
def test_the_smooth_line_is_a_weighted_mean_on_the_logarithm():
    counts, values = np.array([500, 80, 80, 3, 1]), np.array([0.9, np.nan, 0.5, 0.2, 0.1])
    line = smoothed(counts, values, points=7)
    assert line[0][0] == pytest.approx(1)
    assert line[-1][0] == pytest.approx(500)
    width = math.log(500) / 8
    known = [(math.log(n), v) for n, v in zip(counts, values, strict=True) if not math.isnan(v)]
    for at, mean in line:
        weights = [math.exp(-(((math.log(at) - n) / width) ** 2) / 2) for n, _ in known]
        assert mean == pytest.approx(sum(w * v for w, (_, v) in zip(weights, known, strict=True)) / sum(weights))


@pytest.mark.limit
def test_a_line_through_equal_values_is_level_and_classes_alike_have_none():
    assert all(mean == pytest.approx(0.4) for _, mean in smoothed(np.array([1, 10, 100]), np.full(3, 0.4)))
    assert smoothed(np.array([5, 5]), np.array([0.1, 0.9])) == []
    assert smoothed(np.array([5, 0]), np.array([np.nan, np.nan])) == []


def test_later_stages_are_counted_on(content):
    assert [(epoch, stage) for epoch, _, stage in content.curves("ce")] == [(1, "train"), (2, "train"), (3, "train"), (4, "train")]
    assert content.curves("ce")[1][1] == 1.0


def test_all_figures_are_there_and_name_every_row(content):
    made = figures(content)
    assert list(made) == ["frequency", "accuracy", "groups", "front", "differences", "shift", "reliability", "curves"]
    for name in ("accuracy", "groups", "front", "shift", "reliability", "curves"):
        text = made[name].to_json()
        assert all(f'"{row}"' in text for row in content.rows), name
    assert '"ce"' not in made["differences"].to_json()  # it is what the others are held against


def test_one_row_has_no_differences():
    assert "differences" not in figures(make_content(rows=1))
