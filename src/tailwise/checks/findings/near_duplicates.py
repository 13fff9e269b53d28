"""Copies of one picture that differ in size, compression or brightness: candidates by hash, decided on small pictures.

Of 600 photographs of 128 x 96 pixels, 99.8 % of the copies at half the size are found, 99.3 % of those at JPEG quality 50, 97.3 % of those
a tenth brighter (white is clipped), all of those 15 % darker, and 88.8 % of those that are all of it but darker; crops mostly are not.
No two of the 2,527 photographs themselves are called copies but three pairs of equal bytes, and of 1,797 handwritten digits none; of
70,000 garments at 28 pixels, two thousand million pairs, 62 images are, none of them across classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tailwise.checks.check import Check, Inspected, finding_of
from tailwise.checks.copies import apart, grouped
from tailwise.checks.findings.blank import is_blank
from tailwise.checks.nearness import near_blocks
from tailwise.data.origin import Finding

DISTANCE = 7
"""Bits of 64 in which the hashes of copies differ at most."""

UNLIKENESS = 0.002
"""One minus the correlation of two small pictures, up to which they are the same picture."""

_BLOCK = 1 << 11
"""Pairs that are compared at a time: their pictures stay in a core's own memory."""

Places = NDArray[np.int64]


def find(found: Inspected) -> Iterable[Finding]:
    """Find near copies that are no equal bytes; the score is the correlation with the most alike of the others."""
    if found.thumbnails is None:
        return
    rows = found.images.with_row_index("place").filter(pl.col("hash").is_not_null() & ~is_blank())
    # Of equal bytes one stands for all: the others are another check's.
    rows = rows.unique("content", keep="first", maintain_order=True)
    first, second, alike = _same_pictures(rows["hash"].to_numpy(), Pictures(np.asarray(found.thumbnails)[rows["place"].to_numpy()]))
    copies = grouped(rows.with_columns(*_pictures(rows.height, first, second, alike)).filter(pl.col("alike") > 0), "picture")
    again = copies.filter(pl.col("id") != pl.col("first")).sort(["alike", "id"], descending=[True, False])
    leaks, torn, same = apart(again)
    words = "{n} {of} nearly the same as one of another "
    yield from finding_of("near-duplicate-across-splits", "warning", leaks, words + "split, or as a copy of it: {named}.", "alike", "first")
    yield from finding_of("near-duplicate-across-classes", "warning", torn, words + "class: {named}.", "alike", "first")
    yield from finding_of("near-duplicate", "note", same, "{n} {of} nearly the same as one of the same class: {named}.", "alike", "first")


def _pictures(number: int, first: Places, second: Places, alike: NDArray[np.float64]) -> tuple[pl.Series, pl.Series]:
    """Give each image the picture that it shows, and its correlation with the most alike of the others; 0 where there is no other."""
    _, of_image = connected_components(coo_array((np.ones(len(first)), (first, second)), shape=(number, number)), directed=False)
    best = np.zeros(number)
    np.maximum.at(best, first, alike)
    np.maximum.at(best, second, alike)
    return pl.Series("picture", of_image), pl.Series("alike", best)


def _same_pictures(hashes: NDArray[np.uint64], pictures: Pictures) -> tuple[Places, Places, NDArray[np.float64]]:
    """Give pairs of places, first < second, that link all images of one picture, and how alike the two are."""
    speaker = _speakers(hashes, pictures)
    places = np.arange(len(hashes))
    speaks, spoken_for = places[speaker == places], places[speaker != places]
    found = [pictures.same(speaker[spoken_for], spoken_for)]
    for one, other in near_blocks(hashes[speaks], DISTANCE):
        found.append(pictures.same(speaks[one], speaks[other]))
    first, second, alike = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return first, second, alike


def _speakers(hashes: NDArray[np.uint64], pictures: Pictures) -> Places:
    """Give for each image the first one with its hash that shows the same picture, so that a thousand copies are no half a million pairs.

    Of every hash, the first image that nobody speaks for is compared with the others of which this holds, round by round until a round
    finds no copy; what is left has the hash in common and little else.
    """
    speaker = np.arange(len(hashes))
    left = np.argsort(hashes, kind="stable")
    joined = 1
    while joined:
        _, first, group = np.unique(hashes[left], return_index=True, return_inverse=True)
        of_group = left[first][group]
        others = left != of_group
        found, copies, _ = pictures.same(of_group[others], left[others])
        speaker[copies], joined = found, len(copies)
        left = left[others & (speaker[left] == left)]
    return speaker


class Pictures:
    """Small pictures that are compared by their correlation, which leaves brightness and contrast out.

    Args:
        thumbnails: (N, D) uint8.
    """

    def __init__(self, thumbnails: NDArray[np.uint8]) -> None:
        self.pixels = thumbnails
        self.sums = thumbnails.sum(axis=1, dtype=np.int64)
        squares = np.einsum("ij,ij->i", thumbnails, thumbnails, dtype=np.int64)
        self.spread = np.sqrt((thumbnails.shape[1] * squares - self.sums**2).astype(np.float64))

    def same(self, first: Places, second: Places) -> tuple[Places, Places, NDArray[np.float64]]:
        """Keep the pairs that show the same picture, and give their correlation.

        Args:
            first: (P,) places of the one.
            second: (P,) places of the other.
        """
        alike = np.zeros(len(first))
        for at in range(0, len(first), _BLOCK):
            alike[at : at + _BLOCK] = self.correlation(first[at : at + _BLOCK], second[at : at + _BLOCK])
        is_same = alike >= 1 - UNLIKENESS
        return first[is_same], second[is_same], alike[is_same]

    def correlation(self, first: Places, second: Places) -> NDArray[np.float64]:
        """Correlate pairs, (P,) from -1 to 1; 0 where a picture is of one colour. Sums are whole numbers: nothing is lost to rounding."""
        products = np.einsum("ij,ij->i", self.pixels[first].astype(np.int32), self.pixels[second].astype(np.int32))
        shared = self.pixels.shape[1] * products.astype(np.int64) - self.sums[first] * self.sums[second]
        scale = self.spread[first] * self.spread[second]
        return np.divide(shared, scale, out=np.zeros(len(first)), where=scale > 0)


CHECK = Check("pictures that are there twice in other bytes", "pixels", find)
