"""Reader of regression tables, as of AgeDB: a row an image, each with a path and a number that is to be predicted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from tailwise.data.images import is_image_name
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin
from tailwise.data.place import Place
from tailwise.data.readers.delimited import glance, read_texts
from tailwise.data.readers.roles import ROLES, find_roles, parse_columns, plain
from tailwise.data.readers.table import ROW, by_role, manifest_of_paths, said_columns
from tailwise.errors import BadData

TARGETS = ("age", "target", "value", "score", "label", "y")
"""What the column of the target may be called."""

LARGEST = 1e12
"""Values beyond are refused: bins of a unit could no longer be told apart."""

MOST_BINS = 1000
"""Bins that a set gets at most, before they become ten times as wide."""

_ROLES = {**ROLES, "label": TARGETS}
_AGE_IN_NAME = r"_([0-9]{1,3})_[fm]\.[A-Za-z]+$"  # 11706_OliviaHussey_31_f.jpg


def recognises(place: Place) -> bool:
    """A table with paths and a column `age` of numbers, or a `target`, `value` or `score` that must be a real number.

    A set of classes is never taken for one: another column for the label decides against it, and so do whole numbers in a column
    `target`. A `value` or `score` of whole numbers takes more than 50 different ones. Tables of STS-B and NYUD2 are recognised too,
    so that they are refused for what they are.
    """
    if _other_task(place) is not None:
        return True
    table = glance(place)
    targets = [name for name in table.columns if plain(name) in (*_ROLES["label"], *ROLES["label"])]
    has_path = any(plain(name) in ROLES["path"] for name in table.columns)
    return len(targets) == 1 and has_path and _is_real(plain(targets[0]), table[targets[0]].str.strip_chars())


def _is_real(name: str, texts: pl.Series) -> bool:
    texts = texts.filter(texts != "")
    values = texts.cast(pl.Float64, strict=False).drop_nulls()
    # A few that are no numbers are for the reader to name.
    if name not in ("age", "target", "value", "score") or len(values) * 2 <= len(texts):
        return False
    with_point = int(texts.str.contains(".", literal=True).sum())
    has_fractions = with_point * 2 > len(texts) and bool((values != values.floor()).any())
    return name == "age" or has_fractions or (name != "target" and values.n_unique() > 50)


def _other_task(place: Place) -> str | None:
    """Say what a table is whose targets are no numbers of images."""
    header = glance(place).columns
    if {"sentence1", "sentence2"} <= {plain(name) for name in header}:
        return "a table of pairs of sentences with a score, as of STS-B: there are no images in it, and text is not read"
    first = [name.strip() for name in place.lines[0].split(",")] if place.lines else []
    if len(first) == 2 and all(is_image_name(name) for name in first) and first[1].lower().endswith(".png") and first[0] != first[1]:
        return "a list of pairs of an image and a depth image, as of NYUD2: its labels are images, and only numbers are read"
    return None


def read_regression(file: Path | str, root: Path | str | None = None, columns: str | None = None) -> Manifest:
    """Read a `.csv` or `.tsv` table of paths and numbers.

    The number is the row's `value`, and its bin the row's `label`, so that counts and many, medium and few are those of bins (see
    `bins_of`). A bin is a class even where no row is in it: what lies between has a place.

    Args:
        file: as `read_delimited` takes it; the column of the number is one of `TARGETS`.
        root: folder that paths are relative to; None is the table's own. `/` admits absolute paths.
        columns: names of columns where they are not recognised, as in `path=file,label=weight`.

    Raises:
        BadData: as `read_delimited`, or a number is missing, not finite or none, with its row.
        BadValue: `columns` cannot be read.
    """
    file = Path(file)
    given = parse_columns(columns)
    other = _other_task(Place(file))
    if other is not None:
        raise BadData(f"{file}: {other}; give a table such as age,path,split")
    table = read_texts(file)
    roles = find_roles(table.texts.columns, given, file, usual=_ROLES)
    by_name = by_role(table.texts, roles, table.lines)
    values = _values(by_name["label"], by_name[ROW], file)
    bins = bins_of(values)
    said = said_columns(table.texts.columns, roles)
    found = manifest_of_paths(by_name.with_columns(bins.numbers.alias("label")), file, table.name, said, root, bins.names)
    found = found.replace(
        f"values of {roles['label']!r} from {min(values):.6g} to {max(values):.6g}, labels are bins {bins.width:g} wide",
        rows=found.rows.with_columns(values.alias("value")),
    )
    findings = (*_unseen_bins(found, file), *(_ages_unlike_names(found, file) if plain(roles["label"]) == "age" else ()))
    return found.replace(origin=Origin((table.source,), findings))


def _values(texts: pl.Series, rows: pl.Series, where: Path) -> pl.Series:
    """Give finite numbers, or refuse the first row that has none."""
    values = texts.str.strip_chars().cast(pl.Float64, strict=False)
    unfit = (values.is_null() | ~(values.abs() <= LARGEST)).arg_true()  # NaN is not <= either
    if len(unfit):
        first = unfit[0]
        more = f" (and {len(unfit) - 1:,} more)" if len(unfit) > 1 else ""
        raise BadData(
            f"{where}: target {texts[first]!r} in row {rows[first]}{more} is no number between -{LARGEST:g} and {LARGEST:g}; "
            f"leave rows without a target out of the table"
        )
    return values


class Bins(NamedTuple):
    """Values put into bins.

    Attributes:
        numbers: (N,) Int32, the bin of each value, counted from the lowest that has any.
        names: of the bins from the lowest to the highest that have any: their lower ends.
        width: of a bin.
    """

    numbers: pl.Series
    names: tuple[str, ...]
    width: float


def bins_of(values: pl.Series) -> Bins:
    """Put values into bins of one unit, [k, k + 1): one year of an age.

    Bins are 0.1 wide where values with fractions lie less than 10 units apart, and 10, 100 ... where there were more than `MOST_BINS`.

    Args:
        values: (N,) Float64, finite, N > 0.
    """
    numbers = values.to_numpy()
    spread = float(np.ptp(numbers))
    power = -1 if spread < 10 and np.any(numbers % 1) else 0
    while spread / 10.0**power >= MOST_BINS - 1:
        power += 1
    # Times 10, since 0.3 / 0.1 is 2.9999999999999996.
    places = np.floor(numbers * 10 if power < 0 else numbers / 10**power).astype(np.int64)
    first, last = int(places.min()), int(places.max())
    names = (f"{place / 10:.1f}" if power < 0 else str(place * 10**power) for place in range(first, last + 1))
    return Bins(pl.Series(places - first, dtype=pl.Int32), tuple(names), 10.0**power)


def _unseen_bins(found: Manifest, file: Path) -> tuple[Finding, ...]:
    """Name the bins that are asked for, but never seen in training; AgeDB's authors call them zero-shot."""
    rows = found.rows
    trained = rows.filter(pl.col("split") == "train")["label"].unique()
    unseen = rows.filter((pl.col("split") == "test") & ~pl.col("label").is_in(trained.implode())).sort("label", "id")
    if trained.is_empty() or unseen.is_empty():
        return ()
    bins = [found.classes[label] for label in unseen["label"].unique(maintain_order=True)]
    says = f"{file.name}: {len(bins):,} bins of test images have no training image (zero-shot): {first_five(bins)}"
    return (Finding("bins-without-training-images", "note", says, unseen.height, tuple(unseen["id"])),)


def _ages_unlike_names(found: Manifest, file: Path) -> tuple[Finding, ...]:
    """Compare ages with those in names such as `11706_OliviaHussey_31_f.jpg`."""
    named = found.rows.with_columns(pl.col("path").str.extract(_AGE_IN_NAME).cast(pl.Float64).alias("named"))
    unlike = named.filter(pl.col("named") != pl.col("value")).sort("id")
    if unlike.is_empty():
        return ()
    shown = [f"{id_} has {value:g}" for id_, value in unlike.select("id", "value").iter_rows()]
    says = f"{file.name}: {unlike.height:,} images have another age than their names say: {first_five(shown)}"
    distances = tuple((unlike["value"] - unlike["named"]).abs())
    return (Finding("age-unlike-name", "warning", says, unlike.height, tuple(unlike["id"]), distances),)
