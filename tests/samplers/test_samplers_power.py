"""Sampling by a power of the counts: probabilities against the authors', rows against the probabilities."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.errors import BadValue
from tailwise.samplers import ClassBalancedSampler, PowerSampler, class_probabilities

LABELS = np.repeat([0, 1, 2, 4], [40, 13, 6, 1])[np.random.default_rng(9).permutation(60)]
COUNTS = (40, 13, 6, 0, 1)
POWERS = pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 1.0, 2.0])


def rows(power: float, labels: np.ndarray = LABELS, seed: int = 0) -> np.ndarray:
    return PowerSampler(power).rows(labels, np.random.default_rng(seed), epoch=0, epochs=1)


@pytest.mark.reference
@pytest.mark.parametrize(("method", "power"), [("square_root_sampling", 0.5), ("reverse_sampling", -1.0)])
def test_probabilities_equal_the_authors(records, method, power):
    for record in records(method):
        made = class_probabilities(record["inputs"]["counts"], power)
        np.testing.assert_allclose(made, record["outputs"]["class_probabilities"], rtol=1e-9)


@POWERS
@pytest.mark.reference
def test_probabilities_equal_the_formula(power):
    powers = [n**power if n else 0.0 for n in COUNTS]
    np.testing.assert_allclose(class_probabilities(COUNTS, power), np.array(powers) / sum(powers), rtol=1e-12)


@pytest.mark.limit
def test_power_one_is_the_images_and_zero_the_classes():
    np.testing.assert_allclose(PowerSampler(1.0).shown(COUNTS), COUNTS)
    np.testing.assert_allclose(PowerSampler(0.0).shown(COUNTS), ClassBalancedSampler().shown(COUNTS))


@POWERS
@pytest.mark.limit
def test_even_counts_are_drawn_evenly_whatever_the_power(power):
    np.testing.assert_allclose(PowerSampler(power).shown((7, 7, 0, 7)), (7, 7, 0, 7))


@POWERS
@pytest.mark.reference
def test_what_is_shown_on_average_is_what_is_said(power):
    """400 epochs of 60 rows: a class's mean is off by at most sqrt(60 / 4 / 400) = 0.2 (one standard deviation)."""
    mean = np.mean([np.bincount(LABELS[rows(power, seed=seed)], minlength=5) for seed in range(400)], axis=0)
    np.testing.assert_allclose(mean, PowerSampler(power).shown(COUNTS), atol=0.8)
    assert mean[3] == 0


@POWERS
def test_an_epoch_has_as_many_rows_as_images(power):
    made = rows(power)
    assert made.shape == LABELS.shape
    assert made.dtype == np.int64


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.floats(-3, 3), st.integers(0, 99))
def test_images_of_a_class_come_in_cycles(labels, power, seed):
    labels = np.array(labels)
    made = rows(power, labels, seed)
    for label in set(labels.tolist()):
        mine = np.flatnonzero(labels == label)
        used = Counter(made[labels[made] == label].tolist())
        assert set(used) <= set(mine.tolist())
        times = [used[i] for i in mine.tolist()]
        assert max(times) - min(times) <= 1


def test_the_generator_alone_decides():
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    assert np.array_equal(rows(0.5, seed=3), rows(0.5, seed=3))
    assert not np.array_equal(rows(0.5, seed=3), rows(0.5, seed=4))
    assert np.random.random() == expected


def test_classes_are_drawn_independently():
    """Runs of equal classes are as frequent as independent draws make them: p = sum p_k^2 for a neighbour of the same class."""
    same = np.mean([np.mean(np.diff(LABELS[rows(0.0, seed=seed)]) == 0) for seed in range(200)])
    assert same == pytest.approx(1 / 4, abs=0.02)


@pytest.mark.parametrize("power", [-300.0, 300.0])
def test_no_power_overflows(power):
    made = class_probabilities([10**6, 1, 0, 10**3], power)
    assert made.sum() == pytest.approx(1)
    assert np.isfinite(made).all()


@pytest.mark.parametrize("power", [math.nan, math.inf])
def test_a_power_that_is_no_number_is_refused(power):
    with pytest.raises(BadValue, match="finite number"):
        PowerSampler(power)


def test_each_cycle_of_a_class_has_another_order():
    """Class-balanced, 60 rows show a class of six images some 15 times: two whole cycles at least."""
    made = rows(0.0)
    mine = made[LABELS[made] == 2].tolist()
    assert len(mine) >= 12
    first, second = mine[:6], mine[6:12]
    assert sorted(first) == sorted(second) == np.flatnonzero(LABELS == 2).tolist()
    assert first != second
