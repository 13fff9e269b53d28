"""Images that are no longer those that a saved manifest describes."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of, leave_all
from tailwise.data.origin import Finding


def find(found: Inspected) -> Iterable[Finding]:
    """Find files whose hash is not the one that the manifest has."""
    changed = found.images.filter(pl.col("content") != pl.col("described"))
    return finding_of("changed", "error", changed, "{n} {of} no longer what the manifest describes: {named}.")


CHECK = Check("images that have changed since their manifest was made", "content", find, leave_all, "leaves them out")
