"""What commands ask of a set before they train on it: two classes with training images, and none without."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.errors import BadData, BadValue

EmptyClasses = Literal["refuse", "keep", "drop"]


def check_trainable(manifest: Manifest, empty_classes: EmptyClasses = "refuse") -> Manifest:
    """Give back a set that can be trained on.

    Args:
        manifest: the set.
        empty_classes: what to do about classes without (real) training images: `refuse`, `keep` them with a count of 0, or `drop`
            them with their val and test images and number the other classes anew.

    Raises:
        BadData: fewer than two classes have training images, or a class has none and `empty_classes` is `refuse`.
        BadValue: `empty_classes` is none of the three.
    """
    if empty_classes not in get_args(EmptyClasses):
        raise BadValue(f"empty_classes {empty_classes!r} is none; give one of {', '.join(get_args(EmptyClasses))}")
    counts = manifest.counts("train")
    empty = [label for label, n in enumerate(counts) if n == 0]
    if len(counts) - len(empty) < 2:
        raise BadData(
            f"manifest {manifest.name!r} has training images of {len(counts) - len(empty) or 'no'} class, expected two classes or more; "
            f"give more classes training images"
        )
    if not empty or empty_classes == "keep":
        return manifest
    named = first_five([f"{manifest.classes[label]!r} (label {label})" for label in empty])
    if empty_classes == "refuse":
        subject = "class" if len(empty) == 1 else f"{len(empty):,} classes of"
        raise BadData(
            f"manifest {manifest.name!r} has no training images of {subject} {named}; "
            f"give the class images, or pass --empty-classes keep|drop"
        )
    return _drop(manifest, empty, named)


def _drop(manifest: Manifest, empty: list[int], named: str) -> Manifest:
    kept = [label for label in range(len(manifest.classes)) if label not in set(empty)]
    renumbered = np.full(len(manifest.classes), -1, dtype=np.int32)
    renumbered[kept] = np.arange(len(kept))
    rows = manifest.rows.with_columns(pl.Series("label", renumbered[manifest.rows["label"].to_numpy()]))
    rows = rows.filter(pl.col("label") >= 0)
    gone = manifest.rows.height - rows.height
    done = f"dropped classes without training images, with {gone:,} images of other splits: {named}"
    return manifest.replace(done, rows=rows, classes=tuple(manifest.classes[label] for label in kept))
