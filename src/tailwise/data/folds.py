"""Deal a set into folds, so that every image is measured once, by a network that did not see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.order import seeded_order
from tailwise.errors import BadData, BadValue

LEAST, MOST = 3, 20
"""Folds: one part is measured, one chooses, and one at least trains; beyond twenty, training costs more than it tells."""

TEST_FOLD, VAL_FOLD = "test_fold", "val_fold"
"""Columns of a dealt set: the number of the fold in which a row is in test, and in val; null where it is in none."""


@dataclass(frozen=True)
class Fold:
    """One of the folds that a set is dealt into.

    Attributes:
        number: from 1.
        of: how many there are.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"fold {self.number} of {self.of}"


def deal(manifest: Manifest, count: int, seed: int = 0) -> Manifest:
    """Deal all images, whatever their splits, into parts that are as equal as can be, within each class and together.

    Each class's sorted ids are put into one seeded order and dealt out like cards, one part after another; the next class goes on where
    the one before ended. Fold j tests on part j, chooses on part j + 1 (the last fold on part 1), and trains on the rest. So each image
    is in test once and in val once, but for the smallest classes, which keep a training image in every fold: two images of a class are
    each in test once and never in val, and a class's only image always trains.

    Args:
        manifest: of real images.
        count: K, number of folds, 3 to 20.
        seed: another seed deals otherwise.

    Returns:
        The set with all rows in train, and the columns `test_fold` and `val_fold`, of which `take_fold` makes a fold.

    Raises:
        BadValue: a number of folds that is none.
        BadData: generated images, or too few images for so many folds.

    >>> from tailwise.data.readers.digits import read_digits
    >>> take_fold(deal(read_digits(), 5), Fold(2, 5))
    Manifest 'digits': 1,797 images, 10 classes, imbalance ratio 1.048; train 1,078, val 359, test 360
    """
    if not LEAST <= count <= MOST:
        raise BadValue(f"folds are a whole number from {LEAST} to {MOST}, got {count}; write for example --folds 5")
    if manifest.has_generated:
        raise BadData(f"manifest {manifest.name!r} holds generated images; a fold could test on what they were made from; leave them out")
    rows, sizes = seeded_order(manifest.rows, manifest.classes, seed, "folds")
    of_class = np.repeat(sizes, sizes)
    if (images := int(sizes[sizes > 2].sum())) < count:
        raise BadData(
            f"manifest {manifest.name!r} has {images} images in classes of three or more, too few for {count} folds: each "
            "needs one to test on and one to choose on; give more images, or fewer folds"
        )
    order = np.concatenate([rows[of_class > 2], rows[of_class == 2]])  # pairs last, so that val comes out even too
    test = np.zeros(manifest.rows.height, dtype=np.int32)
    test[order] = np.arange(len(order)) % count + 1
    val = np.zeros_like(test)
    val[order[:images]] = (test[order[:images]] - 2) % count + 1
    columns = {name: pl.when(pl.Series(folds) > 0).then(pl.Series(folds)) for name, folds in ((TEST_FOLD, test), (VAL_FOLD, val))}
    return manifest.replace(*_said(manifest, count, seed, sizes), rows=manifest.rows.with_columns(split=pl.lit("train"), **columns))


def take_fold(dealt: Manifest, fold: Fold) -> Manifest:
    """Give one fold of a set that `deal` dealt, as a set with splits."""
    role = pl.when(pl.col(TEST_FOLD) == fold.number).then(pl.lit("test")).when(pl.col(VAL_FOLD) == fold.number).then(pl.lit("val"))
    return dealt.replace(str(fold), rows=dealt.rows.with_columns(split=role.otherwise(pl.lit("train"))))


def _said(manifest: Manifest, count: int, seed: int, sizes: np.ndarray) -> list[str]:
    moved = manifest.rows.filter(pl.col("split") != "train").height
    said = [f"all labelled images are dealt, {moved:,} of val and test among them"] if moved else []
    said.append(f"{count} folds, seed {seed}: in each one part of {count} is test, the next val, and the rest train")
    for images, what in ((1, "is always trained on and never measured"), (2, "are measured, and are never in val")):
        names = [manifest.classes[label] for label in np.flatnonzero(sizes == images).tolist()]
        if names:
            said.append(f"{_classes(names)} {'one image, which' if images == 1 else 'two images, which'} {what}: {first_five(names)}")
    return said


def _classes(names: Sequence[str]) -> str:
    return f"{len(names):,} class has" if len(names) == 1 else f"{len(names):,} classes have"
