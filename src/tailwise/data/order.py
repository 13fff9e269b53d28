"""The seeded order of a class's rows, of which splits and tails keep prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from tailwise.seeds import generator


def seeded_order(rows: pl.DataFrame, classes: Sequence[str], seed: int, purpose: str) -> Iterator[tuple[int, np.ndarray]]:
    """Give each class's rows in its own seeded order: one permutation of the class's sorted ids.

    The permutation is named by seed, purpose and class name alone, so that it depends neither on the order of the table nor on
    which other classes there are.

    Yields:
        (label, positions): positions (n_c,) int64 into `rows`; n_c may be 0. Every class once, in label order. Rows without a label
        are in none.
    """
    by_id = rows["id"].arg_sort().to_numpy()
    by_id = by_id[rows["label"].is_not_null().to_numpy()[by_id]]
    labels = rows["label"].fill_null(-1).to_numpy()[by_id]
    by_label = by_id[np.argsort(labels, kind="stable")]
    stops = np.cumsum(np.bincount(labels, minlength=len(classes)))
    for label, name in enumerate(classes):
        start = stops[label - 1] if label else 0
        positions = by_label[start : stops[label]]
        # A set may name a million classes of which it has six: nothing is drawn for the others.
        yield label, positions[generator(seed, purpose, name).permutation(len(positions))] if len(positions) else positions
