"""What does not fit in COCO-style JSON: orphans, repeated ids, genera that contradict the class, boxes without area."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tailwise.data.columns import all_differ
from tailwise.data.listing import first_five
from tailwise.data.origin import Finding, Severity
from tailwise.data.readers.coco_classes import Classes


def orphans(name: str, split: str, images: pl.DataFrame, rows: pl.DataFrame, annotations: pl.DataFrame, number: int) -> Iterator[Finding]:
    """Find records that lead nowhere, and ids that are there twice.

    Args:
        name: of the file.
        split: of its images.
        images: `image`, as the file lists them.
        rows: `image` and `part`, each image of all files once.
        annotations: `annotation`, `image`, `class` of the file, and what they lead to: `at`, the place in `rows`, and its `part`, and
            `label`; null where they lead nowhere.
        number: of the file, by which `part` knows it.
    """
    yield from _found("image-twice", "error", name, _twice(images["image"]), "image ids are there twice")
    yield from _found("annotation-twice", "warning", name, _twice(annotations["annotation"].drop_nulls()), "annotation ids are there twice")
    strays = annotations.filter(pl.col("part").ne_missing(number))["image"]
    yield from _found("annotation-without-image", "warning", name, strays, "annotations are of images that are not listed, image ids")
    unknown = annotations.filter(pl.col("label").is_null())["class"]
    yield from _found("unknown-class", "warning", name, unknown, "annotations are of classes that are not listed, class ids")
    is_bare = (rows["part"] == number).to_numpy().copy()
    is_bare[annotations["at"].drop_nulls()] = False
    bare = rows["image"].filter(pl.Series(is_bare))
    if annotations.height or split == "train":
        yield from _found("image-without-annotation", "warning", name, bare, "images have no annotation and no label, image ids")
    if annotations.height and annotations.height != images.height:
        says = f"{name}: {annotations.height:,} annotations of {images.height:,} images."
        yield Finding("unequal-numbers", "note", says, abs(annotations.height - images.height))


def _twice(ids: pl.Series) -> pl.Series:
    return ids.clear() if all_differ(ids) else ids.filter(ids.is_duplicated()).unique()


def label_findings(name: str, known: pl.DataFrame, ids: pl.Series, classes: Classes) -> Iterator[Finding]:
    """Find annotations whose genus is not that of their class: `genus`, `label`, `at`, the place in the `ids` of images."""
    if "genus" not in classes.table.columns or known["genus"].null_count() == known.height:
        return
    other = known.filter((known["genus"] != classes.table["genus"].gather(known["label"])).fill_null(False))
    yield from _found(
        "genus-unlike-class", "warning", name, ids.gather(other["at"]), "annotations have another genus than their class, image ids"
    )


def shared_files(rows: pl.DataFrame) -> Iterator[Finding]:
    """Find files that several image records name: in two splits, or under two labels: `id`, `path`, `label`, `split`."""
    if all_differ(rows["path"]):
        return
    of_file = pl.col("path")
    again = rows.filter(of_file.is_duplicated()).with_columns(
        first=pl.col("id").first().over("path"),
        splits=pl.col("split").n_unique().over("path"),
        labels=pl.col("label").drop_nulls().n_unique().over("path"),
    )
    again = again.filter(pl.col("id") != pl.col("first"))
    torn = (pl.col("splits") == 1) & (pl.col("labels") > 1)
    kinds: tuple[tuple[str, Severity, pl.Expr, str], ...] = (
        ("in-two-splits", "error", pl.col("splits") > 1, "images are files of another split too; results would be inflated"),
        ("conflicting-labels", "error", torn, "images are files of another class too"),
        ("listed-twice", "warning", (pl.col("splits") == 1) & ~torn, "images are files of another record too"),
    )
    for kind, severity, those, what in kinds:
        found = again.filter(those).sort("id")
        if found.height:
            says = f"{found.height:,} {what}: {first_five(found['id'].to_list())}."
            yield Finding(kind, severity, says, found.height, tuple(found["id"]), (), tuple(found["first"]))


def empty_boxes(file: Path, boxes: Sequence[tuple[Any, Sequence[float | None]]]) -> Iterator[Finding]:
    """Find boxes [x, y, width, height] that are none."""
    wrong = [(str(id_), box) for id_, box in boxes if not _is_box(box)]
    if wrong:
        says = f"{file.name}: {len(wrong):,} annotations have an empty box, the first is annotation {wrong[0][0]}: {list(wrong[0][1])[:5]}."
        yield Finding("empty-box", "warning", says, len(wrong), tuple(id_ for id_, _ in wrong))


def _is_box(box: Sequence[float | None]) -> bool:
    if len(box) != 4 or any(value is None or not math.isfinite(value) for value in box):
        return False
    return bool(box[2] > 0 and box[3] > 0)  # type: ignore[operator]


def _found(kind: str, severity: Severity, name: str, ids: pl.Series, what: str) -> Iterator[Finding]:
    if len(ids):
        named = ids.cast(pl.String).fill_null("none").sort()
        yield Finding(
            kind,
            severity,
            f"{name}: {len(ids):,} {what}: {first_five(named.unique(maintain_order=True).to_list())}.",
            len(ids),
            tuple(named),
        )
