"""Temperature scaling: scores as sure as they are right, answers as they were."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from tailwise.errors import BadData, BadValue
from tailwise.evaluation import calibration_error
from tailwise.posthoc import Scores, Temperature, fit_temperature
from tailwise.posthoc.temperature import HIGHEST, LOWEST

LEFT = np.array([0.7, 0.2, 0.08, 0.02])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def draw(planted: float, rows: int, prior: np.ndarray = LEFT, seed: int = 0, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Rows of four Gaussian classes drawn by `prior`, and logits that are `planted` times their log posterior under `LEFT`."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, size=rows, p=prior)
    centres = spread * np.eye(4)
    points = centres[labels] + rng.normal(size=(rows, 4))
    likelihood = -0.5 * ((points[:, None] - centres) ** 2).sum(axis=2)
    return planted * (likelihood + np.log(LEFT)), labels


def slow_loss(temperature: float, logits: np.ndarray, labels: np.ndarray, left: np.ndarray) -> float:
    """Mean of -log softmax(z / T - log left + log v) of the label, row by row; v are the shares of the labels."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        moved = {}
        for c, z in enumerate(row):
            images = sum(int(other == c) for other in labels.tolist())
            if images and left[c] > 0:
                moved[c] = z / temperature - math.log(left[c]) + math.log(images / len(labels))
        total += math.log(sum(math.exp(value - moved[label]) for value in moved.values()))
    return total / len(labels)


# --- what it finds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", [0.4, 1.0, 3.0])
def test_recovers_the_temperature_that_was_planted(planted):
    """Standard error of log T on 8,000 rows: about two percent."""
    fitted = fit_temperature(*draw(planted, 8000), LEFT)
    assert fitted.temperature == pytest.approx(planted, rel=0.06)
    assert fitted.images == 8000
    assert fitted.sentence == f"temperature {fitted.temperature:.2f} fitted on val (n = 8,000)"


@pytest.mark.parametrize("planted", [0.5, 1.0, 2.0])
def test_a_difference_of_priors_does_not_bend_it(planted):
    """Labels drawn evenly and reversed, logits with the training prior: without the shift T would be far off."""
    for prior in (np.full(4, 0.25), LEFT[::-1]):
        logits, labels = draw(planted, 8000, prior, seed=1)
        assert fit_temperature(logits, labels, LEFT).temperature == pytest.approx(planted, rel=0.06)
        assert fit_temperature(logits, labels).temperature > 1.3 * planted


@pytest.mark.reference
@pytest.mark.parametrize("left", [LEFT, np.array([0.5, 0.0, 0.3, 0.2])])
@pytest.mark.parametrize("absent", [None, 2])
def test_equals_the_slow_minimum(left, absent):
    logits, labels = draw(2.0, 60, np.full(4, 0.25), seed=3, spread=1.0)
    keep = labels != absent
    logits, labels = logits[keep], labels[keep]
    used = left[labels] > 0
    reference = minimize_scalar(
        lambda log_t: slow_loss(math.exp(log_t), logits[used], labels[used], left),
        bounds=(-3, 3),
        method="bounded",
        options={"xatol": 1e-8},
    )
    fitted = fit_temperature(logits, labels, left)
    assert fitted.temperature == pytest.approx(math.exp(reference.x), rel=1e-5)
    assert fitted.images == used.sum()


def test_the_shift_comes_after_the_scale():
    """Fitting on logits that were shifted before gives another temperature, and worse scores."""
    logits, labels = draw(3.0, 6000, np.full(4, 0.25), seed=4)
    shifted_first = fit_temperature(logits - np.log(LEFT), labels, np.ones(4)).temperature
    fitted = fit_temperature(logits, labels, LEFT).temperature
    assert abs(shifted_first - fitted) > 0.2
    loss = slow_loss(fitted, logits[:300], labels[:300], LEFT)
    assert loss < slow_loss(shifted_first, logits[:300] - np.log(LEFT), labels[:300], np.full(4, 0.25))


def test_scores_become_calibrated_on_other_images():
    part, _ = Temperature(left=tuple(LEFT)).fit(Scores(*draw(4.0, 3000, seed=5)))
    logits, labels = draw(4.0, 6000, seed=6)
    assert calibration_error(labels, logits, 4) > 0.1
    assert calibration_error(labels, part.apply(Scores(logits)), 4) < 0.025


# --- what it leaves -----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 200), temperature=st.floats(0.01, 100))
def test_no_answer_changes(seed, temperature):
    logits = np.random.default_rng(seed).normal(scale=5, size=(20, 6))
    np.testing.assert_array_equal(Temperature(temperature=temperature).apply(Scores(logits)).argmax(1), logits.argmax(1))


@pytest.mark.limit
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_temperature_of_one_keeps_every_bit_and_the_dtype(dtype):
    logits = draw(1.0, 50)[0].astype(dtype)
    found = Temperature(temperature=1.0).apply(Scores(logits))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, logits)


def test_only_ratios_of_the_prior_matter_and_the_order_of_classes_does_not():
    logits, labels = draw(2.0, 300)
    fitted = fit_temperature(logits, labels, LEFT).temperature
    assert fit_temperature(logits, labels, 1000 * LEFT).temperature == pytest.approx(fitted, rel=1e-9)
    order = np.array([2, 0, 3, 1])
    assert fit_temperature(logits[:, order], np.argsort(order)[labels], LEFT[order]).temperature == pytest.approx(fitted, rel=1e-9)


