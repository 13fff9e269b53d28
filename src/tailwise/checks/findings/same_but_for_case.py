"""Paths that differ in upper and lower case only: on a disk that does not tell these apart, one file takes the place of the other."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of
from tailwise.data.origin import Finding


def find(found: Inspected) -> Iterable[Finding]:
    """Find paths that are one in lower case; the first of them is named beside the others."""
    first = pl.col("id").first().over(pl.col("path").str.to_lowercase())
    paths = found.images.filter(pl.col("path").is_not_null()).unique("path").sort("path").with_columns(first=first)
    again = paths.filter(pl.col("id") != pl.col("first"))
    words = "{n} {of} named like another one, but for upper and lower case: {named}."
    return finding_of("same-but-for-case", "note", again, words, other="first")


CHECK = Check("paths that differ in upper and lower case only", "table", find)
