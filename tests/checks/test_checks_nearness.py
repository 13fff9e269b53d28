"""Near hashes are found exactly, however they are cut into bands and blocks."""

from __future__ import annotations

import numpy as np
import pytest

from tailwise.checks import nearness
from tailwise.checks.nearness import near_pairs
from tailwise.errors import BadValue


@pytest.fixture
def hashes():
    """Random hashes, and neighbours of some of them at none to nine bits."""
    rng = np.random.default_rng(0)
    found = [rng.integers(0, 2**64, 1_200, dtype=np.uint64)]
    for flips in range(1, 10):
        near = rng.choice(found[0], 120)
        for _ in range(flips):
            near = near ^ (np.uint64(1) << rng.integers(0, 64, len(near), dtype=np.uint64))
        found.append(near)
    return rng.permutation(np.concatenate([*found, found[0][:150]]))


@pytest.mark.parametrize("distance", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_they_are_those_of_all_pairs(hashes, distance, block, monkeypatch):
    monkeypatch.setattr(nearness, "_BLOCK", block * 100)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = {(i, j) for i, j in np.argwhere(apart <= distance).tolist() if i < j}
    first, second, bits = near_pairs(hashes, distance)
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected
    np.testing.assert_array_equal(bits, apart[first, second])
    assert len(expected) > 100


@pytest.mark.parametrize("number", [0, 1, 2])
def test_few_hashes_have_few_pairs(number):
    first, _, _ = near_pairs(np.array([5, 7], np.uint64)[:number], 3)
    assert len(first) == (number == 2)


def test_equal_hashes_are_pairs_too():
    first, second, bits = near_pairs(np.array([9, 4, 9, 9], np.uint64), 0)
    assert list(zip(first.tolist(), second.tolist(), bits.tolist(), strict=True)) == [(0, 2, 0), (0, 3, 0), (2, 3, 0)]


@pytest.mark.parametrize("distance", [-1, 8])
def test_distances_that_the_bands_cannot_answer_are_refused(distance):
    with pytest.raises(BadValue, match="0 to 7"):
        near_pairs(np.arange(3, dtype=np.uint64), distance)
