"""Ids of images that have no names of their own: numbers, so wide that the order of the ids is that of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl


def numbered_id(prefix: str, number: int, count: int, fewest: int = 5) -> str:
    """Give the id of one of `count` images.

    >>> numbered_id("train", 7, 1000), numbered_id("train", 7, 1_000_000)
    ('train/00007', 'train/000007')
    """
    return f"{prefix}/{number:0{max(fewest, len(str(count - 1)))}d}"


def numbered_ids(prefix: str, count: int, fewest: int = 5) -> list[str]:
    """Give the ids of `count` images, in their order."""
    return [numbered_id(prefix, number, count, fewest) for number in range(count)]


def array_rows(container: str, labels: Sequence[Any] | np.ndarray | pl.Series, split: str) -> pl.DataFrame:
    """Give the rows of an array that is read whole: one for each of its labels, which may still be what the source calls the classes."""
    rows = pl.int_range(len(labels), eager=True).alias("row")
    ids = pl.Series("id", numbered_ids(container, len(labels)), dtype=pl.String)
    return pl.DataFrame([ids, rows, pl.Series("label", labels)]).with_columns(container=pl.lit(container), split=pl.lit(split))
