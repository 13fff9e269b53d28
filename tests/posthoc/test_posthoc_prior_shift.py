"""Logits moved from the prior that they carry to the one that is expected."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.errors import BadData, BadValue, UnknownName
from tailwise.posthoc import adjust_logits, expected_prior, shift_logits

COUNTS = (500, 100, 20, 4)
LOGITS = np.random.default_rng(0).normal(size=(30, 4)) * 3
EXPECTED = (0.1, 0.2, 0.3, 0.4)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# --- the shift ----------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_equals_the_formula_in_a_plain_loop(temperature):
    """Posterior times q over pi, made to add up to 1 again: Bayes' rule, row by row."""
    found = softmax(shift_logits(LOGITS, COUNTS, EXPECTED, temperature))
    for row, shares in zip(LOGITS.tolist(), found, strict=True):
        odds = [math.exp(z / temperature) * q / (n / sum(COUNTS)) for z, q, n in zip(row, EXPECTED, COUNTS, strict=True)]
        np.testing.assert_allclose(shares, [one / sum(odds) for one in odds], rtol=1e-10)


@pytest.mark.reference
def test_probabilities_equal_uno_ic_towards_any_prior():
    """p^(1 - b) (p q / pi)^b, normalised (Tian et al. 2020) at b = 1."""
    shares = softmax(LOGITS)
    moved = shares * np.array(EXPECTED) / (np.array(COUNTS) / sum(COUNTS))
    found = softmax(shift_logits(np.log(shares), COUNTS, EXPECTED))
    np.testing.assert_allclose(found, moved / moved.sum(axis=1, keepdims=True), rtol=1e-10)


@pytest.mark.limit
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("counts", [COUNTS, (500, 0, 20, 4)])
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_a_uniform_prior_is_post_hoc_logit_adjustment_to_the_bit(dtype, counts, tau):
    logits = LOGITS.astype(dtype)
    found = shift_logits(logits, counts, expected_prior("uniform", counts), tau=tau)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, adjust_logits(logits, counts, tau))


@pytest.mark.limit
@given(seed=st.integers(0, 300))
def test_the_training_prior_leaves_the_scores_of_cross_entropy(seed):
    logits = np.random.default_rng(seed).normal(size=(5, 4)) * 4
    found = shift_logits(logits, COUNTS, expected_prior("train", COUNTS))
    np.testing.assert_array_equal(found.argmax(1), logits.argmax(1))
    np.testing.assert_allclose(softmax(found), softmax(logits), rtol=1e-9)


@pytest.mark.limit
def test_scale_first_then_shift_is_not_shift_first_then_scale():
    found = shift_logits(LOGITS, COUNTS, EXPECTED, temperature=3.0)
    np.testing.assert_allclose(softmax(found), softmax(shift_logits(LOGITS / 3.0, COUNTS, EXPECTED)), rtol=1e-10)
    other = shift_logits(LOGITS, COUNTS, EXPECTED) / 3.0
    assert np.abs(softmax(found) - softmax(other)).max() > 0.1
    assert (found.argmax(1) != other.argmax(1)).any()


@pytest.mark.limit
def test_there_and_back_again():
    there = shift_logits(LOGITS, COUNTS, EXPECTED)
    np.testing.assert_allclose(softmax(shift_logits(there, EXPECTED, COUNTS)), softmax(LOGITS), rtol=1e-9)


def test_answers_are_best_under_the_prior_that_was_expected():
    """Two unit Gaussians, posterior under 9 : 1; under 1 : 9 the best threshold moves to where 2x = -log 9."""
    points = np.linspace(-3, 3, 31)
    plain = np.stack([np.zeros_like(points), 2 * points - math.log(9)], axis=1)
    np.testing.assert_array_equal(shift_logits(plain, [9, 1], [1, 9]).argmax(1), points > -math.log(9) / 2)


@given(order=st.permutations(range(4)), temperature=st.floats(0.1, 10))
def test_permuting_classes_permutes_the_answer(order, temperature):
    counts, expected = np.array([500, 100, 0, 4]), np.array([0.5, 0.3, 0.2, 0.0])
    found = shift_logits(LOGITS[:, order], counts[order], expected[order], temperature)
    np.testing.assert_allclose(found, shift_logits(LOGITS, counts, expected, temperature)[:, order], rtol=1e-9)


