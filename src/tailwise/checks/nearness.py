"""Pairs of 64-bit hashes that differ in few bits, without looking at every pair (Norouzi, Punjani, Fleet, CVPR 2012).

Cut into four bands of 16 bits, two hashes that differ in at most seven bits differ in at most one bit in some band (the pigeonhole
principle: 4 x 2 = 8). So a hash is compared with those that have the same band, or one of the 16 bands that are one bit away; up to
three bits in all, with the same band alone. The answer is exact.

On paper, for a million hashes of independent bits: a band has 65,536 values of some 15 hashes each, 17 values are looked up in each of
four bands, and each pair is met from one side: 4 x 17 x 10**6 x 15.3 / 2, 520 million comparisons in place of 5 x 10**11, in blocks of a
million pairs (40 MB). Neighbouring bits of real hashes go together, which makes some values common; the bits are therefore dealt out
to the bands by a fixed shuffle first. Still, hashes of pictures that all look alike cost more: 63,003 of Fashion-MNIST 180 million.
Equal hashes are for the caller to put together: a thousand equal images are one hash, not half a million pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tailwise.errors import BadValue

FARTHEST = 7
"""Bits in which two hashes may differ at most: with eight, none of four bands need be within a bit."""

_BANDS, _WIDTH = 4, 16
_BLOCK = 1 << 20
"""Pairs that are compared at a time."""

_SHUFFLED = np.random.default_rng(0).permutation(64).astype(np.uint64)
"""Which bit comes to which place; any order gives the same pairs."""

Places = NDArray[np.int64]


def near_pairs(hashes: NDArray[np.uint64], distance: int) -> tuple[Places, Places, NDArray[np.uint8]]:
    """Find all pairs of hashes within a distance.

    Args:
        hashes: (N,) uint64; where some are equal, all pairs of these are found too.
        distance: bits in which they may differ, 0 to 7.

    Returns:
        Places of the first and of the second of each pair, first < second, each pair once, sorted, and the bits in which they differ.

    Raises:
        BadValue: the distance is none of 0 to 7.

    >>> near_pairs(np.array([0b0000, 0b0111, 0b1111], dtype=np.uint64), 3)
    (array([0, 1]), array([1, 2]), array([3, 1], dtype=uint8))
    """
    blocks = [np.empty((2, 0), np.int64), *(np.stack(block) for block in near_blocks(hashes, distance))]
    first, second = np.concatenate(blocks, axis=1)
    by_place = np.lexsort((second, first))
    first, second = first[by_place], second[by_place]
    return first, second, np.bitwise_count(hashes[first] ^ hashes[second])


def near_blocks(hashes: NDArray[np.uint64], distance: int) -> Iterator[tuple[Places, Places]]:
    """Give the pairs of `near_pairs` in blocks and in no order, for those who need not have all of them at once."""
    if not 0 <= distance <= FARTHEST:
        raise BadValue(f"distance {distance} is none; hashes are compared up to 0 to {FARTHEST} bits")
    shuffled = _shuffle(hashes)
    slack = distance // _BANDS
    for band in range(_BANDS):
        order = np.argsort(_band(shuffled, band), kind="stable")
        ordered = shuffled[order]
        for first, second in _candidates(_band(ordered, band), slack):
            differ = ordered[first] ^ ordered[second]
            is_near = np.bitwise_count(differ) <= distance
            # Few are left; of these, a pair that is close in several bands is taken in the first of them.
            is_near[is_near] = ~_is_close_before(differ[is_near], band, slack)
            one, other = order[first[is_near]], order[second[is_near]]
            yield np.minimum(one, other), np.maximum(one, other)


def _shuffle(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    shuffled = np.zeros_like(hashes)
    for place, bit in enumerate(_SHUFFLED):
        shuffled |= ((hashes >> bit) & np.uint64(1)) << np.uint64(place)
    return shuffled


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.uint16]:
    return (hashes >> np.uint64(band * _WIDTH)).astype(np.uint16)


def _is_close_before(differ: NDArray[np.uint64], band: int, slack: int) -> NDArray[np.bool_]:
    """Whether a pair, given by the bits in which it differs, is close in an earlier band too."""
    close = np.zeros(len(differ), dtype=bool)
    for earlier in range(band):
        close |= np.bitwise_count(_band(differ, earlier)) <= slack
    return close


def _candidates(values: NDArray[np.uint16], slack: int) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Give all pairs of places whose values differ in at most `slack` bits, 0 or 1, each once, in blocks; values are sorted."""
    starts = np.searchsorted(values, np.arange((1 << _WIDTH) + 1)).astype(np.int32)
    own = values.astype(np.int32)
    places = np.arange(len(values), dtype=np.int32)
    yield from _in_blocks(places, places + 1, starts[own + 1])
    for bit in range(_WIDTH if slack else 0):
        lower = places[(own >> bit & 1) == 0]  # the partner has the bit, so that no pair is met from both sides
        partner = own[lower] | (1 << bit)
        yield from _in_blocks(lower, starts[partner], starts[partner + 1])


def _in_blocks(
    places: NDArray[np.int32], low: NDArray[np.int32], high: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Pair each place with all from its `low` up to its `high`."""
    sizes = (high - low).astype(np.int64)
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(places):
        done = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, done + _BLOCK, side="right")), begin + 1)
        part = sizes[begin:end]
        shift = low[begin:end] - (np.cumsum(part) - part)
        second = np.arange(part.sum()) + np.repeat(shift, part)
        yield np.repeat(places[begin:end], part), second.astype(np.int32)
        begin = end
