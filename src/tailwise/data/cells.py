"""Counts by domain and class: in a set of several domains the tail is that of cells, and a cell may be empty."""

from __future__ import annotations

import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.errors import BadData


def cell_counts(manifest: Manifest, split: str = "train") -> pl.DataFrame:
    """Count the real images of each (domain, class); cells without any are there, with 0.

    Args:
        manifest: has a column `domain`.
        split: whose images are counted.

    Returns:
        `domain` (String), `label` (Int32), `images` (Int64): a row for each domain of the set, in any split, and each class; sorted.

    Raises:
        BadData: the manifest has no domains.
        BadValue: there is no such split.
    """
    if "domain" not in manifest.rows.columns:
        raise BadData(f"{manifest.name!r} has no domains; give a set with a column for the domain, as PACS.csv has")
    rows = manifest.select(split)
    if "source" in rows.columns:
        rows = rows.filter(pl.col("source").fill_null("real") == "real")
    domains = manifest.rows.select(pl.col("domain").drop_nulls().unique().sort())
    labels = pl.select(pl.int_range(len(manifest.classes), dtype=pl.Int32).alias("label"))
    found = rows.group_by("domain", "label").agg(pl.len().cast(pl.Int64).alias("images"))
    cells = domains.join(labels, how="cross").join(found, on=["domain", "label"], how="left", maintain_order="left")
    return cells.with_columns(pl.col("images").fill_null(0))