# --- priors of zero -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_class_that_is_not_expected_never_wins_and_has_no_share(dtype, scale):
    logits = (scale * np.array([[0.0, 1.0, -1.0, 0.5], [1.0, -1.0, 0.0, 0.2]])).astype(dtype)
    found = shift_logits(logits, np.ones(4), [0, 0.5, 0, 0.5])
    assert np.isfinite(found).all()
    assert found.dtype == dtype
    assert found.argmax(1).tolist() == [1, 3]
    assert (found[:, [0, 2]].max(1) < found[:, [1, 3]].min(1)).all()
    assert softmax(found)[:, [0, 2]].max() == 0


def test_one_expected_class_is_certain():
    assert softmax(shift_logits(LOGITS, COUNTS, [0, 0, 1, 0]))[:, 2].min() == 1.0


def test_a_class_without_training_images_gains_nothing_from_the_prior_that_is_taken_out():
    found = shift_logits(LOGITS, (500, 0, 20, 4), [1, 1, 1, 1])
    np.testing.assert_array_equal(found[:, 1], LOGITS[:, 1])
    np.testing.assert_allclose(found[:, 0] - LOGITS[:, 0], math.log(524 / 500), rtol=1e-9)


def test_the_callers_array_stays():
    logits = LOGITS.copy()
    shift_logits(logits, COUNTS, [0, 1, 1, 1], 2.0)
    np.testing.assert_array_equal(logits, LOGITS)
    assert shift_logits([[1, 2, 3, 4]], COUNTS, EXPECTED).dtype == np.float64


# --- what is expected ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "counts", "shares"),
    [
        ("train", (6, 3, 1), (0.6, 0.3, 0.1)),
        ("uniform", (6, 3, 1, 0), (0.25,) * 4),
        ("reversed", (6, 3, 1), (0.1, 0.3, 0.6)),
        ("reversed", (3, 1, 6), (0.3, 0.6, 0.1)),
        ("reversed", (5, 5, 1, 9), (0.25, 0.25, 0.45, 0.05)),  # falling: 9, 5 (label 0), 5 (label 1), 1
        ("reversed", (4, 4, 2), (0.2, 0.4, 0.4)),  # of equal ones the lower label counts as the more frequent
        ("reversed", (6, 0, 4), (0.4, 0.0, 0.6)),  # nobody expects what was never there
        ([2, 0, 6], (6, 3, 1), (0.25, 0.0, 0.75)),
        ((0.5, 0.25, 0.25), (6, 3, 1), (0.5, 0.25, 0.25)),
        (np.array([1e300, 1e300, 2e300]), (6, 3, 1), (0.25, 0.25, 0.5)),
    ],
)
def test_by_hand(expected, counts, shares):
    np.testing.assert_allclose(expected_prior(expected, counts), shares, rtol=1e-12)


@given(counts=st.lists(st.integers(0, 9), min_size=2, max_size=8).filter(any))
def test_reversed_twice_is_the_training_prior_up_to_ties(counts):
    shares = expected_prior("reversed", counts)
    assert sorted(shares) == pytest.approx(sorted(expected_prior("train", counts)))
    for a, b in zip(range(len(counts)), range(1, len(counts)), strict=False):
        if counts[a] > counts[b] > 0:
            assert shares[a] <= shares[b]


@pytest.mark.parametrize(
    ("expected", "error", "message"),
    [
        ("unifrm", UnknownName, "Did you mean 'uniform'"),
        ([1, 2], BadData, "of 2 classes where there are 3"),
        ([1, 2, -1], BadData, "label 2 has -1"),
        ([1, 2, math.nan], BadData, "label 2 has nan"),
        ([1, 2, math.inf], BadData, "label 2 has inf"),
        ([1, 10**400, 1], BadData, "label 1 has 1000"),
        ([1, True, 1], BadData, "label 1 has True"),
        ([1, "2", 1], BadData, "label 1 has '2'"),
        ([0, 0, 0], BadData, "no class is expected"),
        ([], BadData, "there are no numbers"),
    ],
)
def test_what_is_no_prior_is_refused_in_one_line(expected, error, message):
    with pytest.raises(error, match=message) as caught:
        expected_prior(expected, (6, 3, 1))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_shifted_is_refused():
    with pytest.raises(BadData, match="3 classes for logits of 4"):
        shift_logits(LOGITS, COUNTS, [1, 1, 1])
    with pytest.raises(BadData, match="3 counts for logits"):
        shift_logits(LOGITS, [1, 1, 1], COUNTS)
    for temperature in (0, -1, math.nan, "val"):
        with pytest.raises(BadValue, match="temperature"):
            shift_logits(LOGITS, COUNTS, EXPECTED, temperature)
    with pytest.raises(BadValue, match="beyond float16"):
        shift_logits(np.full((1, 4), 6e4, np.float16), COUNTS, EXPECTED, 0.01)
