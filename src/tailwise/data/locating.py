"""Where the images of a list lie: paths checked, and one mapping from what is written to what is on disk, for all rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from tailwise.data.listing import first_five
from tailwise.errors import BadData

SAMPLE = 200
"""Paths that are looked for, at even steps, before one mapping is taken for all."""

DEEPEST = 32
"""Parts that are taken away at most, but for bare names: a path of thousands is no place."""

_ODD = r"^\s*$|^\.?/|^[A-Za-z]:|\.\.|//|/\./|[\x00-\x1f]"
"""What a path has that may be refused, or written otherwise; millions have nothing of it, and one look is enough for them."""

AS_WRITTEN = "paths as written"


class Located(NamedTuple):
    """Where images are.

    Attributes:
        root: the folder that `paths` are relative to; None where not one image was found, and the list stands alone.
        paths: (N,) String, relative to `root`; as written where there is none.
        said: how the paths were mapped, for the provenance.
    """

    root: Path | None
    paths: pl.Series
    said: str


def clean_paths(written: pl.Series, rows: pl.Series, where: object, root: Path | None = None, strip_absolute: bool = False) -> pl.Series:
    """Refuse paths that are none, or that leave the root; take `./` and doubled slashes away.

    Args:
        written: (N,) paths of a list.
        rows: (N,) whole numbers by which errors name the rows.
        where: the list, for errors.
        root: the folder that the user named; `/` admits absolute paths.
        strip_absolute: take absolute paths as relative ones, for formats that publish those of their author's machine.

    Raises:
        BadData: a path is empty, absolute, leaves the root or holds a control character; with its row.
    """
    if written.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise BadData(f"{where}: the column for the path holds {written.dtype}, expected text; choose another with --columns path=")
    paths = written.cast(pl.String)
    if strip_absolute or (root is not None and root == Path(root.anchor)):
        paths = paths.str.strip_prefix("/")
    if not paths.null_count() and not paths.str.contains(_ODD).any():
        return paths.alias("path")
    rules = [
        (paths.is_null() | (paths.str.strip_chars() == ""), "is empty", "give every row a path"),
        (
            paths.str.contains(r"^(/|[A-Za-z]:[\\/])"),
            "is absolute",
            "make it relative to the root, or pass --root / to admit absolute paths",
        ),
        (
            paths.str.contains(r"(^|[/\\])\.\.([/\\]|$)"),
            "leaves the root",
            "paths must not hold '..'; pass --root / and absolute paths instead",
        ),
        (paths.str.contains(r"[\x00-\x1f]"), "holds a control character", "correct the list"),
    ]
    for unfit, what, remedy in rules:
        found = unfit.arg_true()
        if len(found):
            more = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
            raise BadData(f"{where}: path {written[found[0]]!r} in row {rows[found[0]]}{more} {what}; {remedy}")
    return paths.str.replace_all(r"/+(\./+)*", "/").str.replace(r"^(\./)+", "").alias("path")


def locate(paths: pl.Series, folders: Sequence[Path], where: object, given: Path | None = None) -> Located:
    """Find the folder and the part of the paths that lead to the images; one answer for all rows.

    Paths are tried as written, then without their first part, then without the first two ..., at last as bare names, below each
    folder in turn. What finds most of a sample is taken for all, the first of equals; single images that are missing are no matter
    of this function.

    Args:
        paths: (N,) as `clean_paths` gives them.
        folders: where images may be, the likeliest first; for lists without a word of the user.
        where: the list, for errors.
        given: the folder that the user named: then only it is tried, and it must hold images.

    Raises:
        BadData: `given` is no folder, or holds not one of the images that were looked for.
    """
    if given is not None and not os.path.isdir(given):
        raise BadData(f"{where}: its images cannot be in {given}, which is no folder; pass --root with the folder that paths start from")
    places = np.linspace(0, len(paths) - 1, min(len(paths), SAMPLE)).round().astype(int).tolist()
    sample = [paths[place].split("/") for place in places]
    longest = max(len(parts) for parts in sample)
    best, most = None, 0
    for folder in [given] if given is not None else dict.fromkeys(folders):
        for dropped in [*range(min(longest, DEEPEST)), longest - 1]:
            found = sum(os.path.lexists(os.path.join(folder, *parts[min(dropped, len(parts) - 1) :])) for parts in sample)
            if found > most:
                best, most = (folder, dropped), found
            if most == len(sample):
                break
    if best is None:
        if given is not None:
            tried = first_five([repr(paths[place]) for place in places[:3]])
            raise BadData(f"{where}: none of its images is in {given} (tried {tried}); pass --root with the folder that paths start from")
        return Located(None, paths, "its images are not there; the list stands alone")
    folder, dropped = best
    if not dropped:
        return Located(folder, paths, AS_WRITTEN)
    tail = paths.str.split("/").list.eval(pl.element().slice(pl.min_horizontal(pl.lit(dropped), pl.len() - 1))).list.join("/")
    return Located(folder, tail.alias("path"), f"paths without {'their first part' if dropped == 1 else f'their first {dropped} parts'}")
