"""Copies of one image: which of them stays, and whether they are a leak between splits, a conflict of classes, or a waste."""

from __future__ import annotations

import polars as pl

_STAYS = {"test": 0, "val": 1, "train": 2}


def grouped(images: pl.DataFrame, by: str) -> pl.DataFrame:
    """Say of each of several copies which one stays (`first`): of test, else of val, else the first by id; and how their labels lie.

    Args:
        images: rows of a manifest with the column `by`, which is equal for copies.
        by: name of that column.

    Returns:
        Images of which there are several, with `first`, and the number of different `splits` and `classes` of the copies: classes that
        are known, sets of them, or values, as the task is.
    """
    rank = pl.col("split").replace_strict(_STAYS, return_dtype=pl.Int8)
    copies = images.filter(pl.col(by).is_duplicated()).with_columns(_target(images).alias("target"), rank=rank)
    return (
        copies.sort("rank", pl.col("target").is_null(), "id")
        .with_columns(
            first=pl.col("id").first().over(by),
            splits=pl.col("split").n_unique().over(by),
            classes=pl.col("target").drop_nulls().n_unique().over(by),
        )
        .sort("first", "rank", "id")
    )


def _target(images: pl.DataFrame) -> pl.Expr:
    """Give what an image is said to be, as text; null where nobody says it, which contradicts nothing."""
    if "targets" in images.columns:
        return pl.col("targets").list.sort().cast(pl.List(pl.String)).list.join(" ")
    return pl.col("value" if "value" in images.columns else "label").cast(pl.String)


def apart(copies: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Part copies into those that leak between splits, those of several classes (which may leak too), and the others."""
    is_leak, is_torn = pl.col("splits") > 1, pl.col("classes") > 1
    return copies.filter(is_leak), copies.filter(is_torn), copies.filter(~is_leak & ~is_torn)
