from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.counts import ClassCounts
from tailwise.errors import BadData, BadValue
from tailwise.evaluation import Predictions, SplitPredictions, calibration_error, evaluate
from tailwise.evaluation.calibration import BINS
from tailwise.groups import make_groups


def slow_error(labels, logits, bins):
    """Guo et al., equation 5, image by image: bins ((b - 1) / bins, b / bins], softmax by its formula."""
    found = []
    for label, row in zip(labels, logits, strict=True):
        exponentials = [math.exp(float(z)) for z in row]
        shares = [e / math.fsum(exponentials) for e in exponentials]
        answer = max(range(len(row)), key=lambda c: (row[c], -c))
        found.append((shares[answer], answer == label))
    total = 0.0
    for b in range(1, bins + 1):
        inside = [(share, right) for share, right in found if (b - 1) / bins < share <= b / bins]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = math.fsum(share for share, _ in inside) / len(inside)
            total += len(inside) / len(found) * abs(accuracy - confidence)
    return total


@pytest.mark.reference
@pytest.mark.parametrize("bins", [1, 2, 10, BINS])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_formula_image_by_image(seed, bins):
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3, size=(200, 4 + seed))
    labels = random.integers(0, 4 + seed, 200)
    assert calibration_error(labels, logits, 4 + seed, bins) == pytest.approx(slow_error(labels, logits, bins), abs=1e-12)


def with_confidence(*shares: float) -> np.ndarray:
    """Rows of two logits whose first class has such a probability."""
    return np.log([[share, 1 - share] for share in shares])


def test_by_hand_surplus_and_want_of_confidence_do_not_cancel_between_bins():
    """Bin of 0.9: accuracy 1/2, gap 0.4. Bin of 0.6: accuracy 1, gap 0.4. Mean 0.4, and not |3/4 - 0.75| = 0."""
    assert calibration_error([0, 1, 0, 0], with_confidence(0.9, 0.9, 0.6, 0.6), 2) == pytest.approx(0.4)
    assert calibration_error([0, 1, 0, 0], with_confidence(0.9, 0.9, 0.6, 0.6), 2, bins=1) == pytest.approx(0)


def test_by_hand_within_a_bin_they_do_cancel():
    """0.81 and 0.85 share the bin (12/15, 13/15]: accuracy 1/2, mean confidence 0.83."""
    assert calibration_error([0, 1], with_confidence(0.81, 0.85), 2) == pytest.approx(0.33)
    assert calibration_error([0, 1], with_confidence(0.79, 0.81), 2) == pytest.approx((0.21 + 0.81) / 2)


def test_an_edge_belongs_to_the_bin_below_it():
    """With two classes, equal logits have confidence 1/2: of two bins in the lower one, alone; 0.6 lies in the upper one."""
    logits = np.array([[0.0, 0.0], *with_confidence(0.6)])
    assert calibration_error([0, 1], logits, 2, bins=2) == pytest.approx((0.5 + 0.6) / 2)


def test_certain_and_right_is_perfect_and_certain_and_wrong_is_the_worst():
    logits = 1e4 * np.eye(3)
    assert calibration_error([0, 1, 2], logits, 3) == 0
    assert calibration_error([1, 2, 0], logits, 3) == 1


@given(st.integers(0, 1000), st.floats(-500, 500))
def test_neither_the_order_of_images_nor_a_constant_changes_it(seed, constant):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(scale=2, size=(40, 3)).astype(np.float32), random.integers(0, 3, 40)
    order = random.permutation(40)
    found = calibration_error(labels, logits, 3)
    assert calibration_error(labels[order], logits[order], 3) == found
    assert calibration_error(labels, logits.astype(np.float64) + constant, 3) == pytest.approx(found, abs=1e-9)


def test_a_model_that_knows_its_chances_is_calibrated():
    """True labels drawn from the softmax itself: the error is noise of the order of sqrt(bins / images)."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=2, size=(40_000, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (random.random((40_000, 1)) > shares.cumsum(1)).sum(1).clip(max=2)
    assert calibration_error(labels, logits, 3) < 0.015
    assert calibration_error(labels, 3 * logits, 3) > 0.08


def test_without_images_nothing_is_defined():
    assert calibration_error(np.zeros(0, int), np.zeros((0, 3)), 3) is None


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        ([0], [[np.inf, 0.0]], "finite logits"),
        ([0], [[np.nan, 0.0]], "finite logits"),
        ([0, 1], [0, 1], r"got shape \(2,\)"),
        ([0, 1], [[0.0, 1.0]], "2 labels for 1"),
        ([2], [[0.0, 1.0]], r"labels must be 0\.\.1"),
        ([0], [[0.0, 1.0, 2.0]], "do not fit 2 classes"),
    ],
)
def test_what_cannot_be_is_refused(labels, logits, message):
    with pytest.raises(BadData, match=message):
        calibration_error(labels, logits, 2)


def test_no_bins_are_refused():
    with pytest.raises(BadValue, match="from 1"):
        calibration_error([0], [[0.0, 1.0]], 2, bins=0)


def test_evaluate_says_the_same_as_the_metric():
    random = np.random.default_rng(3)
    labels, logits = random.integers(0, 4, 90), random.normal(scale=2, size=(90, 4)).astype(np.float32)
    counts = ClassCounts((300, 120, 50, 7))
    test = SplitPredictions(tuple(map(str, range(90))), labels, logits)
    found = evaluate(Predictions({"test": test}, ("a", "b", "c", "d"), counts, make_groups(counts.real), ""), "test")
    assert found.ece == pytest.approx(slow_error(labels, logits, 15), abs=1e-12)
    many = labels < 2
    assert found.groups["many"].ece == pytest.approx(slow_error(labels[many], logits[many], 15), abs=1e-12)
