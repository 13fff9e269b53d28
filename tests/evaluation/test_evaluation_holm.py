"""Holm's procedure, against statsmodels, and its agreement with the intervals beside it."""

import math
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given, settings
from statsmodels.stats.multitest import multipletests

from tailwise.errors import BadValue
from tailwise.evaluation.holm import holm
from tailwise.evaluation.intervals import Estimate, Variance

P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.floats(0, 0.03), st.sampled_from([0.0, 0.001, 0.01, 0.05, 1.0])), min_size=1, max_size=12)


@pytest.mark.fuzz
@pytest.mark.reference
@settings(deadline=None)
@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_agrees_with_statsmodels(p_values, alpha):
    found = holm(p_values, alpha)
    with mock.patch("gc.collect"):  # which it calls each time, for a third of a second
        shown, adjusted, _, _ = multipletests(p_values, alpha, method="holm")
    assert [test.p_holm for test in found] == pytest.approx(adjusted.tolist(), rel=1e-12)
    assume(all(abs(p - alpha / (left + 1)) > 1e-12 for p in p_values for left in range(len(p_values))))  # at the edge rounding decides
    assert [test.is_shown for test in found] == shown.tolist()
    assert all(test.is_shown == (test.p_holm <= alpha) for test in found)


def test_levels_step_down_and_stay_at_the_first_that_is_not_rejected():
    found = holm([0.04, 0.001, 0.3, 0.015])
    assert [test.is_shown for test in found] == [False, True, False, True]
    assert [test.alpha for test in found] == pytest.approx([0.05 / 2, 0.05 / 4, 0.05 / 2, 0.05 / 3])


def test_a_p_value_at_its_level_is_rejected():
    assert [test.is_shown for test in holm([0.025, 0.05])] == [True, True]


def test_nothing_after_the_first_that_is_not_rejected_is():
    found = holm([0.026, 0.03])  # 0.03 alone would do
    assert [test.is_shown for test in found] == [False, False]
    assert [test.alpha for test in found] == [0.025, 0.025]
    assert [test.p_holm for test in found] == pytest.approx([0.052, 0.052])


@pytest.mark.fuzz
@settings(deadline=None)
@given(P_VALUES, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(p_values, shuffler):
    order = list(range(len(p_values)))
    shuffler.shuffle(order)
    found, shuffled = holm(p_values), holm([p_values[index] for index in order])
    assert [(found[index].p_holm, found[index].is_shown) for index in order] == [(test.p_holm, test.is_shown) for test in shuffled]


ESTIMATES = st.builds(
    lambda value, seeds, images, freedom, by_seeds: Estimate(
        value, seeds, Variance(images, freedom), Variance(by_seeds, seeds - 1) if seeds > 1 else None, least=-1.0
    ),
    value=st.floats(-0.3, 0.3),
    seeds=st.integers(1, 10),
    images=st.floats(1e-7, 1e-2),
    freedom=st.one_of(st.floats(1, 1e4), st.just(math.inf)),
    by_seeds=st.floats(0, 1e-2),
)


@pytest.mark.fuzz
@settings(deadline=None)
@given(st.lists(ESTIMATES, min_size=1, max_size=12))
def test_the_interval_excludes_0_just_where_the_word_says_so(estimates):
    found = holm([estimate.p_value(estimate.claim) for estimate in estimates])
    for estimate, test in zip(estimates, found, strict=True):
        interval = estimate.interval(estimate.claim, 1 - test.alpha)
        assume(min(abs(interval.low), abs(interval.high)) > 1e-12)  # where an end is 0, rounding decides
        assert (interval.low > 0 or interval.high < 0) == test.is_shown


def test_one_comparison_is_tested_at_alpha_and_none_gives_none():
    (test,) = holm([0.03])
    assert (test.alpha, test.p_holm, test.is_shown) == (0.05, 0.03, True)
    assert holm([]) == []


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_a_p_value_that_is_none_is_refused(p):
    with pytest.raises(BadValue, match="p-value lies within 0-1"):
        holm([0.5, p])
