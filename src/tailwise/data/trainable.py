"""What commands ask of a set before they train on it: two classes with training images, and none without."""

from __future__ import annotations

import os
from typing import Literal, get_args

import numpy as np
import polars as pl

from tailwise.data.images import survey
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.errors import BadData, BadValue

EmptyClasses = Literal["refuse", "keep", "drop"]


def check_sound(manifest: Manifest) -> None:
    """Refuse a set that contradicts itself, or whose images are not all there; no image is decoded.

    Raises:
        BadData: as `check_consistent`; the images of a list were not found; files are missing or no images (all counted).
    """
    check_consistent(manifest)
    if not manifest.has_files:
        raise BadData(f"the images of {manifest.name!r} are not where its list says; pass --root with the folder that its paths start from")
    paths = manifest.rows["path"].drop_nulls()
    if len(paths) and manifest.kind == "images":
        survey([os.path.join(manifest.root or "", path) for path in paths])


def check_consistent(manifest: Manifest) -> None:
    """Refuse a set that contradicts itself, wherever its images are.

    Raises:
        BadData: the reader found an error; a generated image is in val or test.
    """
    wrong = [finding for finding in manifest.origin.findings if finding.severity == "error"]
    if wrong:
        more = f" (and {len(wrong) - 1} more findings: see `tailwise explore`)" if len(wrong) > 1 else ""
        raise BadData(f"{manifest.name}: {wrong[0].says}{more}; correct the data")
    if manifest.has_generated:
        strays = manifest.rows.filter((pl.col("source") == "generated") & (pl.col("split") != "train"))["id"]
        if len(strays):
            named = first_five(strays.to_list())
            raise BadData(f"{manifest.name!r} has {len(strays):,} generated images in val or test ({named}); measure on real ones")


def check_trainable(manifest: Manifest, empty_classes: EmptyClasses = "refuse") -> Manifest:
    """Give back a set that can be trained on.

    Args:
        manifest: the set.
        empty_classes: what to do about classes without (real) training images: `refuse`, `keep` them with a count of 0, or `drop`
            them with their val and test images and number the other classes anew.

    Raises:
        BadData: the targets are several labels or a number an image; fewer than two classes have training images, or a class has
            none and `empty_classes` is `refuse`.
        BadValue: `empty_classes` is none of the three.
    """
    if empty_classes not in get_args(EmptyClasses):
        raise BadValue(f"empty_classes {empty_classes!r} is none; give one of {', '.join(get_args(EmptyClasses))}")
    if manifest.task != "classification" or manifest.kind == "videos":
        what = "videos" if manifest.kind == "videos" else f"a {manifest.task} set"
        raise BadData(f"{manifest.name!r} is {what}: explore, check and build take it, training needs images of one class each")
    manifest = labelled(manifest)
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


def weigh_generated(manifest: Manifest, weight: float | None) -> Manifest:
    """Give generated images a weight in training, each times the one that it has; those that weigh nothing are left out.

    Args:
        manifest: the set.
        weight: of a generated image, where a real one has 1; None leaves all as they are.

    Raises:
        BadValue: the weight is no finite number from 0 on, or there are no generated images.
    """
    if weight is not None:
        if not 0 <= weight < float("inf"):
            raise BadValue(f"generated weight {weight:g} is no finite number from 0 on; 1 counts a generated image as a real one")
        if not manifest.has_generated:
            raise BadValue(f"{manifest.name!r} has no generated images; leave the generated weight out")
        own = pl.col("weight") if "weight" in manifest.rows.columns else pl.lit(1.0)
        of_row = pl.when(pl.col("source") == "generated").then(own * weight).otherwise(own)
        done = f"generated images have weight {weight:g} in training"
        manifest = manifest.replace(done, rows=manifest.rows.with_columns(weight=of_row))
    if not manifest.has_generated or "weight" not in manifest.rows.columns:
        return manifest
    weightless = (pl.col("source") == "generated") & (pl.col("weight") == 0)
    rows = manifest.rows.filter(weightless.fill_null(False).not_())
    gone = manifest.rows.height - rows.height
    return manifest.replace(f"left out {gone:,} generated images of weight 0", rows=rows) if gone else manifest


def labelled(manifest: Manifest) -> Manifest:
    """Leave out rows without a label, and say so; multi-label sets are given back as they are.

    Raises:
        BadData: no row has a label.
    """
    if manifest.task == "multi-label":
        return manifest
    unlabelled = manifest.rows["label"].null_count()
    if not unlabelled:
        return manifest
    rows = manifest.rows.filter(pl.col("label").is_not_null())
    if rows.is_empty():
        raise BadData(f"{manifest.name!r}: none of {unlabelled:,} images has a label; give the set that they belong to")
    return manifest.replace(f"left out {unlabelled:,} images without a label", rows=rows)


def _drop(manifest: Manifest, empty: list[int], named: str) -> Manifest:
    kept = [label for label in range(len(manifest.classes)) if label not in set(empty)]
    renumbered = np.full(len(manifest.classes), -1, dtype=np.int32)
    renumbered[kept] = np.arange(len(kept))
    rows = manifest.rows.with_columns(pl.Series("label", renumbered[manifest.rows["label"].to_numpy()]))
    rows = rows.filter(pl.col("label") >= 0)
    gone = manifest.rows.height - rows.height
    done = f"dropped classes without training images, with {gone:,} images of other splits: {named}"
    table = manifest.class_table
    return manifest.replace(
        done,
        rows=rows,
        classes=tuple(manifest.classes[label] for label in kept),
        class_table=None if table is None else table[kept],
    )
