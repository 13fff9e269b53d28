"""Images in which next to nothing is to be seen."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of
from tailwise.checks.findings.blank import is_blank
from tailwise.data.origin import Finding

FAINT = 4.0
"""Standard deviation of the luminance, of 255, below which an image is nearly blank; that of a photograph is some 30 to 80."""


def find(found: Inspected) -> Iterable[Finding]:
    """Find images of little contrast; the score is the standard deviation of their luminance, 0-255."""
    images = found.images.filter(~is_blank() & (pl.col("deviation") < FAINT)).sort("deviation", "id")
    return finding_of("near-blank", "warning", images, "{n} {of} nearly of one colour: {named}.", "deviation")


CHECK = Check("images in which next to nothing is to be seen", "pixels", find)
