"""Images of one colour: what a generator gives when it fails, and a scanner without a page.

A quick look knows the pixels of small files alone, which is where these are.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of, leave_all
from tailwise.data.origin import Finding

FLAT = 8
"""Largest difference between an image's brightest and darkest luminance, of 255, that is still one colour: JPEG's noise is less."""


def is_blank() -> pl.Expr:
    """Whether an image is of one colour."""
    return (pl.col("brightest") - pl.col("darkest")) <= FLAT


def find(found: Inspected) -> Iterable[Finding]:
    """Find images of one colour; the score is the spread of their luminance, 0-255."""
    images = found.images.filter(is_blank()).with_columns(spread=pl.col("brightest") - pl.col("darkest")).sort("spread", "id")
    black = images.filter(pl.col("brightest") <= FLAT)
    others = images.filter(pl.col("brightest") > FLAT)
    yield from finding_of("black", "error", black, "{n} {of} black: {named}.", "spread")
    yield from finding_of("blank", "error", others, "{n} {of} of one colour: {named}.", "spread")


CHECK = Check("images of one colour", "files", find, leave_all, "leaves them out")
