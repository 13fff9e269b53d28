"""What all tables of images have in common: columns by role become a manifest's rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tailwise.data.images import survey
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.readers.labels import Labels, named_labels, number_labels, split_column
from tailwise.errors import BadData

ROW = "row"
"""Column of `by_role` that says how errors name a row."""


class TableRows(NamedTuple):
    """What a table says of its images, but for where they are.

    Attributes:
        rows: `label`, `split`, and `id` and `weight` where the table has them; in the table's order.
        classes: names in label order.
        notes: what is to be said in the provenance.
    """

    rows: pl.DataFrame
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def by_role(frame: pl.DataFrame, roles: Mapping[str, str], rows: Sequence[int] | pl.Series) -> pl.DataFrame:
    """Give the columns of a table under the names of their roles, beside `row`, by which errors name a row."""
    return pl.DataFrame([frame[column].alias(role) for role, column in roles.items()] + [pl.Series(ROW, rows, dtype=pl.Int64)])


def said_columns(names: Sequence[str], roles: Mapping[str, str]) -> str:
    """Say which columns were read as what, and which were not."""
    said = "columns read: " + ", ".join(f"{column!r} as {role}" for role, column in roles.items())
    left = [repr(name) for name in names if name not in roles.values()]
    return f"{said}; left unread: {first_five(left)}" if left else said


def table_rows(table: pl.DataFrame, where: object, names: Sequence[str] | None = None) -> TableRows:
    """Read labels, splits, ids and weights of a table by role.

    Args:
        table: as `by_role` gives it.
        where: the table, for errors.
        names: class names that labels are positions in, where the table has them.

    Raises:
        BadData: a label, split, id or weight is not what it should be, with its row.
    """
    numbers = table[ROW]
    if table.is_empty():
        raise BadData(f"{where}: no rows; give at least one image")
    labels: Labels = number_labels(table["label"], numbers, where) if names is None else named_labels(table["label"], names, numbers, where)
    columns = [labels.numbers.alias("label"), _splits(table, where)]
    if "id" in table.columns:
        columns.append(_ids(table, where))
    if "weight" in table.columns:
        columns.append(_weights(table, where))
    return TableRows(pl.DataFrame(columns), labels.classes, labels.notes)


def _splits(table: pl.DataFrame, where: object) -> pl.Series:
    if "split" in table.columns:
        return split_column(table["split"], table[ROW], where)
    return pl.Series("split", ["train"] * table.height)


def _ids(table: pl.DataFrame, where: object) -> pl.Series:
    ids = table["id"].cast(pl.String)
    unfit = (ids.is_null() | (ids == "") | ids.is_duplicated()).arg_true()
    if len(unfit):
        raise BadData(f"{where}: {len(unfit):,} rows have no id of their own, the first is row {table[ROW][unfit[0]]}; ids must be unique")
    return ids


def _weights(table: pl.DataFrame, where: object) -> pl.Series:
    weights = table["weight"].cast(pl.Float64, strict=False)
    unfit = (weights.is_null() | ~weights.is_finite() | (weights < 0)).arg_true()
    if len(unfit):
        first = unfit[0]
        raise BadData(
            f"{where}: weight {table['weight'][first]!r} in row {table[ROW][first]} is no number from 0 on; "
            f"correct it, or leave the column out by naming the others with --columns"
        )
    return weights


def manifest_of_paths(table: pl.DataFrame, root: Path, where: Path, name: str, said: str, names: Sequence[str] | None = None) -> Manifest:
    """Make a manifest of a table that says where its images are.

    Args:
        table: as `by_role` gives it, with `path`.
        root: folder that the paths are relative to; `/` admits absolute ones.
        where: the table, for errors.
        name: what to call the set.
        said: which columns were read.
        names: as in `table_rows`.

    Raises:
        BadData: as `table_rows`; the root is no folder; paths are empty, leave the root, are there twice, or lead to no image.
    """
    found = table_rows(table, where, names)
    if not os.path.isdir(root):
        raise BadData(f"{where}: its images cannot be in {root}, which is no folder; pass --root with the folder that paths start from")
    paths = _paths(table, root, where)
    _refuse_twice(paths, found.rows["label"], table[ROW], where)
    _refuse_missing(paths, root, where)
    survey([os.path.join(root, path) for path in paths])
    rows = found.rows.with_columns(paths)
    if "id" not in rows.columns:
        rows = rows.with_columns(paths.alias("id"))
    summary = f"read from the table {where.name!r}: {rows.height:,} images, {len(found.classes):,} classes"
    return Manifest(rows, found.classes, root, {}, name, (summary, said, *found.notes))


def _paths(table: pl.DataFrame, root: Path, where: Path) -> pl.Series:
    """Give paths relative to the root, without `./` and doubled slashes."""
    if table["path"].dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise BadData(f"{where}: the column for the path holds {table['path'].dtype}, expected text; choose another with --columns path=")
    paths = table["path"].cast(pl.String)
    if root == Path(root.anchor):
        paths = paths.str.strip_prefix(root.anchor)
    rules = [
        (paths.is_null() | (paths.str.strip_chars() == ""), "is empty", "give every row a path"),
        (paths.str.starts_with("/"), "is absolute", "make it relative to the root, or pass --root / to admit absolute paths"),
        (paths.str.contains(r"(^|/)\.\.(/|$)"), "leaves the root", "paths must not hold '..'; pass --root / and absolute paths instead"),
        (paths.str.contains(r"[\x00-\x1f]"), "holds a control character", "correct the table"),
    ]
    for unfit, what, remedy in rules:
        rows = unfit.arg_true()
        if len(rows):
            more = f" (and {len(rows) - 1:,} more)" if len(rows) > 1 else ""
            raise BadData(f"{where}: path {table['path'][rows[0]]!r} in row {table[ROW][rows[0]]}{more} {what}; {remedy}")
    return paths.str.replace_all(r"/+(\./+)*", "/").str.replace(r"^(\./)+", "").alias("path")


def _refuse_twice(paths: pl.Series, labels: pl.Series, rows: pl.Series, where: Path) -> None:
    twice = paths.is_duplicated()
    if not twice.any():
        return
    again = pl.DataFrame([paths, labels.alias("label"), rows]).filter(twice)
    images = again.group_by("path", maintain_order=True).agg(pl.col("label").n_unique(), pl.col(ROW))
    torn = images.filter(pl.col("label") > 1)
    path, _, of_path = (torn if torn.height else images).row(0)
    seen = f"(first: {path!r} in rows {first_five(of_path)})"
    if torn.height:
        raise BadData(f"{where}: {torn.height:,} images have two labels {seen}; decide on one, and list each image once")
    raise BadData(
        f"{where}: {images.height:,} images are listed more than once {seen}; list each once, and use a weight column to count it more"
    )


def _refuse_missing(paths: pl.Series, root: Path, where: Path) -> None:
    missing = [path for path in paths if not os.path.isfile(os.path.join(root, path))]
    if missing:
        named = first_five([repr(path) for path in missing])
        raise BadData(f"{where}: {len(missing):,} of {len(paths):,} images are not in {root}: {named}; pass --root with their folder")
