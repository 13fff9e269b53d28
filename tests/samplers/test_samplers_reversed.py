"""Reversed sampling: the authors' draws, its frequencies, and how it differs from cycles."""

import numpy as np
import pytest

from tailwise.samplers import PowerSampler, ReversedSampler

LABELS = np.repeat([0, 1, 2, 4], [40, 13, 6, 1])[np.random.default_rng(9).permutation(60)]
COUNTS = (40, 13, 6, 0, 1)


def rows(seed: int = 0, labels: np.ndarray = LABELS) -> np.ndarray:
    return ReversedSampler().rows(labels, np.random.default_rng(seed), epoch=0, epochs=1)


@pytest.mark.reference
def test_chances_are_the_largest_count_over_each():
    weights = [40 / n if n else 0.0 for n in COUNTS]
    np.testing.assert_allclose(ReversedSampler().shown(COUNTS), 60 * np.array(weights) / sum(weights), rtol=1e-12)


@pytest.mark.reference
def test_classes_are_drawn_as_often_as_is_said():
    """500 epochs of 60 rows: a class's mean is off by at most sqrt(60 / 4 / 500) = 0.17 (one standard deviation)."""
    drawn = np.mean([np.bincount(LABELS[rows(seed)], minlength=5) for seed in range(500)], axis=0)
    np.testing.assert_allclose(drawn, ReversedSampler().shown(COUNTS), atol=0.7)
    assert drawn[3] == 0


@pytest.mark.reference
def test_images_of_a_class_are_drawn_evenly_and_with_replacement():
    """Some 660 draws among 13 images: each 51 times, give or take 7 (one standard deviation); cycles would differ by one at most."""
    times = np.bincount(np.concatenate([rows(seed) for seed in range(250)]), minlength=60)[LABELS == 1]
    expected = 250 * ReversedSampler().shown(COUNTS)[1] / 13
    np.testing.assert_allclose(times, expected, atol=4 * np.sqrt(expected))
    assert times.max() - times.min() > 2


def test_draws_are_independent_of_each_other():
    """A row is the same as the one before as often as chance has it: the one image of the last class, and little else."""
    same = np.mean([np.mean(np.diff(rows(seed)) == 0) for seed in range(300)])
    shares = np.array(ReversedSampler().shown(COUNTS)) / 60
    assert same == pytest.approx(sum(s * s / n for s, n in zip(shares, COUNTS, strict=True) if n), abs=0.02)


def test_classes_are_as_often_as_those_of_the_power_minus_one():
    assert ReversedSampler().shown(COUNTS) == PowerSampler(-1.0).shown(COUNTS)


def test_the_generator_alone_decides():
    assert np.array_equal(rows(3), rows(3))
    assert not np.array_equal(rows(3), rows(4))


@pytest.mark.limit
def test_even_counts_are_drawn_evenly():
    assert ReversedSampler().shown((7, 7, 0, 7)) == (7.0, 7.0, 0.0, 7.0)


@pytest.mark.parametrize("number", [0.0, np.nextafter(1.0, 0.0)])
def test_the_ends_of_the_unit_interval_choose_classes_with_images(number):
    class Fixed:
        def random(self, size: int) -> np.ndarray:
            return np.full(size, number)

    labels = np.array([1, 1, 3, 3, 3])
    made = ReversedSampler().rows(labels, Fixed(), 0, 1)
    assert set(labels[made]) == {1 if number == 0 else 3}
    assert set(made) == {0 if number == 0 else 4}
