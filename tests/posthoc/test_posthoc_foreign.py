"""Logits and probabilities of models trained elsewhere, corrected for the tail."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.errors import BadData, BadValue, UnknownName
from tailwise.posthoc import adjust_logits, expected_prior, fit_temperature, shift_logits
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


# --- what is expected at test -------------------------------------------------------------------------------------------


@pytest.mark.limit
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0])
def test_without_new_words_every_bit_is_that_of_logit_adjustment(dtype, tau):
    logits = (4 * made(6)).astype(dtype)
    for counts in (COUNTS, (500, 200, 0, 30, 9, 1)):
        found = adjust(logits, counts, tau)
        np.testing.assert_array_equal(found.logits, adjust_logits(logits, counts, tau))
        assert (found.test_prior, found.temperature, found.val_images) == ("uniform", 1.0, 0)
        assert "not calibrated" in found.sentence
        assert "prior" not in repr(found)


@pytest.mark.limit
def test_the_training_prior_at_full_strength_changes_no_answer():
    found = adjust(made(7), COUNTS, test_prior="train")
    assert found.changed == 0
    np.testing.assert_allclose(softmax(found.logits), softmax(made(7)), rtol=1e-9)
    assert found.expected == pytest.approx([n / sum(COUNTS) for n in COUNTS])


@pytest.mark.reference
@pytest.mark.parametrize("expected", ["reversed", (1, 2, 3, 4, 0.5, 7)])
def test_probabilities_are_moved_to_the_prior_that_is_expected(expected):
    shares = softmax(made(8))
    q = expected_prior(expected, COUNTS)
    moved = shares * q / (np.array(COUNTS) / sum(COUNTS))
    found = adjust(shares, COUNTS, test_prior=expected)
    np.testing.assert_allclose(softmax(found.logits), moved / moved.sum(axis=1, keepdims=True), rtol=1e-9)
    assert f"test prior {expected if isinstance(expected, str) else 'given'}" in repr(found)


def test_zero_probabilities_stay_below_all_others_at_every_temperature():
    val = np.tile(softmax(5 * made(9, 6)), (40, 1))
    labels = np.random.default_rng(0).integers(0, 6, size=len(val))  # knows nothing, so T is large
    shares = np.array([[1 - 1e-30, 1e-30, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]])
    found = adjust(shares, COUNTS, val_logits=val, val_labels=labels)
    assert found.temperature > 3
    assert found.logits[shares == 0].max() < found.logits[shares > 0].min()


def test_a_temperature_is_fitted_on_val_with_the_prior_that_the_logits_carry():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 6, size=3000)  # even, where the logits carry the training prior
    val = 2 * (rng.normal(size=(3000, 6)) + 2 * np.eye(6)[labels]) + np.log(COUNTS)
    found = adjust(3 * made(11), COUNTS, test_prior="reversed", val_logits=3 * val, val_labels=labels)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.temperature == fit_temperature(3 * val, labels, COUNTS).temperature
    assert found.val_images == 3000
    assert "n = 3,000" in found.sentence
    assert f"temperature {found.temperature:.2f}" in repr(found)
    by_hand = shift_logits(3 * made(11), COUNTS, expected_prior("reversed", COUNTS), found.temperature)
    np.testing.assert_array_equal(found.logits, by_hand)
    from_shares = adjust(softmax(3 * made(11)), COUNTS, test_prior="reversed", val_logits=softmax(3 * val), val_labels=labels)
    assert from_shares.temperature == pytest.approx(found.temperature, rel=1e-6)
    np.testing.assert_array_equal(from_shares.answers, found.answers)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"test_prior": "even"}, UnknownName, "test prior"),
        ({"test_prior": [1, 2]}, BadData, "of 2 classes where there are 6"),
        ({"val_logits": made(0)}, BadValue, "val labels are missing"),
        ({"val_labels": [0]}, BadValue, "val logits are missing"),
        ({"val_logits": made(0)[:, :5], "val_labels": np.zeros(40, int)}, BadData, "val logits have 5 classes"),
        ({"val_logits": made(0), "val_labels": np.zeros(3, int)}, BadData, "labels must have shape"),
        ({"val_logits": made(0), "val_labels": np.full(40, 6)}, BadData, "labels must be"),
        ({"val_logits": made(0) * np.nan, "val_labels": np.zeros(40, int)}, BadData, "val logits have NaN"),
        ({"val_logits": softmax(made(0)), "val_labels": np.zeros(40, int)}, BadData, "val logits are .* give both alike|give both alike"),
    ],
)
def test_priors_and_val_rows_that_do_not_fit_are_refused_in_one_line(words, error, message):
    with pytest.raises(error, match=message) as caught:
        adjust(made(0), COUNTS, **words)
    assert "\n" not in str(caught.value)


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


@pytest.mark.limit
def test_a_class_that_no_row_gives_any_probability_gets_none_of_the_estimated_prior():
    """Zero is no evidence, however rare the class was in training."""
    rows = np.array([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0]])
    found, without = adjust(rows, [50, 10, 1], test_prior="estimated"), adjust(rows[:, :2], [50, 10], test_prior="estimated")
    np.testing.assert_allclose(found.expected, (*without.expected, 0.0), atol=1e-9)
    np.testing.assert_array_equal(found.answers, without.answers)
