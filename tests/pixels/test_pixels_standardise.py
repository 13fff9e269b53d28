"""Standardised features: mean 0 and deviation 1 where they change, nothing broken where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from tailwise.pixels import Standardise


@pytest.fixture
def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(50, 6)) * [1, 10, 0.01, 3, 100, 1e-3] + [0, 5, -2, 1e3, 0, 1e-3]).astype(np.float32)


@pytest.mark.reference
def test_it_agrees_with_scikit_learn(features):
    made = Standardise.over(features)
    other = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    expected = StandardScaler().fit(features.astype(np.float64)).transform(other.astype(np.float64))
    assert made(other) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_rows_that_it_was_taken_over_have_mean_0_and_deviation_1(features):
    made = Standardise.over(features)(features).astype(np.float64)
    assert made.mean(0) == pytest.approx(np.zeros(6), abs=1e-4)
    assert made.std(0) == pytest.approx(np.ones(6), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, -7.25, 0.1, 1e4, 1e-20])
def test_a_dimension_that_never_changes_keeps_its_scale(features, value):
    features[:, 2] = value
    made = Standardise.over(features)
    assert made.deviation[2] == 1.0
    assert np.isfinite(made(features)).all()
    assert made(features)[:, 2] == pytest.approx(np.zeros(50), abs=1e-6 * max(1, abs(value)))
    moved = features.copy()
    moved[0, 2] += 3
    assert made(moved)[0, 2] == pytest.approx(3, abs=1e-2)


def test_one_row_becomes_zeros_and_its_array_stays(features):
    one = features[:1].copy()
    assert (Standardise.over(one)(one) == 0).all()
    assert (one == features[:1]).all()


def test_everything_is_float32(features):
    made = Standardise.over(features)
    assert made.mean.dtype == made.deviation.dtype == made(features).dtype == np.float32
