"""Logits and probabilities of models trained elsewhere, corrected for the tail."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.errors import BadData, BadValue
from tailwise.posthoc import adjust_logits
from tailwise.posthoc.foreign import adjust

COUNTS = (500, 200, 60, 30, 9, 1)


def made(seed: int, rows: int = 40, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3, size=(rows, len(COUNTS))).astype(dtype)


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.reference
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_equals_the_formula_entry_by_entry(tau):
    logits = made(0)
    found = adjust(logits, COUNTS, tau).logits
    for row in range(len(logits)):
        for label, n in enumerate(COUNTS):
            assert found[row, label] == pytest.approx(logits[row, label] - tau * math.log(n / sum(COUNTS)))


@pytest.mark.reference
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
@given(seed=st.integers(0, 500))
def test_probabilities_are_divided_by_the_prior(seed, tau):
    """p / prior ** tau, made to add up to 1 again: the posterior under balanced classes for tau = 1."""
    shares = softmax(made(seed, 5))
    found = adjust(shares, COUNTS, tau)
    expected = shares / (np.array(COUNTS) / sum(COUNTS)) ** tau
    assert found.took_log
    np.testing.assert_allclose(softmax(found.logits), expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_probabilities_answer_as_their_logits_do_in_every_precision(dtype):
    logits = made(1, 200)
    from_logits, from_shares = adjust(logits, COUNTS), adjust(softmax(logits).astype(dtype), COUNTS)
    assert from_shares.took_log
    assert not from_logits.took_log
    assert from_shares.logits.dtype == dtype
    near = np.sort(from_logits.logits, axis=1)
    is_clear = near[:, -1] - near[:, -2] > 0.05
    np.testing.assert_array_equal(from_shares.answers[is_clear], from_logits.answers[is_clear])


def test_by_hand_who_moved_where():
    """Counts 200, 50, 2 gain 0.23, 1.62 and 4.84 at tau 1: the second row goes to few, the third to medium, the first stays."""
    logits = np.array([[9.0, 0.0, 0.0], [4.0, 0.0, 0.0], [1.0, 0.0, -4.0]])
    found = adjust(logits, (200, 50, 2))
    assert found.answers_before.tolist() == [0, 0, 0]
    assert found.answers.tolist() == [0, 2, 1]
    assert found.changed == 2
    moved = {name: (part.classes, part.before, part.after, part.moved_to) for name, part in found.moved.items()}
    assert moved == {"many": (1, 3, 1, 0), "medium": (1, 0, 1, 1), "few": (1, 0, 1, 1)}
    assert "2 rows changed" in repr(found)


def test_zero_probabilities_become_finite_lose_to_all_others_and_keep_their_order():
    shares = np.array([[1 - 1e-30, 1e-30, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]])
    for tau in (0.0, 1.0, 30.0):
        found = adjust(shares, COUNTS, tau)
        assert np.isfinite(found.logits).all()
        positive = found.logits[shares > 0]
        assert found.logits[shares == 0].max() < positive.min()
        gained = np.array([-tau * math.log(n / sum(COUNTS)) for n in COUNTS])
        np.testing.assert_allclose(np.diff(found.logits[0, 2:]), np.diff(gained[2:]), atol=1e-9)


def test_a_certain_answer_stays_however_rare_the_others_are():
    found = adjust(np.eye(6, dtype=np.float16), COUNTS, tau=3.0)
    assert found.took_log
    assert found.changed == 0
    assert found.logits.dtype == np.float16


@pytest.mark.parametrize(
    ("rows", "is_log_taken"),
    [
        ([[0.5, 0.5], [0.25, 0.75]], True),
        ([[0.5, 0.5009], [1.0, 0.0]], True),
        ([[0.5, 0.5], [0.5, 0.502]], False),  # one row that does not add up
        ([[0.5, 0.5], [-0.5, 1.5]], False),  # adds up, but is no probability
        ([[1, 0], [0, 1]], True),
        ([[2, 0], [0, 1]], False),
    ],
)
def test_probabilities_are_recognised_by_all_their_rows(rows, is_log_taken):
    assert adjust(np.array(rows), (3, 1)).took_log is is_log_taken


@pytest.mark.parametrize(("given_dtype", "kept"), [("float16", "float16"), ("float32", "float32"), ("int64", "float64"), (">f4", ">f4")])
def test_dtypes_are_kept_and_the_input_is_not_changed(given_dtype, kept):
    logits = (10 * made(2)).round().astype(given_dtype)
    before = logits.copy()
    found = adjust(logits, COUNTS)
    assert found.logits.dtype == np.dtype(kept)
    np.testing.assert_array_equal(logits, before)
    np.testing.assert_allclose(found.logits, adjust_logits(before.astype(np.float64), COUNTS), rtol=2e-3, atol=1e-3)


@pytest.mark.limit
def test_zero_tau_and_equal_counts_change_no_answer():
    assert adjust(made(3), COUNTS, tau=0).changed == 0
    assert adjust(made(3), (7,) * 6, tau=2).changed == 0


def test_a_class_without_images_gains_nothing():
    logits = made(4)
    found = adjust(logits, (500, 200, 60, 30, 9, 0))
    np.testing.assert_array_equal(found.logits[:, 5], logits[:, 5])
    assert found.to_dict()["classes_without_images"] == 1


def test_the_record_is_plain_json():
    plain = adjust(made(5), np.array(COUNTS), tau=1).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["schema"] == "tailwise.adjustment/1"
    assert sum(group["after"] for group in plain["groups"].values()) == plain["images"] == 40
    assert sum(group["moved_to"] for group in plain["groups"].values()) == plain["changed"]


@pytest.mark.parametrize(
    ("logits", "counts", "tau", "error", "message"),
    [
        (np.zeros(3), (2, 1, 1), 1, BadData, r"shape \(3,\), expected \(images, classes\)"),
        (np.zeros((2, 2, 2)), (2, 1), 1, BadData, r"shape \(2, 2, 2\)"),
        (np.zeros((0, 2)), (2, 1), 1, BadData, "at least one of each"),
        (np.zeros((1, 3)), (2, 1), 1, BadData, "2 counts for logits of 3 classes"),
        (np.array([[1.0, 2.0], [np.nan, 0.0], [np.inf, 0.0]]), (2, 1), 1, BadData, "in 2 rows, the first is row 1"),
        (np.array([["a", "b"]]), (2, 1), 1, BadData, "expected numbers"),
        (np.array([[None, 1]]), (2, 1), 1, BadData, "expected numbers"),
        (np.array([[1j, 1]]), (2, 1), 1, BadData, "expected numbers"),
        (np.array([[True, False]]), (2, 1), 1, BadData, "expected numbers"),
        (np.zeros((1, 2)), (2, -1), 1, BadData, "label 1 has -1"),
        (np.zeros((1, 2)), (0, 0), 1, BadData, "no class has images"),
        (np.zeros((1, 2)), ("2", "1"), 1, BadData, "label 0 has '2'"),
        (np.zeros((1, 2)), (2, 1), -1, BadValue, "tau is a number from 0, got -1"),
        (np.zeros((1, 2)), (2, 1), math.nan, BadValue, "tau is a number from 0"),
        (np.zeros((1, 2)), (2, 1), "val", BadValue, "tau is a number from 0, got 'val'"),
        (np.zeros((1, 2), np.float16), (2, 1), 1e6, BadValue, "beyond float16"),
    ],
)
def test_what_cannot_be_corrected_is_refused_in_one_line(logits, counts, tau, error, message):
    with pytest.raises(error, match=message) as caught:
        adjust(logits, counts, tau)
    assert "\n" not in str(caught.value)
