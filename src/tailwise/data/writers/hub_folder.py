"""Layout of the Hugging Face Hub's image folders: `train/`, `validation/`, `test/`, each with a `metadata.csv`."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.data.writers.names import class_folders

SPLITS = {"train": "train", "val": "validation", "test": "test"}
_BESIDE = ("weight", "source", "domain")


def paths(manifest: Manifest) -> pl.Series:
    """Say where each row's image goes; see `Placing`."""
    return class_folders(manifest, SPLITS)


def lists(written: Manifest) -> Mapping[str, bytes]:
    """Give `metadata.csv` of each split: file_name (relative to it), label (the class's name), id, and weight, source, domain if any.

    One row an image, sorted by file name: the Hub's reader wants every image named, and every file with the same columns.
    """
    beside = [column for column in _BESIDE if column in written.rows.columns]
    label = pl.col("label").replace_strict(range(len(written.classes)), list(written.classes), return_dtype=pl.String)
    files = {}
    for split in written.splits:
        file_name = pl.col("path").str.strip_prefix(f"{SPLITS[split]}/").alias("file_name")
        table = written.rows.filter(pl.col("split") == split).select(file_name, label, "id", *beside).sort("file_name")
        files[f"{SPLITS[split]}/metadata.csv"] = table.write_csv().encode()
    return files
