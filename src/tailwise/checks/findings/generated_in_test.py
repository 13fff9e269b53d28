"""Generated images among those that are measured on: results would speak of the generator."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of, leave_all
from tailwise.data.origin import Finding


def find(found: Inspected) -> Iterable[Finding]:
    """Find generated images of val and test."""
    if "source" not in found.images.columns:
        return ()
    strays = found.images.filter((pl.col("source") == "generated") & (pl.col("split") != "train"))
    return finding_of("generated-in-test", "error", strays, "{n} {of} generated and in val or test: {named}.")


CHECK = Check("generated images in val or test", "table", find, leave_all, "leaves them out")
