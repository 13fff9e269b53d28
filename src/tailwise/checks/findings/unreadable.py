"""Files that are no image: empty, of an unknown or foreign format, too large, with a damaged header."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of, leave_all
from tailwise.data.origin import Finding


def find(found: Inspected) -> Iterable[Finding]:
    """Find images whose header cannot be read; one finding a reason."""
    unreadable = found.images.filter(pl.col("error") == "unreadable")
    for (why,), images in unreadable.sort("why", "id").group_by(["why"], maintain_order=True):
        yield from finding_of("unreadable", "error", images, "{n} {of} no image that can be read (" + _plain(str(why)) + "): {named}.")


def _plain(why: str) -> str:
    return why.replace("{", "(").replace("}", ")")


CHECK = Check("files that are no images", "files", find, leave_all, "leaves them out")
