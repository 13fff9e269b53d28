"""Thin a set to a long tail: exact counts, nested sets, val and test untouched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.data.order import Numbers, places_in_class, seeded_order
from tailwise.data.profiles import profile_counts, said_profile
from tailwise.errors import BadData, BadValue
from tailwise.seeds import generator

__all__ = ["profile_counts", "thin"]

ClassOrder = Literal["index", "random"]
"""Which class is the head: the first in label order, or the first of a seeded permutation."""

_FALLING = ("exponential", "step", "pareto")
"""Profiles that fall from the first class to the last."""

_FIELD = ("exponential", "step", "balanced")
"""Profiles that the field's own draw knows, and that of their balanced twin, which is drawn alike."""


def thin(manifest: Manifest, profile: str, seed: int = 0, class_order: ClassOrder = "index") -> Manifest:
    """Keep as many training images of each class as a profile says; val and test stay as they are.

    Each class keeps the beginning of one seeded order of its sorted training ids. So tails are nested: for one seed, a class with
    fewer images under one profile has a subset of what it has under another.

    CIFAR read by name is thinned to `exponential` and `step` by the field's own draw (`imbalance_cifar.py` of Cao et al., NeurIPS 2019),
    so that the images are those of the papers; it is nested too.

    Args:
        manifest: must have training images of every class, none of them generated.
        profile: see `profile_counts`.
        seed: another seed keeps other images.
        class_order: the order in which `exponential`, `step` and `pareto` fall: `index` makes label 0 the head, `random` permutes the
            classes by the seed.

    Raises:
        BadValue, BadData: as `profile_counts`, and for a set that holds generated images or several labels an image, or a seed that
            NumPy's old generator cannot have.

    >>> from tailwise.data.readers.digits import read_digits
    >>> thin(read_digits(), "exponential:50").counts()
    (174, 112, 72, 47, 30, 19, 12, 8, 5, 3)
    """
    if manifest.has_generated:
        raise BadData(f"manifest {manifest.name!r} holds generated images; thin first, then fill")
    if manifest.task == "multi-label":
        raise BadData(f"manifest {manifest.name!r} has several labels an image, so no class can be thinned alone; leave the tail out")
    order = _order_of_classes(profile, class_order, seed, len(manifest.classes))
    by_rank = profile_counts(profile, manifest.counts("train"), seed, manifest.classes)
    counts = [by_rank[rank] for rank in np.argsort(order)]
    is_train = (manifest.rows["split"] == "train").to_numpy()
    place = np.flatnonzero(is_train)
    kept = ~is_train
    train = manifest.rows.filter(pl.Series(is_train))
    is_field = manifest.origin.draw == "archive" and profile.partition(":")[0] in _FIELD
    rows, sizes = _archive_order(train, manifest.classes, seed) if is_field else seeded_order(train, manifest.classes, seed, "tail")
    kept[place[rows[places_in_class(sizes) < np.repeat(counts, sizes)]]] = True
    draw = f" by the field's own draw (RandomState({seed}), archive order)" if is_field else ""
    shuffled = "" if class_order == "index" else f", classes in random order from {manifest.classes[order[0]]!r} on"
    done = (
        f"thinned train to {said_profile(profile)}{draw}{shuffled}, seed {seed}: {sum(counts):,} of {len(place):,} images kept, "
        f"{max(counts):,} to {min(counts):,} a class"
    )
    return manifest.replace(done, rows=manifest.rows.filter(pl.Series(kept)))


def _order_of_classes(profile: str, class_order: ClassOrder, seed: int, classes: int) -> np.ndarray:
    """Give the labels from the head of a profile to its tail: (C,) int64."""
    if class_order not in get_args(ClassOrder):
        raise BadValue(f"class order {class_order!r} is none; give {' or '.join(get_args(ClassOrder))}")
    if class_order == "index":
        return np.arange(classes)
    if profile.partition(":")[0] not in _FALLING:
        raise BadValue(f"tail {profile!r} has no order of classes to be random; leave it out, or use {', '.join(_FALLING)}")
    return generator(seed, "class-order").permutation(classes)


def _archive_order(rows: pl.DataFrame, classes: Sequence[str], seed: int) -> tuple[Numbers, Numbers]:
    """Put each class's rows in the order of the field's draw: one generator shuffles the rows of class after class.

    Args:
        rows: their ids sort as the archive holds them.
        classes: in label order.
        seed: of NumPy's old generator, which the field seeds with 0.

    Returns:
        As `seeded_order`.
    """
    if not 0 <= seed < 1 << 32:
        raise BadValue(f"seed {seed} is none for the field's own draw of CIFAR; give one from 0 to {(1 << 32) - 1:,}")
    archive = rows["id"].arg_sort().to_numpy()
    labels = rows["label"].fill_null(-1).to_numpy()[archive]
    draw = np.random.RandomState(seed)
    parts = [np.flatnonzero(labels == label) for label in range(len(classes))]
    for positions in parts:
        draw.shuffle(positions)
    return archive[np.concatenate(parts)], np.array([len(positions) for positions in parts])
