"""Groups of classes and class counts."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.counts import SHOWN, ClassCounts, is_uneven
from tailwise.errors import BadData, BadValue
from tailwise.groups import by_counts, explicit, make_groups, thirds

COUNTS = st.lists(st.integers(0, 300), min_size=0, max_size=30)

# --- groups -------------------------------------------------------------------------------------------------------------


def test_exactly_100_and_exactly_20_are_medium():
    assert by_counts([101, 100, 99, 21, 20, 19, 0]).members == {"many": (0,), "medium": (1, 2, 3, 4), "few": (5, 6)}


def test_other_thresholds_stand_in_the_rule():
    made = by_counts([6, 5, 2, 1], many_above=5, few_below=2)
    assert made.members == {"many": (0,), "medium": (1, 2), "few": (3,)}
    assert made.rule == "many > 5, medium 2..5, few < 2 images"
    assert by_counts([1]).rule == "many > 100, medium 20..100, few < 20 images"


@pytest.mark.parametrize(
    ("classes", "sizes"),
    [(10, [4, 3, 3]), (11, [4, 4, 3]), (9, [3, 3, 3]), (100, [34, 33, 33]), (2, [1, 1, 0]), (1, [1, 0, 0]), (0, [0, 0, 0])],
)
def test_thirds_give_what_is_left_to_the_frequent(classes, sizes):
    made = thirds(range(classes, 0, -1))
    assert [len(labels) for labels in made.members.values()] == sizes
    assert [label for labels in made.members.values() for label in labels] == list(range(classes))


def test_thirds_go_by_images_not_by_label():
    assert thirds([1, 50, 3, 40, 2, 60]).members == {"many": (1, 5), "medium": (2, 3), "few": (0, 4)}


def test_ties_go_by_label():
    assert thirds([5, 5, 5, 5, 5]).members == {"many": (0, 1), "medium": (2, 3), "few": (4,)}
    assert thirds([5, 9, 5]).members == {"many": (1,), "medium": (0,), "few": (2,)}


@pytest.mark.fuzz
@given(COUNTS, st.sampled_from([None, "counts", "thirds"]))
def test_every_class_is_in_one_group_and_groups_are_in_order(counts, scheme):
    made = make_groups(counts, scheme)
    assert sorted(label for labels in made.members.values() for label in labels) == list(range(len(counts)))
    assert tuple(made.members) == ("many", "medium", "few")
    assert all(labels == tuple(sorted(labels)) for labels in made.members.values())
    ranges = [[counts[label] for label in labels] for labels in made.members.values() if labels]
    assert all(min(a) >= max(b) for a, b in itertools.pairwise(ranges))


def test_no_scheme_is_counts_unless_a_group_were_empty():
    assert make_groups([500, 50, 5]).scheme == "counts"
    assert make_groups([500, 50, 40]).scheme == "thirds"
    assert make_groups([500, 50, 40], "counts").scheme == "counts"
    assert make_groups([500, 50, 40], "counts").members["few"] == ()


def test_an_unknown_scheme_is_refused():
    with pytest.raises(BadValue, match="give one of counts, thirds"):
        make_groups([3, 2, 1], "quarters")


def test_explicit_groups_are_kept_in_their_order():
    made = explicit({"birds": [3, 0], "trees": [1, 2], "none": []}, 4)
    assert made.members == {"birds": (0, 3), "trees": (1, 2), "none": ()}
    assert tuple(made.members) == ("birds", "trees", "none")
    assert made.scheme == "explicit"


@pytest.mark.parametrize("members", [{"a": [0, 1]}, {"a": [0, 1], "b": [1, 2]}, {"a": [0, 1, 2, 3]}, {"a": [-1, 0, 1]}, {}])
def test_explicit_groups_name_each_class_once(members):
    with pytest.raises(BadValue, match="each of the 3 classes exactly once") as refused:
        explicit(members, 3)
    assert "\n" not in str(refused.value)


# --- counts -------------------------------------------------------------------------------------------------------------


def test_counts_by_hand():
    made = ClassCounts((50, 10, 0, 5))
    assert (made.classes, made.imbalance_ratio) == (4, 10.0)
    assert made.shown == (50.0, 10.0, 0.0, 5.0)


def test_shown_counts_may_differ():
    made = ClassCounts((50, 10), (30.0, 30.0))
    assert made.real == (50, 10)
    assert made.shown == (30.0, 30.0)
    assert made.imbalance_ratio == 5.0


def test_no_images_have_no_ratio():
    assert math.isnan(ClassCounts((0, 0)).imbalance_ratio)
    assert ClassCounts((7,)).imbalance_ratio == 1.0


@pytest.mark.parametrize(("real", "shown", "said"), [((3, -1), (), "never negative"), ((3, 1), (2.0,), "one number a class")])
def test_impossible_counts_are_refused(real, shown, said):
    with pytest.raises(BadData, match=said):
        ClassCounts(real, shown)


@pytest.mark.parametrize(
    ("counts", "uneven"),
    [
        ([3, 1], True),
        ([3, 3], False),
        ([3, 0, 3], False),
        ([0, 0], False),
        ([], False),
        ((0.1 + 0.2, 0.3), False),
        (np.array([2, 5]), True),
    ],
)
def test_uneven_is_about_classes_that_have_rows(counts, uneven):
    assert bool(is_uneven(counts)) is uneven


def test_counts_to_come_may_be_uneven():
    assert is_uneven(SHOWN)
    assert repr(SHOWN) == "SHOWN"


def test_gini_is_half_the_mean_absolute_difference_over_the_mean():
    counts = (50, 10, 5, 0, 1)
    pairs = [abs(a - b) for a in counts for b in counts]
    by_definition = sum(pairs) / len(pairs) / 2 / (sum(counts) / len(counts))
    assert ClassCounts(counts).gini == pytest.approx(by_definition, rel=1e-12)
    assert ClassCounts((7, 7, 7)).gini == 0
    assert ClassCounts((9, 0, 0)).gini == pytest.approx(2 / 3)
    assert math.isnan(ClassCounts((0, 0)).gini)
