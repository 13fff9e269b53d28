"""From frequent to rare: which classes give, and which rows of a batch are paired. Of RSG."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def head_classes(counts: Sequence[int], ratio: float) -> Tensor:
    """Say of each class whether it is one of the `int(C ratio)` with most images: one at least, never all, ties to the lower label.

    Wang et al., CVPR 2021. The authors' code takes the first classes, which is the same where they are sorted by count.

    Args:
        counts: (C,) training images a class.
        ratio: share of the classes.

    Returns:
        (C,) bool.

    >>> head_classes([5, 9, 9, 1, 0], 0.2).tolist()
    [False, True, False, False, False]
    """
    number = min(max(1, _whole(len(counts) * ratio)), len(counts) - 1)
    largest = torch.as_tensor(counts).argsort(descending=True, stable=True)[:number]
    return torch.zeros(len(counts), dtype=torch.bool).index_fill(0, largest, True)


def pair_with_tail(is_head: Tensor, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Pair head rows with tail rows: all of the smaller group with one segment of the larger one after the other.

    Of n and m <= n rows there are `int(n strength / m)` segments of m rows, one at least, and no more than whole ones; the rest of the
    larger group is left out (Wang et al., CVPR 2021; the authors' code fails where it runs out of rows).

    Args:
        is_head: (B,) bool.
        strength: share of the larger group that is paired.

    Returns:
        (pairs,) int64 row numbers of heads, and as many of tails; none where a group is empty.

    >>> [rows.tolist() for rows in pair_with_tail(torch.tensor([True, True, False, True, True, True, False]))]
    [[0, 1, 3, 4], [2, 6, 2, 6]]
    """
    heads, tails = is_head.nonzero()[:, 0], (~is_head).nonzero()[:, 0]
    few, many = sorted((len(heads), len(tails)))
    segments = min(max(1, _whole(many * strength / few)), many // few) if few else 0
    if len(heads) >= len(tails):
        return heads[: segments * few], tails.repeat(segments)
    return heads.repeat(segments), tails[: segments * few]


def _whole(number: float) -> int:
    """Round down, but 0.29 x 100, which is 28.999999999999996, is 29."""
    return math.floor(number + 1e-9)
