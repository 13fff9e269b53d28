"""Files whose name says another format than their first bytes."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tailwise.checks.check import Check, Inspected, finding_of
from tailwise.data.origin import Finding

ENDINGS = {
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "JPEG"),
    **dict.fromkeys(("tif", "tiff"), "TIFF"),
    **dict.fromkeys(("ppm", "pgm", "pbm", "pnm"), "PNM"),
    **{"png": "PNG", "webp": "WebP", "bmp": "BMP", "gif": "GIF"},
}


def find(found: Inspected) -> Iterable[Finding]:
    """Find files that other programs, which trust the name, may not open."""
    ending = pl.col("path").str.extract(r"\.([A-Za-z]+)$").str.to_lowercase()
    named = ending.replace_strict(list(ENDINGS), list(ENDINGS.values()), default=None, return_dtype=pl.String)
    images = found.images.filter(pl.col("format").is_not_null() & (named != pl.col("format")))
    return finding_of("other-ending", "note", images, "{n} {of} of another format than the name says: {named}.")


CHECK = Check("files whose name says another format", "files", find)
