"""Images that are smaller than anything that can be told apart."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of
from tailwise.data.origin import Finding

LEAST_SIDE = 8
"""Shorter side, in pixels, below which an image is tiny."""


def find(found: Inspected) -> Iterable[Finding]:
    """Find images with a side below 8 pixels; the score is the shorter side."""
    side = pl.min_horizontal("width", "height")
    images = found.images.with_columns(side=side).filter(pl.col("side") < LEAST_SIDE).sort("side", "id")
    return finding_of("tiny", "warning", images, "{n} {of} smaller than " + f"{LEAST_SIDE} pixels: " + "{named}.", "side")


CHECK = Check("images that are smaller than 8 pixels", "files", find)
