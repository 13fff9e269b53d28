"""Images of a kind that few have: grey among coloured ones, palettes, CMYK, 16 bits, and animations, of which one picture is read."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of
from tailwise.data.origin import Finding

FEW = 0.05
"""Share of the images up to which a kind is odd."""


def find(found: Inspected) -> Iterable[Finding]:
    """Find images of a rare kind, one finding a kind; and those of several pictures, the score being how many."""
    images = found.images.filter(pl.col("kind").is_not_null())
    sizes = images["kind"].value_counts().sort("kind")
    for kind, number in sizes.iter_rows():
        if number <= FEW * images.height:
            of_kind = images.filter(pl.col("kind") == kind)
            yield from finding_of("odd-kind", "note", of_kind, "{n} {of} " + f"{kind}, the others not: " + "{named}.")
    several = images.filter(pl.col("pictures") > 1).sort(["pictures", "id"], descending=[True, False])
    says = "{n} {of} animated or of several pages, and the first picture is read: {named}."
    yield from finding_of("several-pictures", "note", several, says, "pictures")


CHECK = Check("images of a kind that few have", "files", find)
