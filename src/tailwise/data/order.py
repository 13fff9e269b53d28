"""The seeded order of a class's rows, of which splits and tails keep prefixes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tailwise.seeds import generators

Numbers = NDArray[np.int64]

_FEW = 1 << 16
"""Up to so many classes NumPy sorts labels by radix, in linear time."""


def seeded_order(rows: pl.DataFrame, classes: Sequence[str], seed: int, purpose: str) -> tuple[Numbers, Numbers]:
    """Put each class's rows in its own seeded order: one permutation of the class's sorted ids.

    The permutation is named by seed, purpose and class name alone, so that it depends neither on the order of the table nor on
    which other classes there are.

    Returns:
        Positions (n,) int64 into `rows`, class after class in label order, without the rows that have no label; and how many of them
        each class has, (C,) int64.
    """
    order, sizes = _by_label_and_id(rows, len(classes))
    # A set may name a million classes of which it has six: nothing is drawn for the others.
    drawn = np.flatnonzero(sizes)
    stops = np.cumsum(sizes)
    parts = zip((stops - sizes)[drawn].tolist(), stops[drawn].tolist(), strict=True)
    for draw, (start, stop) in zip(generators(seed, purpose, names=[classes[label] for label in drawn.tolist()]), parts, strict=True):
        draw.shuffle(order[start:stop])
    return order, sizes


def places_in_class(sizes: Numbers) -> Numbers:
    """Number the rows of each class from 0 on, as `seeded_order` puts them.

    >>> places_in_class(np.array([2, 0, 3]))
    array([0, 1, 0, 1, 2])
    """
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _by_label_and_id(rows: pl.DataFrame, classes: int) -> tuple[Numbers, Numbers]:
    """Sort rows by label, then by id; most tables have a class's ids in order already, and then only labels are sorted."""
    labels, ids = rows["label"].fill_null(-1).to_numpy(), rows["id"]
    known = np.flatnonzero(labels >= 0)
    sizes = np.bincount(labels[known], minlength=classes)
    order = known[_stable(labels[known], classes)]
    sorted_ids = ids.gather(order)
    begins = np.zeros(len(order), dtype=bool)
    begins[(np.cumsum(sizes) - sizes)[sizes > 0]] = True
    if ((sorted_ids < sorted_ids.shift()) & pl.Series(~begins)).any():
        by_id = ids.arg_sort().to_numpy().astype(np.int64)
        by_id = by_id[labels[by_id] >= 0]
        order = by_id[_stable(labels[by_id], classes)]
    return order, sizes


def _stable(labels: NDArray[np.int32], classes: int) -> Numbers:
    return np.argsort(labels.astype(np.uint16) if classes <= _FEW else labels, kind="stable")
