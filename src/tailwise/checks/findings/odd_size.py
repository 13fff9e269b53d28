"""Images whose size or shape is far from that of most."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of
from tailwise.data.origin import Finding

FAR = 4.0
"""Times that an image's area, or its width over its height, differs from the median before it is odd."""


def find(found: Inspected) -> Iterable[Finding]:
    """Find images far from the median area or shape; the score is how many times, the larger of the two."""
    images = found.images.filter(pl.col("width").is_not_null())
    area, shape = pl.col("width") * pl.col("height").cast(pl.Float64), pl.col("width") / pl.col("height")
    images = images.with_columns(times=pl.max_horizontal(_times(area), _times(shape)))
    odd = images.filter(pl.col("times") > FAR).sort(["times", "id"], descending=[True, False])
    says = "{n} {of} of a size or shape that differs from the median by more than " + f"{FAR:g} times: " + "{named}."
    return finding_of("odd-size", "note", odd, says, "times")


def _times(number: pl.Expr) -> pl.Expr:
    ratio = number / number.median()
    return pl.max_horizontal(ratio, 1 / ratio)


CHECK = Check("images of a size or shape that few have", "files", find)
