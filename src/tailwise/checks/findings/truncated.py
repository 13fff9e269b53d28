"""Images whose header is fine and whose pixels cannot be decoded, as after a download that was cut off."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of, leave_all
from tailwise.data.origin import Finding


def find(found: Inspected) -> Iterable[Finding]:
    """Find images that decoding finds damaged."""
    truncated = found.images.filter(pl.col("error") == "truncated")
    return finding_of("truncated", "error", truncated, "{n} {of} damaged or cut off, as decoding shows: {named}.")


CHECK = Check("images whose pixels are damaged or cut off", "pixels", find, leave_all, "leaves them out")
