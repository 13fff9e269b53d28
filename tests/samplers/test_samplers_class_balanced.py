"""Class-balanced sampling: what every epoch shows, row by row."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.samplers import ClassBalancedSampler

LABELS = np.repeat([0, 1, 2, 4], [40, 13, 6, 1])[np.random.default_rng(9).permutation(60)]


def rows(labels: np.ndarray = LABELS, per_class: int = 4, seed: int = 0) -> np.ndarray:
    return ClassBalancedSampler(per_class).rows(labels, np.random.default_rng(seed), epoch=0, epochs=1)


def test_an_epoch_has_as_many_rows_as_images():
    made = rows()
    assert made.shape == LABELS.shape
    assert made.dtype == np.int64


def test_the_same_generator_gives_the_same_rows():
    assert np.array_equal(rows(seed=3), rows(seed=3))
    assert not np.array_equal(rows(seed=3), rows(seed=4))


def test_global_random_state_is_untouched():
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    rows()
    assert np.random.random() == expected


@pytest.mark.parametrize("per_class", [1, 2, 4, 7])
def test_classes_come_in_runs(per_class):
    shown = LABELS[rows(per_class=per_class)]
    for start in range(0, len(shown), per_class):
        assert len(set(shown[start : start + per_class])) == 1


@pytest.mark.parametrize("per_class", [1, 3])
def test_a_cycle_visits_every_class_once(per_class):
    visits = LABELS[rows(per_class=per_class)][::per_class]
    for start in range(0, len(visits) - 3, 4):
        assert sorted(visits[start : start + 4]) == [0, 1, 2, 4]


def test_the_order_of_classes_is_shuffled_anew():
    visits = LABELS[rows(per_class=1)].reshape(-1, 4)
    assert len({tuple(cycle) for cycle in visits}) > 5


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.integers(1, 6), st.integers(0, 99))
def test_classes_are_even_and_images_within_them(labels, per_class, seed):
    labels = np.array(labels)
    made = rows(labels, per_class, seed)
    shown = Counter(labels[made].tolist())
    assert len(made) == len(labels)
    # the last cycle may be cut: a class leads another by one visit at most
    every = [shown[c] for c in set(labels.tolist())]
    assert max(every) - min(every) <= per_class
    for label in set(labels.tolist()):
        mine = np.flatnonzero(labels == label)
        used = Counter(made[labels[made] == label].tolist())
        assert set(used) <= set(mine.tolist())
        times = [used[i] for i in mine.tolist()]
        assert max(times) - min(times) <= 1  # a cycle of the class's own images


def test_a_class_s_images_come_in_cycles():
    """The 1st to 6th and the 7th to 12th image of a class of six are its images, each time in another order."""
    made = rows()
    mine = made[LABELS[made] == 2]
    assert len(mine) >= 12
    first, second = mine[:6], mine[6:12]
    assert sorted(first) == sorted(second) == np.flatnonzero(LABELS == 2).tolist()
    assert list(first) != list(second)


def test_a_class_of_one_image_repeats_it():
    only = np.flatnonzero(LABELS == 4)
    made = rows()
    mine = made[LABELS[made] == 4]
    assert len(mine) >= 12
    assert set(mine) == set(only)


def test_an_absent_class_is_never_shown():
    assert 3 not in LABELS[rows()]


def test_one_class_is_a_shuffle():
    made = rows(np.zeros(10, dtype=np.int64), per_class=4)
    assert sorted(made) == list(range(10))


@pytest.mark.reference
def test_frequencies_over_many_epochs_are_even():
    """60 rows over 4 classes, 15 each; a cut cycle moves a class by 4 rows at most, and shuffling evens that out."""
    total: Counter[int] = Counter()
    for seed in range(400):
        total.update(LABELS[rows(seed=seed)].tolist())
    for label in (0, 1, 2, 4):
        assert total[label] / 400 == pytest.approx(15, abs=0.4)


def test_shown_counts_are_even_over_classes_with_images():
    assert ClassBalancedSampler().shown((40, 13, 6, 0, 1)) == (15.0, 15.0, 15.0, 0.0, 15.0)


def test_shown_counts_agree_with_what_is_shown():
    shown = ClassBalancedSampler().shown(np.bincount(LABELS, minlength=5).tolist())
    mean = np.mean([np.bincount(LABELS[rows(seed=seed)], minlength=5) for seed in range(400)], axis=0)
    np.testing.assert_allclose(mean, shown, atol=0.4)
