"""What all tables of images have in common: columns by role become a manifest's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.locating import AS_WRITTEN, clean_paths, locate
from tailwise.data.manifest import Manifest
from tailwise.data.readers.labels import Labels, as_text, named_labels, number_labels, split_column
from tailwise.errors import BadData

ROW = "row"
"""Column of `by_role` that says how errors name a row."""


UNLABELLED = -1
"""What the Hub writes for a label that is not known."""


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
    _refuse_lists(labels, numbers, where)
    return TableRows(pl.DataFrame([labels.numbers.alias("label"), *beside_labels(table, where)]), labels.classes, labels.notes)


def _refuse_lists(labels: Labels, rows: pl.Series, where: object) -> None:
    """Refuse a label such as `cat|dog` among labels `cat` and `dog`: a list of classes deep in a table, where nobody looked for one."""
    known = set(labels.classes)
    for place, name in enumerate(labels.classes):
        parts = [part.strip() for part in name.replace(";", "|").split("|")]
        if len(parts) > 1 and known.issuperset(parts):
            row = rows[(labels.numbers == place).arg_true()[0]]
            raise BadData(f"{where}: label {name!r} in row {row} is several classes; read it with --format multilabel, or correct the row")


def beside_labels(table: pl.DataFrame, where: object) -> list[pl.Series]:
    """Give the columns of `TableRows.rows` but for the label.

    Raises:
        BadData: a split, id or weight is not what it should be, with its row.
    """
    columns = [_splits(table, where)]
    if "id" in table.columns:
        columns.append(_ids(table, where))
    if "weight" in table.columns:
        columns.append(_weights(table, where))
    return columns


def _splits(table: pl.DataFrame, where: object) -> pl.Series:
    if "split" in table.columns:
        return split_column(table["split"], table[ROW], where)
    return pl.Series("split", ["train"] * table.height)


def _ids(table: pl.DataFrame, where: object) -> pl.Series:
    ids = as_text(table["id"], "id", where)
    unfit = (ids.is_null() | (ids == "") | ids.is_duplicated()).arg_true()
    if len(unfit):
        raise BadData(f"{where}: {len(unfit):,} rows have no id of their own, the first is row {table[ROW][unfit[0]]}; ids must be unique")
    return ids


def _weights(table: pl.DataFrame, where: object) -> pl.Series:
    weights = as_text(table["weight"], "weight", where).cast(pl.Float64, strict=False)
    unfit = (weights.is_null() | ~weights.is_finite() | (weights < 0)).arg_true()
    if len(unfit):
        first = unfit[0]
        raise BadData(
            f"{where}: weight {table['weight'][first]!r} in row {table[ROW][first]} is no number from 0 on; "
            f"correct it, or leave the column out by naming the others with --columns"
        )
    return weights


def hub_rows(table: pl.DataFrame, where: object, names: Sequence[str] | None) -> TableRows:
    """Read labels, splits, ids and weights of a table by role; a label of -1 is none."""
    values = table["label"]
    if not values.dtype.is_signed_integer() or values.ne_missing(UNLABELLED).all():
        return table_rows(table, where, names)
    has_label = values.ne_missing(UNLABELLED)
    if names is None and not has_label.any():
        raise BadData(f"{where}: no row has a label, all are {UNLABELLED}; give the rows that have labels too")
    known, rows = values.filter(has_label), table[ROW].filter(has_label)
    labels = number_labels(known, rows, where) if names is None else named_labels(known, names, rows, where)
    numbers = pl.repeat(None, table.height, dtype=pl.Int32, eager=True).scatter(has_label.arg_true(), labels.numbers)
    notes = (*labels.notes, f"{table.height - len(known):,} images have no label ({UNLABELLED})")
    return TableRows(pl.DataFrame([numbers.alias("label"), *beside_labels(table, where)]), labels.classes, notes)


def manifest_of_paths(
    table: pl.DataFrame,
    where: Path,
    name: str,
    said: str,
    root: Path | str | None = None,
    names: Sequence[str] | None = None,
) -> Manifest:
    """Make a manifest of a table that says where its images are.

    Args:
        table: as `by_role` gives it, with `path`.
        where: the table, or its folder; for errors, and because images are looked for beside it.
        name: what to call the set.
        said: which columns were read.
        root: folder that the paths are relative to, if the user named one; `/` admits absolute ones.
        names: as in `table_rows`.

    Raises:
        BadData: as `table_rows`; the root is no folder or holds none of the images; paths are empty, leave the root, or are there twice.
    """
    return manifest_of_rows(table_rows(table, where, names), table, where, name, said, root)


def manifest_of_rows(found: TableRows, table: pl.DataFrame, where: Path, name: str, said: str, root: Path | str | None = None) -> Manifest:
    """Make a manifest of a table whose labels are read, whatever they are; arguments and errors as of `manifest_of_paths`."""
    given = None if root is None else Path(root)
    paths = clean_paths(table["path"], table[ROW], where, given)
    _refuse_twice(paths, found.rows["targets" if "targets" in found.rows.columns else "label"], table[ROW], where)
    located = locate(paths, [where if where.is_dir() else where.parent], where, given)
    rows = found.rows.with_columns(located.paths)
    if "id" not in rows.columns:
        rows = rows.with_columns(paths.alias("id"))
    summary = f"read from the table {where.name!r}: {rows.height:,} images, {len(found.classes):,} classes"
    notes = (summary, said, *([] if located.said == AS_WRITTEN else [located.said]), *found.notes)
    return Manifest(rows, found.classes, located.root, {}, name, notes)


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
