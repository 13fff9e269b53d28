"""The columns of a manifest's table: their types, and what their values must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from tailwise.data.listing import first_five
from tailwise.errors import BadData

SPLITS = ("train", "val", "test")
SOURCES = ("real", "generated")

REQUIRED: dict[str, pl.DataType] = {"id": pl.String(), "label": pl.Int32(), "split": pl.String()}
LOCATION: dict[str, pl.DataType] = {"path": pl.String(), "container": pl.String(), "row": pl.Int64()}
OPTIONAL: dict[str, pl.DataType] = {
    "weight": pl.Float64(),
    "source": pl.String(),
    "content": pl.String(),
    "targets": pl.List(pl.Int32()),
    "value": pl.Float64(),
    "domain": pl.String(),
    "frames": pl.Int32(),
}

LEVELS = ("kingdom", "phylum", "class", "order", "family", "genus", "supercategory", "superclass")
"""Columns of a class table that put classes together, coarse ones first."""

Task = Literal["classification", "multi-label", "regression"]

_ORDER = ("id", "path", "container", "row", "label", "split")


def all_differ(texts: pl.Series) -> bool:
    """Tell whether no two texts of a column are equal, nulls included; its name is the column's, N may be millions.

    Different hashes prove it, at a tenth of the time that comparing takes; texts are compared only where two hashes agree.
    """
    hashes = np.sort(texts.hash().to_numpy())
    return not bool((hashes[1:] == hashes[:-1]).any()) or not texts.is_duplicated().any()


def conform(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Give every known column its type and place; missing columns of the location are added, empty.

    Raises:
        BadData: a required column is missing, or a column holds another kind of value (float labels are never truncated).
    """
    missing = [column for column in REQUIRED if column not in rows.columns]
    if missing:
        raise BadData(
            f"manifest {name!r} lacks the column {', '.join(missing)}; it has {', '.join(rows.columns) or 'none'}; "
            f"give the columns {', '.join(REQUIRED)} and path, or container and row"
        )
    for column, wanted in {**REQUIRED, **LOCATION, **OPTIONAL}.items():
        if column in rows.columns:
            rows = rows.with_columns(_cast(rows[column], wanted, name))
        elif column in LOCATION:
            rows = rows.with_columns(pl.lit(None, dtype=wanted).alias(column))
    return rows.select(*_ORDER, *(column for column in rows.columns if column not in _ORDER))


def _cast(column: pl.Series, wanted: pl.DataType, name: str) -> pl.Series:
    dtype = column.dtype
    if wanted == pl.String():
        is_fit = dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)
    elif isinstance(wanted, pl.List):
        is_fit = isinstance(dtype, pl.List) and (dtype.inner.is_integer() or dtype.inner == pl.Null)
    elif wanted.is_integer():
        is_fit = dtype.is_integer() or dtype == pl.Null
    else:
        is_fit = dtype.is_numeric()
    try:
        if is_fit:
            return column.cast(wanted)
    except pl.exceptions.InvalidOperationError:  # an integer beyond the type's range
        pass
    raise BadData(f"column {column.name!r} of manifest {name!r} holds {dtype} values that are no {wanted}; convert the column")


def check_classes(classes: Sequence[str], name: str) -> None:
    """Refuse class names that are missing, empty or named twice."""
    wrong = [c for c in classes if not isinstance(c, str) or not c]
    if not classes or wrong:
        raise BadData(f"classes of manifest {name!r} must be non-empty strings, got {list(classes)[:5]!r}; name every class")
    unfit = [c for c in classes if "\x1b" in c or "\x9b" in c]
    if unfit:
        raise BadData(f"class {unfit[0]!r} of manifest {name!r} holds an escape character, which a terminal would obey; rename it")
    if len(set(classes)) < len(classes):
        twice = sorted({c for c in classes if list(classes).count(c) > 1})
        raise BadData(f"classes of manifest {name!r} name {first_five(twice)} twice; give each class its own name")


