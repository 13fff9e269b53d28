"""Which classes give, and which rows are paired."""

from __future__ import annotations

import pytest
import torch

from tailwise.mixing.transfer import head_classes, pair_with_tail


def heads_of(counts: tuple[int, ...], ratio: float) -> list[int]:
    return head_classes(counts, ratio).nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    ("counts", "ratio", "expected"),
    [
        ((12, 200, 7, 31, 90, 4, 260, 3, 55, 2), 0.2, [1, 6]),  # by count, not the first two
        ((9, 9, 9, 9, 9), 0.4, [0, 1]),
        ((1, 9, 5, 9, 5, 5), 0.5, [1, 2, 3]),
        ((13, 6, 3, 1), 0.2, [0]),  # int(0.8) would be none
        ((2, 1), 0.9, [0]),
        ((7, 0, 2), 0.999, [0, 2]),  # never all
        ((0, 0, 4), 0.2, [2]),
        ((4,), 0.5, []),
        (tuple(range(100, 0, -1)), 0.29, list(range(29))),  # 100 x 0.29 is 28.999999999999996
    ],
)
def test_head_classes_are_those_with_most_images(counts, ratio, expected):
    assert heads_of(counts, ratio) == expected


def paired(words: str, strength: float = 1.0) -> list[tuple[int, int]]:
    heads, tails = pair_with_tail(torch.tensor([letter == "h" for letter in words], dtype=torch.bool), strength)
    return list(zip(heads.tolist(), tails.tolist(), strict=True))


@pytest.mark.parametrize(
    ("heads", "tails", "strength", "segments", "made"),
    [
        (6, 2, 1.0, 3, 6),
        (5, 2, 1.0, 2, 4),
        (2, 5, 1.0, 2, 4),
        (1, 1, 1.0, 1, 1),
        (3, 3, 1.0, 1, 3),
        (6, 2, 0.5, 1, 2),
        (8, 2, 0.5, 2, 4),
        (2, 8, 0.5, 2, 4),
        (6, 2, 0.01, 1, 2),  # one at least
        (5, 2, 2.0, 2, 4),  # two whole segments are all that there is
        (3, 2, 9.0, 1, 2),
        (100, 1, 0.29, 29, 29),
        (0, 4, 1.0, 0, 0),
        (4, 0, 1.0, 0, 0),
        (0, 0, 1.0, 0, 0),
    ],
)
def test_segments_pair_all_of_the_smaller_group(heads, tails, strength, segments, made):
    pairs = paired("h" * heads + "t" * tails, strength)
    assert len(pairs) == made == segments * min(heads, tails)
    head_rows, tail_rows = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert all(row < heads for row in head_rows)
    assert all(row >= heads for row in tail_rows)
    smaller, larger = (head_rows, tail_rows) if heads < tails else (tail_rows, head_rows)
    assert len(set(larger)) == made  # no row of the larger group twice
    assert all(smaller.count(row) == segments for row in set(smaller))


def test_pairs_keep_the_order_of_the_batch():
    assert paired("hthhtht") == [(0, 1), (2, 4), (3, 6)]
    assert paired("thhhhth") == [(1, 0), (2, 5), (3, 0), (4, 5)]
    assert paired("htttht") == [(0, 1), (4, 2), (0, 3), (4, 5)]
