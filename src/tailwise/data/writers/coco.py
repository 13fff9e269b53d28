"""Layout of COCO-style JSON: `annotations/instances_{train,val,test}.json` beside the images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl

from tailwise.data.columns import LEVELS
from tailwise.data.images import read_header
from tailwise.data.manifest import Manifest
from tailwise.data.writers.names import class_folders


def paths(manifest: Manifest) -> pl.Series:
    """Say where each row's image goes; see `Placing`. A list whose images are not there keeps its paths."""
    return class_folders(manifest) if manifest.has_files else manifest.rows["path"]


def lists(written: Manifest) -> Mapping[str, bytes]:
    """Give one JSON file a split, all with the same categories; ids of images and annotations run through all of them.

    `file_name` is relative to the folder above `annotations`. Sizes are those of upright images, from their headers; a list without
    images has none. An image has one annotation for each of its labels.
    """
    categories = _categories(written)
    rows = written.rows.sort("path").with_row_index("number", offset=1)
    of_class = [category["id"] for category in categories]
    annotated, files = 0, {}
    for split in written.splits:
        of_split = rows.filter(pl.col("split") == split)
        annotations = _annotations(of_split, of_class, annotated)
        annotated += len(annotations)
        found = {
            "info": {"description": written.name},
            "images": _images(of_split, written),
            "annotations": annotations,
            "categories": categories,
        }
        files[f"annotations/instances_{split}.json"] = (json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
    return files


def _categories(written: Manifest) -> list[dict[str, Any]]:
    """Give a record a class: the source's id where all are whole numbers and rise with the label, else the label; and its levels."""
    table = pl.DataFrame() if written.class_table is None else written.class_table
    ids = list(range(len(written.classes)))
    if "class_id" in table.columns:
        known = table["class_id"].cast(pl.Int64, strict=False)
        if not known.null_count() and known.cast(pl.String).equals(table["class_id"]) and known.diff().drop_nulls().gt(0).all():
            ids = known.to_list()
    levels = table.select(level for level in LEVELS if level in table.columns).to_dicts() or [{}] * len(ids)
    return [
        {"id": id_, "name": name, **{level: value for level, value in known.items() if value is not None}}
        for id_, name, known in zip(ids, written.classes, levels, strict=True)
    ]


def _images(rows: pl.DataFrame, written: Manifest) -> list[dict[str, Any]]:
    numbered = [{"id": number, "file_name": path} for number, path in rows.select("number", "path").iter_rows()]
    if written.root is None:
        return numbered
    root = written.root
    with ThreadPoolExecutor(max_workers=8) as pool:  # waits for the disk
        headers = pool.map(lambda path: read_header(root / path), rows["path"])
        return [image | {"width": width, "height": height} for image, (width, height, _) in zip(numbered, headers, strict=True)]


def _annotations(rows: pl.DataFrame, of_class: list[int], before: int) -> list[dict[str, int]]:
    labels = rows["targets"] if "targets" in rows.columns else rows["label"].reshape((-1, 1)).arr.to_list()
    pairs = rows.select("number", labels.alias("label")).explode("label").drop_nulls()
    return [
        {"id": before + place, "image_id": number, "category_id": of_class[label]}
        for place, (number, label) in enumerate(pairs.iter_rows(), start=1)
    ]
