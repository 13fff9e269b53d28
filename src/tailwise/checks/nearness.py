"""Pairs of 64-bit hashes that differ in few bits, without looking at every pair.

Two hashes that differ in at most d of 64 bits agree in all bits of at least one of d + 1 bands (the pigeonhole principle), so only
hashes with an equal band are compared. On paper, for a million hashes of independent bits and d = 3: four bands of 16 bits have 65,536
buckets of some 15 hashes each, so that 4 x 10**6 x 15 / 2, thirty million, pairs are compared in place of 5 x 10**11, in blocks of
a few million at 20 bytes a pair. Equal hashes are one before that: a thousand equal images are one hash, not half a million pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BITS = 64
_BLOCK = 1 << 22
"""Pairs that are compared at a time."""


def near_pairs(hashes: NDArray[np.uint64], distance: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Find all pairs of different hashes within a distance.

    Args:
        hashes: (N,) uint64, all different.
        distance: bits in which they may differ, from 1 on.

    Returns:
        Places of the first and of the second of each pair, first < second, each pair once, and the bits in which they differ.
    """
    edges = np.linspace(0, BITS, distance + 2).round().astype(int)
    found = []
    for band, (low, high) in enumerate(pairwise(edges)):
        values = _bits(hashes, low, high)
        for first, second in _equal_pairs(values):
            # A pair that agrees in several bands is taken in the first of them.
            is_new = np.ones(len(first), dtype=bool)
            for earlier in range(band):
                start, stop = edges[earlier], edges[earlier + 1]
                is_new &= _bits(hashes[first], start, stop) != _bits(hashes[second], start, stop)
            apart = np.bitwise_count(hashes[first] ^ hashes[second])
            is_near = is_new & (apart <= distance)
            found.append((first[is_near], second[is_near], apart[is_near]))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8)
    one, other, apart = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return np.minimum(one, other), np.maximum(one, other), apart


def _bits(hashes: NDArray[np.uint64], low: int, high: int) -> NDArray[np.uint64]:
    return (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)


def _equal_pairs(values: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Give all pairs of places with equal values, in blocks."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(values) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(values)])
    # How many of its bucket come after each place: its partners.
    after = np.repeat(starts + sizes, sizes) - np.arange(len(values)) - 1
    stops = np.cumsum(after)
    begin = 0
    while begin < len(values):
        taken = stops[begin - 1] if begin else 0
        end = max(int(np.searchsorted(stops, taken + _BLOCK, side="right")), begin + 1)
        partners = after[begin:end]
        first = np.repeat(np.arange(begin, end), partners)
        offset = np.arange(len(first)) - np.repeat(np.cumsum(partners) - partners, partners)
        yield order[first], order[first + 1 + offset]
        begin = end
