"""Priors estimated without labels: against a loop over images, against the truth, and where they are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tailwise.errors import BadData, BadValue
from tailwise.posthoc import PriorShift, Scores, adjust, estimate_prior, shift_logits

TRAIN = np.array([0.7, 0.2, 0.08, 0.02])
CENTRES = 2.0 * np.eye(4)


def draw(images: int, prior: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the Bayes classifier of four Gaussian classes that was trained under TRAIN."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, size=images, p=prior)
    points = CENTRES[labels] + rng.normal(size=(images, 4))
    return points @ CENTRES.T + np.log(TRAIN), labels


def by_hand(logits: np.ndarray, left: np.ndarray, rounds: int, weights: list[float] | None = None) -> list[float]:
    """Saerens et al., equation 2.9, image by image."""
    classes, weights = len(left), weights or [1.0] * len(logits)
    posteriors = [[math.exp(z - max(row)) for z in row] for row in logits.tolist()]
    posteriors = [[p / sum(row) for p in row] for row in posteriors]
    q = list(left)
    for _ in range(rounds):
        sums = [0.0] * classes
        for row, weight in zip(posteriors, weights, strict=True):
            moved = [q[c] / left[c] * row[c] for c in range(classes)]
            for c in range(classes):
                sums[c] += weight * moved[c] / sum(moved)
        q = [s / sum(weights) for s in sums]
    return q


@pytest.mark.reference
def test_it_is_em_image_by_image():
    logits, _ = draw(200, np.array([0.1, 0.2, 0.3, 0.4]))
    found = estimate_prior(logits, TRAIN)
    np.testing.assert_allclose(found.shares, by_hand(logits, TRAIN, found.rounds), rtol=1e-9)
    assert found.images == 200
    weights = np.random.default_rng(1).uniform(0, 2, 200)
    weighed = estimate_prior(logits, TRAIN, weights=weights)
    np.testing.assert_allclose(weighed.shares, by_hand(logits, TRAIN, weighed.rounds, weights.tolist()), rtol=1e-9)


@pytest.mark.parametrize("prior", [TRAIN, TRAIN[::-1], np.full(4, 0.25)])
def test_it_finds_the_prior_that_images_were_drawn_by_however_sure_the_network_is(prior):
    logits, _ = draw(20_000, prior)
    for temperature in (1.0, 3.0):
        np.testing.assert_allclose(estimate_prior(temperature * logits, TRAIN, temperature).shares, prior, atol=0.02)


def test_the_end_does_not_depend_on_the_prior_that_is_left():
    """Taking the prior out of the logits first moves where EM begins, and nothing else."""
    logits, _ = draw(3000, TRAIN[::-1])
    np.testing.assert_allclose(estimate_prior(logits, TRAIN).shares, estimate_prior(logits - np.log(TRAIN), np.ones(4)).shares, atol=1e-4)


@pytest.mark.limit
def test_answers_without_doubt_are_counted():
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    np.testing.assert_allclose(estimate_prior(200.0 * np.eye(3)[labels], [1, 1, 1]).shares, [0.5, 0.3, 0.2], atol=1e-6)


def test_a_weight_is_how_often_an_image_occurs():
    logits, _ = draw(60, TRAIN)
    times = np.random.default_rng(2).integers(0, 4, 60)
    repeated = estimate_prior(np.repeat(logits, times, axis=0), TRAIN)
    np.testing.assert_allclose(estimate_prior(logits, TRAIN, weights=times).shares, repeated.shares, atol=1e-6)


def test_a_class_without_training_images_is_not_looked_for():
    logits, _ = draw(500, TRAIN)
    logits[:, 3] += 20
    found = estimate_prior(logits, [0.7, 0.2, 0.1, 0.0]).shares
    assert found[3] == 0
    np.testing.assert_allclose(found[:3], estimate_prior(logits[:, :3], [0.7, 0.2, 0.1]).shares, atol=1e-9)


@pytest.mark.parametrize(
    ("logits", "left", "fields", "error"),
    [
        (np.zeros((3, 2)), [1, 1, 1], {}, "prior of 3 classes"),
        (np.zeros((0, 2)), [1, 1], {}, r"got \(0, 2\)"),
        (np.zeros((3, 2)), [1, -1], {}, "label 1 has -1"),
        (np.zeros((3, 2)), [1, 1], {"weights": np.zeros(3)}, "not all 0"),
        (np.zeros((3, 2)), [1, 1], {"weights": np.ones(2)}, "each of 3 images"),
    ],
)
def test_what_does_not_fit_is_one_line(logits, left, fields, error):
    with pytest.raises(BadData, match=error):
        estimate_prior(logits, left, **fields)


def test_a_temperature_is_above_0():
    with pytest.raises(BadValue, match="above 0"):
        estimate_prior(np.zeros((1, 2)), [1, 1], temperature=0.0)


def test_the_part_shifts_as_the_function_does():
    logits, _ = draw(50, TRAIN)
    part = PriorShift(tuple(TRAIN), (1.0, 1.0, 1.0, 5.0), temperature=1.5)
    np.testing.assert_array_equal(part.apply(Scores(logits)), shift_logits(logits, TRAIN, [1, 1, 1, 5], 1.5))
    assert part.prior_left((1, 2, 3, 4)) == pytest.approx((0.125, 0.125, 0.125, 0.625))
    assert part.fit(None)[0] is part


def test_foreign_logits_are_moved_to_the_prior_that_they_show():
    logits, labels = draw(4000, TRAIN[::-1])
    counts = (700, 200, 80, 20)
    found = adjust(logits, counts, test_prior="estimated")
    np.testing.assert_allclose(found.expected, TRAIN[::-1], atol=0.03)
    assert found.test_prior == "estimated"
    right = {word: (adjust(logits, counts, test_prior=word).answers == labels).mean() for word in ("estimated", "uniform", "train")}
    assert right["estimated"] > right["uniform"] > right["train"]
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_allclose(adjust(probabilities, counts, test_prior="estimated").expected, found.expected, atol=1e-6)
