"""Files that a list names and that are not there."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of, leave_all
from tailwise.data.origin import Finding


def find(found: Inspected) -> Iterable[Finding]:
    """Find images whose file is not there."""
    missing = found.images.filter(pl.col("error") == "missing")
    return finding_of("missing", "error", missing, "{n} {of} not there: {named}.")


CHECK = Check("files that are not there", "files", find, leave_all, "leaves them out")
