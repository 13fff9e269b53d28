"""Folds together: the held-out answers of K networks, each of the images that it did not see, as the answers of one.

The networks share training images, so their errors are not independent, and what seeds spread is less than what new data would
change: no unbiased estimate of that variance is to be had from one set of folds (Bengio & Grandvalet, JMLR 5, 2004).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tailwise.counts import mean_counts
from tailwise.errors import BadData, BadValue
from tailwise.evaluation.predictions import Predictions, SplitPredictions


def pool(folds: Sequence[Predictions]) -> Predictions:
    """Pool the answers of the K networks of one method and one seed, split by split, rows by id.

    Args:
        folds: one network's each, with equal splits, classes and groups.

    Returns:
        Answers to all images; `counts` are the mean over the folds. Features, class means and heads are each network's own, and stay out.

    Raises:
        BadValue: there are no folds.
        BadData: an image is answered twice; splits, classes or groups differ.

    >>> from tailwise.counts import ClassCounts
    >>> from tailwise.groups import make_groups
    >>> def fold(id_, label, train):
    ...     test = SplitPredictions((id_,), [label], [[1.0, 0.0]])
    ...     return Predictions({"test": test}, ("cat", "okapi"), ClassCounts(train), make_groups((9, 4)), "")
    >>> pooled = pool([fold("okapi/1.jpg", 1, (9, 3)), fold("cat/7.jpg", 0, (8, 4))])
    >>> pooled.split("test").ids, pooled.counts.real
    (('cat/7.jpg', 'okapi/1.jpg'), (9, 4))
    """
    if not folds:
        raise BadValue("pooling needs the predictions of folds, got none")
    first = folds[0]
    for other in folds[1:]:
        for what in ("classes", "groups"):
            if getattr(other, what) != getattr(first, what):
                raise BadData(f"these are no folds of one set, since their {what} differ; pool the folds of one comparison")
        if other.splits.keys() != first.splits.keys():
            raise BadData(f"one fold has answers to {', '.join(first.splits)}, another to {', '.join(other.splits)}; pool whole folds")
    splits = {name: _pooled([fold.splits[name] for fold in folds], name) for name in first.splits}
    data = hashlib.sha256("\n".join(fold.data for fold in folds).encode()).hexdigest()
    counts = mean_counts([fold.counts for fold in folds])
    return Predictions(splits, first.classes, counts, first.groups, data, levels=first.levels, class_ids=first.class_ids)


def _pooled(parts: Sequence[SplitPredictions], name: str) -> SplitPredictions:
    ids = [id_ for part in parts for id_ in part.ids]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    twice = next((ids[a] for a, b in pairwise(order) if ids[a] == ids[b]), None)
    if twice is not None:
        raise BadData(f"image {twice!r} is in {name} of two folds, and would count twice; pool the folds of one comparison, each once")
    corrected = any(part.network_logits is not None for part in parts)
    networks = [part.logits if part.network_logits is None else part.network_logits for part in parts]
    return SplitPredictions(
        ids=tuple(ids[row] for row in order),
        labels=np.concatenate([part.labels for part in parts])[order],
        logits=np.concatenate([part.logits for part in parts])[order],
        network_logits=np.concatenate(networks)[order] if corrected else None,
        experts=_of_all([part.experts for part in parts], order),
        views=_of_all([part.views for part in parts], order),
    )


def _of_all(arrays: Sequence[np.ndarray | None], order: Sequence[int]) -> np.ndarray | None:
    """Put arrays of rows together where each fold has one."""
    there = [array for array in arrays if array is not None]
    return np.concatenate(there)[order] if len(there) == len(arrays) else None
