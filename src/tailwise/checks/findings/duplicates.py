"""Equal bytes under two names: in two splits a leak, in two classes a conflict, in one class a waste."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of
from tailwise.checks.copies import apart, grouped
from tailwise.data.origin import Finding


def _copies(found: Inspected) -> pl.DataFrame:
    # Files that are no images have findings of their own; a hundred empty ones are no copies.
    return grouped(found.images.filter(pl.col("content").is_not_null() & pl.col("error").is_null()), "content")


def find(found: Inspected) -> Iterable[Finding]:
    """Find equal images; the one that stays is named beside the others."""
    copies = _copies(found)
    leaks, torn, same = apart(copies.filter(pl.col("id") != pl.col("first")))
    words = "{n} {of} the same as one of another "
    yield from finding_of("duplicate-across-splits", "error", leaks, words + "split, or as a copy of it: {named}.", other="first")
    yield from finding_of("duplicate-across-classes", "error", torn, words + "class: {named}.", other="first")
    yield from finding_of("duplicate", "warning", same, "{n} {of} the same as another one of the class: {named}.", other="first")


def leaves_out(found: Inspected, findings: Sequence[Finding]) -> set[str]:
    """Leave out all copies with two classes, of which nobody knows the right one; of others all but one, which stays in test or val."""
    copies = _copies(found)
    return set(copies.filter((pl.col("classes") > 1) | (pl.col("id") != pl.col("first")))["id"])


CHECK = Check(
    "images with equal bytes",
    "content",
    find,
    leaves_out,
    "keeps one of each, that of test before val before train; leaves out all copies of images that have two classes",
)
