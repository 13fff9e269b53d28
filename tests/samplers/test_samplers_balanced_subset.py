"""A balanced subset: which images, how often, in what order."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from tailwise.errors import BadValue
from tailwise.samplers import BalancedSubsetSampler, ClassBalancedSampler

LABELS = np.repeat([0, 1, 2, 4], [40, 13, 6, 1])[np.random.default_rng(9).permutation(60)]


def rows(per_class: int, seed: int = 0) -> np.ndarray:
    return BalancedSubsetSampler(per_class).rows(LABELS, np.random.default_rng(seed), epoch=seed, epochs=9)


@pytest.mark.parametrize("per_class", [1, 5, 10])
def test_every_epoch_shows_the_same_images_all_of_them_and_no_other(per_class):
    kept = set(BalancedSubsetSampler(per_class).subset(LABELS).tolist())
    assert Counter(LABELS[list(kept)].tolist()) == {0: per_class, 1: per_class, 2: min(per_class, 6), 4: 1}
    assert all(set(rows(per_class, seed).tolist()) == kept for seed in range(5))


def test_every_round_shows_every_class_and_every_image_of_a_class_comes_before_one_comes_again():
    shown = rows(3)
    for start in range(0, 60, 4):
        assert sorted(LABELS[shown[start : start + 4]]) == [0, 1, 2, 4]
    for c in (0, 1, 2):
        mine = shown[LABELS[shown] == c]
        assert all(len(set(mine[at : at + 3].tolist())) == 3 for at in range(0, 15, 3))
    assert len({tuple(rows(3, seed).tolist()) for seed in range(4)}) == 4
    assert len({tuple(LABELS[rows(3)[start : start + 4]].tolist()) for start in range(0, 60, 4)}) > 3


def test_a_smaller_set_lies_within_a_larger_one():
    sets = [set(BalancedSubsetSampler(n).subset(LABELS).tolist()) for n in (1, 2, 5, 40)]
    assert all(small < large for small, large in pairwise(sets))
    assert sets[-1] == set(range(60))


def test_the_set_is_drawn_and_no_prefix():
    """Of ten classes with forty images each, hardly two keep the same places."""
    labels = np.repeat(np.arange(10), 40)
    kept = BalancedSubsetSampler(4).subset(labels).reshape(10, 4) % 40
    assert len({tuple(places) for places in kept}) == 10


@pytest.mark.limit
def test_as_many_images_as_there_are_show_each_class_as_class_balanced_sampling_does():
    whole, balanced = BalancedSubsetSampler(40), ClassBalancedSampler(1)
    assert whole.shown((40, 13, 6, 0, 1)) == balanced.shown((40, 13, 6, 0, 1))
    assert Counter(LABELS[rows(40)].tolist()) == Counter(LABELS[balanced.rows(LABELS, np.random.default_rng(0), 0, 1)].tolist())


def test_an_empty_set_is_refused():
    with pytest.raises(BadValue, match="at least 1 image a class, got 0"):
        BalancedSubsetSampler(0)
