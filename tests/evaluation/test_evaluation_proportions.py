"""Intervals of one proportion and the test of two, against SciPy and statsmodels."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

from tailwise.errors import BadValue
from tailwise.evaluation.proportions import jeffreys, jeffreys_ends, two_proportions, wilson

GRID = sorted(
    {
        (min(correct, images), images)
        for images in (1, 2, 3, 5, 20, 240, 4740, 10**6)
        for correct in (0, 1, 2, 7, images // 2, images - 1, images)
    }
)
LEVELS = (0.5, 0.9, 0.95, 1 - 0.05 / 11)


@pytest.mark.reference
@pytest.mark.parametrize("level", LEVELS)
def test_wilson_agrees_with_scipy_and_statsmodels(level):
    for correct, images in GRID:
        found = wilson(correct, images, level)
        known = stats.binomtest(correct, images).proportion_ci(level, "wilson")
        assert (found.low, found.high) == pytest.approx((known.low, known.high), rel=1e-9, abs=1e-12)
        assert (found.low, found.high) == pytest.approx(proportion_confint(correct, images, 1 - level, "wilson"), rel=1e-9, abs=1e-12)
        assert found.level == level


@pytest.mark.reference
@pytest.mark.parametrize("level", LEVELS)
def test_wilson_is_where_the_score_test_turns(level):
    z = stats.norm.ppf(0.5 + level / 2)
    for correct, images in GRID:
        found = wilson(correct, images, level)
        for end in {found.low, found.high} - {0.0, 1.0}:
            assert abs(correct / images - end) / math.sqrt(end * (1 - end) / images) == pytest.approx(z, rel=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize("level", LEVELS)
def test_jeffreys_agrees_with_statsmodels_and_with_the_posterior(level):
    for correct, images in GRID:
        found = jeffreys(correct, images, level)
        low, high = proportion_confint(correct, images, 1 - level, "jeffreys")
        posterior = stats.beta(correct + 0.5, images - correct + 0.5)
        assert (low, high) == pytest.approx(posterior.interval(level), rel=1e-9)
        assert found.low == (0.0 if correct == 0 else pytest.approx(low, rel=1e-9))
        assert found.high == (1.0 if correct == images else pytest.approx(high, rel=1e-9))


def test_jeffreys_of_all_classes_at_once_is_that_of_each():
    correct, images = (np.array(numbers) for numbers in zip(*GRID, strict=True))
    lows, highs = jeffreys_ends(correct, images)
    for low, high, *numbers in zip(lows, highs, correct.tolist(), images.tolist(), strict=True):
        assert (low, high) == pytest.approx((jeffreys(*numbers).low, jeffreys(*numbers).high), rel=1e-12)


@pytest.mark.fuzz
@settings(deadline=None)
@given(st.integers(1, 5000).flatmap(lambda images: st.tuples(st.integers(0, images), st.just(images))), st.floats(0.5, 0.999))
def test_intervals_lie_within_0_and_1_hold_the_share_and_mirror(numbers, level):
    correct, images = numbers
    for interval_of in (wilson, jeffreys):
        found, mirrored = interval_of(correct, images, level), interval_of(images - correct, images, level)
        assert 0 <= found.low <= correct / images <= found.high <= 1
        assert found.low < found.high
        assert (found.low, found.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-9)


@pytest.mark.reference
def test_two_proportions_agree_with_statsmodels():
    for first in GRID:
        for second in GRID:
            if 0 < first[0] + second[0] < first[1] + second[1]:
                z, p = proportions_ztest([first[0], second[0]], [first[1], second[1]])
                assert two_proportions(first, second) == pytest.approx((z, p), rel=1e-6, abs=1e-12)


def test_two_proportions_all_right_in_both_do_not_differ():
    assert two_proportions((3, 3), (7, 7)) == (0.0, 1.0)
    assert two_proportions((0, 3), (0, 7)) == (0.0, 1.0)


def test_five_points_on_240_images_are_within_noise_and_three_and_a_half_on_4740_are_not():
    z, p = two_proportions((135, 240), (122, 240))  # 56.25 against 50.83
    assert round(z, 2) == 1.19
    assert p > 0.05
    first, second = round(0.7937 * 4740), round(0.7591 * 4740)
    assert (round(100 * first / 4740, 2), round(100 * second / 4740, 2)) == (79.37, 75.91)
    z, p = two_proportions((first, 4740), (second, 4740))
    assert round(z, 2) == 4.04
    assert p < 0.0001


def test_no_images_is_no_interval_and_no_comparison():
    assert wilson(0, 0) is None
    assert jeffreys(0, 0) is None
    with pytest.raises(BadValue, match="no images"):
        two_proportions((0, 0), (1, 2))


@pytest.mark.parametrize("numbers", [(3, 2), (-1, 2), (0, -1)])
def test_numbers_that_cannot_be_are_refused(numbers):
    for asked in (lambda: wilson(*numbers), lambda: jeffreys(*numbers), lambda: two_proportions((1, 2), numbers)):
        with pytest.raises(BadValue, match="right answers of"):
            asked()