# --- ends of the scale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [4, 20, 400])
def test_labels_that_are_separated_leave_scores_no_surer_than_their_number_shows(rows):
    """By hand: two classes, every logit 6 ahead; sigmoid(6 / T) = (n + 1/2) / (n + 1) gives 6 / T = log(2 n + 1)."""
    labels = np.arange(rows) % 2
    fitted = fit_temperature(6.0 * np.eye(2)[labels], labels, np.ones(2))
    assert fitted.temperature == pytest.approx(6 / math.log(2 * rows + 1), rel=1e-6)
    assert "no mistake among them" in fitted.sentence
    assert f"n = {rows}" in fitted.sentence


def test_with_a_mistake_there_is_no_limit_by_number():
    labels = np.array([0, 1] * 10)
    logits = 6.0 * np.eye(2)[labels]
    logits[0] = [0.0, 6.0]
    fitted = fit_temperature(logits, labels)
    assert fitted.temperature == pytest.approx(6 / math.log(19), rel=1e-6)  # 19 of 20 right
    assert "mistake" not in fitted.sentence


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_logits_of_a_thousand_are_finite(dtype):
    labels = np.arange(60) % 3
    logits = (1000.0 * np.eye(3)[labels] - 500).astype(dtype)
    logits[:6] = logits[:6, ::-1]  # 4 of 60 wrong
    fitted = fit_temperature(logits, labels, [90, 9, 1])
    assert 100 < fitted.temperature < HIGHEST
    assert np.isfinite(Temperature(temperature=fitted.temperature).apply(Scores(logits))).all()
    separated = fit_temperature((1000 * np.eye(3)[labels]).astype(dtype), labels)
    assert separated.temperature == pytest.approx(1000 / math.log(2 * (60 + 0.5) / 0.5), rel=1e-6)  # 1 / (1 + 2 exp(-1000 / T)) = 60.5 / 61


def test_the_scale_ends_somewhere():
    labels = np.arange(60) % 3
    largest, smallest = (fit_temperature(scale * np.eye(3)[labels], labels) for scale in (1e9, 1e-9))
    assert (largest.temperature, smallest.temperature) == (HIGHEST, pytest.approx(LOWEST, rel=1e-12))
    assert "the highest allowed" in largest.sentence


def test_logits_that_say_nothing_get_the_highest():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=90)
    fitted = fit_temperature(-50.0 * np.eye(3)[labels], labels, np.ones(3))
    assert fitted.temperature == HIGHEST
    assert "the highest allowed" in fitted.sentence
    assert fit_temperature(np.zeros((90, 3)), labels).temperature == HIGHEST


def test_absent_classes_and_few_images_are_said():
    logits, labels = draw(1.0, 400)
    some = (labels < 2).nonzero()[0][:30]
    fitted = fit_temperature(logits[some], labels[some], LEFT)
    assert fitted.images == 30
    assert "(n = 30: few, so it is rough; 2 of 4 classes have no images there or in training)" in fitted.sentence


def test_rows_of_a_class_without_training_images_are_left_out():
    logits, labels = draw(2.0, 400, np.full(4, 0.25))
    left = LEFT * [1, 1, 1, 0]
    known = labels < 3
    fitted = fit_temperature(logits, labels, left)
    assert fitted.images == known.sum()
    assert fitted.temperature == fit_temperature(logits[known][:, :3], labels[known], LEFT[:3]).temperature


@pytest.mark.parametrize("labels", [[], [1, 1, 1]])
def test_without_two_classes_scores_are_not_calibrated(labels):
    fitted = fit_temperature(np.zeros((len(labels), 4)), np.array(labels, dtype=int), LEFT)
    assert (fitted.temperature, fitted.images) == (1.0, 0)
    assert "not calibrated" in fitted.sentence


def test_the_part_says_how_it_was_settled():
    assert Temperature().fit(None) == (Temperature(temperature=1.0), "temperature 1, not calibrated: no validation images")
    assert Temperature(temperature=2.5).fit(None) == (Temperature(temperature=2.5), "temperature 2.50, as given")
    part, said = Temperature(left=tuple(LEFT)).fit(Scores(*draw(2.0, 500)))
    assert said == f"temperature {part.temperature:.2f} fitted on val (n = 500)"
    assert part.prior_left((3.0, 1.0)) == (3.0, 1.0)


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf, "test", None, True])
def test_what_is_no_temperature_is_refused(temperature):
    with pytest.raises(BadValue, match="above 0"):
        Temperature(temperature=temperature)


def test_what_cannot_be_fitted_is_refused_in_one_line():
    logits, labels = draw(1.0, 10)
    for given_labels, left, message in [
        (None, LEFT, "no labels|there are none"),
        (labels[:9], LEFT, "labels must have shape"),
        (labels + 4, LEFT, "labels must be"),
        (labels, LEFT[:3], "3 counts for logits"),
        (labels, -LEFT, "counts must be"),
    ]:
        with pytest.raises(BadData, match=message) as caught:
            fit_temperature(logits, given_labels, left)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadValue, match="not fitted yet"):
        Temperature().apply(Scores(logits))