def check_class_table(table: pl.DataFrame | None, classes: Sequence[str], name: str) -> None:
    """Refuse a table of the classes that has not one row a class, or holds anything but text."""
    if table is None:
        return
    if table.height != len(classes):
        raise BadData(f"the class table of manifest {name!r} has {table.height:,} rows for {len(classes):,} classes; give one a class")
    other = [column for column, dtype in table.schema.items() if dtype != pl.String]
    if other:
        raise BadData(
            f"column {other[0]!r} of the class table of manifest {name!r} holds {table[other[0]].dtype}, expected text; convert it"
        )


def check_rows(rows: pl.DataFrame, classes: Sequence[str], arrays: Mapping[str, np.ndarray], name: str) -> None:
    """Refuse the first kind of wrong value, with all its rows counted and the first five named.

    Raises:
        BadData: the table is empty, an id is missing or given twice, a label, split, weight or source cannot be, or a row says
            wrongly where its image is.
    """
    if rows.is_empty():
        raise BadData(f"manifest {name!r} has no rows; give at least one image")
    col = pl.col
    rules = [
        (col("id").is_null() | (col("id") == ""), "have no id", "give every row an id"),
        (pl.lit(False) if all_differ(rows["id"]) else col("id").is_duplicated(), "have an id that another row has", "ids must be unique"),
        (
            col("label").is_not_null() & ~col("label").is_between(0, len(classes) - 1),
            f"have a label outside 0..{len(classes) - 1}",
            f"there are {len(classes)} classes; correct the labels or name the classes",
        ),
        (col("split").is_null() | ~col("split").is_in(SPLITS), "have an unknown split", "use train, val or test"),
        *_location_rules(arrays),
    ]
    if "weight" in rows.columns:
        unfit = col("weight").is_null() | ~col("weight").is_finite() | (col("weight") < 0)
        rules.append((unfit, "have a weight that is no number from 0 on", "correct the column weight, or leave it out"))
    if "source" in rows.columns:
        unfit = col("source").is_not_null() & ~col("source").is_in(SOURCES)
        rules.append((unfit, "have an unknown source", "use real or generated"))
    if "targets" in rows.columns:
        outside = col("targets").list.eval((pl.element() < 0) | (pl.element() >= len(classes))).list.any()
        rules.append((outside, f"have a target outside 0..{len(classes) - 1}", "correct the targets or name the classes"))
        rules.append((col("targets").list.len() != col("targets").list.n_unique(), "have a target twice", "name each once"))
        rules.append((col("label").is_not_null(), "have a label beside targets", "leave the label of a multi-label set empty"))
    if "value" in rows.columns:
        rules.append((col("value").is_not_null() & ~col("value").is_finite(), "have a value that is not finite", "leave these rows out"))
    for unfit, what, remedy in rules:
        found = rows.filter(unfit)
        if found.height:
            ids = found["id"].to_list()
            raise BadData(f"{found.height:,} rows of manifest {name!r} {what} (id {first_five(ids)}); {remedy}")


def _location_rules(arrays: Mapping[str, np.ndarray]) -> list[tuple[pl.Expr, str, str]]:
    path, container, row = pl.col("path"), pl.col("container"), pl.col("row")
    rules = [
        (
            (path.is_null() == container.is_null()) | (container.is_null() != row.is_null()),
            "do not say where their image is",
            "give either path, or container and row",
        ),
        # What lies outside the root is refused, so that a table from elsewhere cannot make anyone read other files.
        (
            (path == "") | path.str.starts_with("/") | path.str.contains(r"(^|/)\.\.(/|$)"),
            "have a path that leaves the root",
            "give paths relative to the root, without '..'",
        ),
        (
            container.is_not_null() & ~container.is_in(list(arrays)),
            "name an array that is not there",
            f"the arrays are: {', '.join(arrays) or 'none'}",
        ),
    ]
    for name, array in arrays.items():
        outside = (container == name) & ~row.is_between(0, len(array) - 1)
        rules.append((outside, f"point outside array {name!r}", f"it has the rows 0..{len(array) - 1}"))
    return rules
