"""Layout of `path label` lists, as of ImageNet-LT: `train.txt`, `val.txt`, `test.txt`, and `classnames.txt`."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.data.writers.names import class_folders


def paths(manifest: Manifest) -> pl.Series:
    """Say where each row's image goes; see `Placing`. A list whose images are not there keeps its paths."""
    return class_folders(manifest) if manifest.has_files else manifest.rows["path"]


def lists(written: Manifest) -> Mapping[str, bytes]:
    """Give a list a split, sorted by label and path, and the class names: a line a label, its wnid or else the label before the name."""
    table = written.class_table
    words = table["wnid"] if table is not None and "wnid" in table.columns else range(len(written.classes))
    named = [f"{word} {' '.join(name.split())}\n" for word, name in zip(words, written.classes, strict=True)]
    files = {"classnames.txt": "".join(named).encode()}
    for split in written.splits:
        rows = written.rows.filter(pl.col("split") == split).sort("label", "path")
        lines = rows.select(pl.format("{} {}\n", "path", "label")).to_series()
        files[f"{split}.txt"] = lines.str.join("").item().encode()
    return files
