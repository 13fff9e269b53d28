"""Reader of multi-label tables: a row an image, with a column that lists its labels, or with a column of 0 and 1 for each label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, Severity
from tailwise.data.place import Place
from tailwise.data.readers.delimited import glance, read_texts
from tailwise.data.readers.roles import ROLES, find_roles, parse_columns, plain
from tailwise.data.readers.table import ROW, TableRows, beside_labels, by_role, manifest_of_rows, said_columns
from tailwise.errors import BadData

_LABELS = (*ROLES["label"], "targets", "classes", "tags", "attributes", "attribute_ids", "label_ids", "categories")

_YES, _NO, _MINUS_ONE = ("1", "1.0"), ("0", "0.0"), ("-1", "-1.0")
_UNKNOWN = (*_MINUS_ONE, "")
"""What a column of 0 and 1 holds; ISIC and CheXpert write them as floats, and CheXpert -1 or nothing for what nobody knows."""

_NUMBERS = r"^-?[0-9]+(( *, *| +)-?[0-9]+)*$"
_THOUSANDS = r"^[0-9]{1,3}(,[0-9]{3})+$"
_WHOLE = r"^(0|[1-9][0-9]{0,17})$"


def recognises(place: Place) -> bool:
    """A table whose label column surely holds lists, or with two or more columns of 0 and 1 and no column for the label.

    Surely: numbers parted by blanks or commas (which are not all thousands, as in 1,234), or parts between `|` or `;` that come back
    in other rows. A name with blanks is one class.
    """
    table = glance(place)
    if not any(plain(name) in (*ROLES["path"], *ROLES["id"]) for name in table.columns):
        return False
    labels = [name for name in table.columns if plain(name) in _LABELS]
    if labels:
        return len(labels) == 1 and _holds_lists(table[labels[0]])
    return len(_binary(_free(table, {}))) >= 2


def _holds_lists(texts: pl.Series) -> bool:
    texts = texts.str.strip_chars()
    pattern = _part(texts)
    parts = _parts(texts, pattern)
    several = parts.list.len() > 1
    if pattern == _OF_NUMBERS:
        return bool((several & ~texts.str.contains(_THOUSANDS)).any())
    if pattern not in (_OF_BARS, _OF_SEMICOLONS):
        return False
    of_lists = parts.filter(several).explode().drop_nulls().unique()
    again = parts.explode().drop_nulls().value_counts().filter(pl.col("count") > 1)
    return bool(of_lists.is_in(again[parts.name].implode()).any())


def read_multilabel(file: Path | str, root: Path | str | None = None, columns: str | None = None) -> Manifest:
    """Read a `.csv` or `.tsv` table of paths and labels, any number of them an image.

    A column of the labels holds lists, parted by `|`, `;`, commas, or blanks where all are numbers; which is decided for the column
    as a whole. Nothing in it means no label; -1 alone that they are unknown. Without such a column, each column that holds only 0, 1,
    -1 or nothing is a class; -1 and nothing mean unknown there, which counts as not present and is said.

    Classes are sorted, numbers as numbers; those that are columns keep their order.

    Args:
        file: as `read_delimited` takes it; where no column is a path, one for the id is, which may have no suffix.
        root: folder that paths are relative to; None is the table's own. `/` admits absolute paths.
        columns: names of columns where they are not recognised, as in `path=file,label=tags`.

    Raises:
        BadData: as `read_delimited`; no row has a label; a number is negative; fewer than two columns hold 0 and 1.
        BadValue: `columns` cannot be read.
    """
    file = Path(file)
    given = parse_columns(columns)
    table = read_texts(file)
    roles = _roles(table.texts.columns, given, file)
    by_name = by_role(table.texts, roles, table.lines)
    if "label" in roles:
        rows, classes, findings = _listed(by_name, file)
        said = said_columns(table.texts.columns, roles)
    else:
        rows, classes, findings = _one_a_column(_free(table.texts, roles), by_name, file)
        said = said_columns(table.texts.columns, roles | {f"class {name!r}": name for name in classes})
    rows = rows.with_columns(pl.lit(None, pl.Int32).alias("label"), *beside_labels(by_name, file))
    found = manifest_of_rows(TableRows(rows, classes, ()), by_name, file, table.name, said, root)
    return found.replace(origin=Origin((table.source,), findings))


def _roles(header: list[str], given: Mapping[str, str], file: Path) -> dict[str, str]:
    """Say which column is what; an id is the path where nothing else is."""
    usual = {**ROLES, "label": _LABELS}
    if "path" not in given and not any(plain(name) in ROLES["path"] for name in header):
        usual |= {"path": ROLES["id"], "id": ()}
    return find_roles(header, given, file, usual=usual, needed=("path",) if "label" not in given else ("path", "label"))


_Read = tuple[pl.DataFrame, tuple[str, ...], tuple[Finding, ...]]
"""Targets of the rows, class names and findings."""

_OF_BARS, _OF_SEMICOLONS, _OF_COMMAS, _OF_NUMBERS, _WHOLE_CELL = r"[^|]+", r"[^;]+", r"[^,]+", r"[^ ,]+", r".+"


def _part(texts: pl.Series) -> str:
    """Give the pattern of one label in the cells of a column."""
    filled = texts.filter(texts != "")
    for pattern, sign in ((_OF_BARS, "|"), (_OF_SEMICOLONS, ";")):
        if filled.str.contains(sign, literal=True).any():
            return pattern
    if filled.str.contains(_NUMBERS).all():
        return _OF_NUMBERS
    return _OF_COMMAS if filled.str.contains(",", literal=True).any() else _WHOLE_CELL


def _parts(texts: pl.Series, pattern: str) -> pl.Series:
    stripped = pl.element().str.strip_chars()
    return texts.str.extract_all(pattern).list.eval(stripped.filter(stripped != ""))


def _listed(table: pl.DataFrame, where: Path) -> _Read:
    """Read a column of lists."""
    texts = table["label"].str.strip_chars()
    is_unknown = texts.is_in(_MINUS_ONE)
    parts = _parts(texts.set(is_unknown, ""), _part(texts))
    _refuse_negative(parts, table[ROW], where)
    classes = _sorted(parts.explode().drop_nulls().unique())
    if not classes:
        raise BadData(f"{where}: no row has a label; choose the column that holds them with --columns path=..,label=NAME")
    position = pl.element().replace_strict(classes, range(len(classes)), return_dtype=pl.Int32)
    targets = parts.list.unique().list.eval(position).list.sort()
    rows = pl.select(pl.when(~is_unknown).then(targets).alias("targets"))
    ids = _ids(table)
    findings = (
        *_gaps(classes, where),
        *_of_images("repeated-labels", "warning", "name a label twice", ids.filter(parts.list.len() > targets.list.len()), where),
        *_of_images("unknown-labels", "note", "have the label -1: unknown, and counted nowhere", ids.filter(is_unknown), where),
        *_of_images("images-without-labels", "note", "have no label", ids.filter(~is_unknown & (parts.list.len() == 0)), where),
    )
    return rows, classes, findings


def _sorted(names: pl.Series) -> tuple[str, ...]:
    """Sort class names, whole numbers as numbers."""
    if names.str.contains(_WHOLE).all():
        return tuple(names[names.cast(pl.Int64).arg_sort()])
    return tuple(names.sort())


def _refuse_negative(parts: pl.Series, rows: pl.Series, where: Path) -> None:
    unfit = parts.list.eval(pl.element().str.contains(r"^-[0-9]+$")).list.any().arg_true()
    if len(unfit):
        first = unfit[0]
        raise BadData(
            f"{where}: labels {' '.join(parts[first])!r} in row {rows[first]}, expected none below 0, or -1 alone for unknown; correct them"
        )


def _gaps(classes: tuple[str, ...], where: Path) -> tuple[Finding, ...]:
    """Say which numbers between 0 and the highest no image has."""
    if not pl.Series(classes).str.contains(_WHOLE).all() or int(classes[-1]) > 10 * len(classes):  # far apart: ids, not labels
        return ()
    present = {int(name) for name in classes}
    missing = [number for number in range(max(present)) if number not in present]
    if not missing:
        return ()
    says = f"{where.name}: labels 0..{max(present)} without {first_five(missing)}; kept as class ids, {len(classes):,} classes"
    return (Finding("label-gap", "note", says, len(missing)),)


def _ids(table: pl.DataFrame) -> pl.Series:
    return table["id" if "id" in table.columns else "path"]


def _of_images(kind: str, severity: Severity, what: str, ids: pl.Series, where: Path) -> tuple[Finding, ...]:
    if ids.is_empty():
        return ()
    return (Finding(kind, severity, f"{where.name}: {len(ids):,} images {what} ({first_five(ids.to_list())})", len(ids), tuple(ids)),)


def _free(table: pl.DataFrame, roles: Mapping[str, str]) -> pl.DataFrame:
    """Give the columns that may each be a class: those that are nothing else, by role or by name."""
    taken = {name for usual in ROLES.values() for name in usual} | {""}
    return table.select([name for name in table.columns if name not in roles.values() and plain(name) not in taken])


def _binary(table: pl.DataFrame) -> list[str]:
    """Name the columns that hold nothing but 0, 1 and what stands for unknown."""
    cells = table.select(pl.all().str.strip_chars())
    return [name for name in table.columns if cells[name].is_in(_YES + _NO + _UNKNOWN).all() and cells[name].is_in(_YES + _NO).any()]


def _one_a_column(texts: pl.DataFrame, table: pl.DataFrame, where: Path) -> _Read:
    """Read columns of 0 and 1, one a class, among columns that may be others."""
    names = _binary(texts)
    if len(names) < 2:
        raise BadData(
            f"{where}: no column is recognised as label, and {len(names) or 'none'} of the others hold only 0 and 1, expected two or more; "
            f"name the column of labels with --columns path=..,label=NAME"
        )
    cells = texts.select(pl.col(names).str.strip_chars())
    is_unknown = cells.select(pl.all().is_in(_UNKNOWN))
    present = [pl.when(pl.col(name).is_in(_YES)).then(pl.lit(label, pl.Int32)) for label, name in enumerate(names)]
    targets = cells.select(pl.concat_list(present).list.drop_nulls().alias("targets"))
    rows = targets.with_columns(pl.when(~is_unknown.select(pl.all_horizontal(pl.all())).to_series()).then(pl.col("targets")))
    unknown = int(is_unknown.sum().sum_horizontal().item())
    some = _ids(table).filter(is_unknown.select(pl.any_horizontal(pl.all())).to_series())
    what = f"have -1 or nothing for {unknown:,} labels in all: unknown, and counted as not present"
    findings = (*_of_images("unknown-labels", "note", what, some, where), *_left_out(texts, names, table, where))
    return rows, tuple(names), findings


def _left_out(texts: pl.DataFrame, names: list[str], table: pl.DataFrame, where: Path) -> tuple[Finding, ...]:
    """Name columns that would be classes but for a few cells."""
    found = []
    for name in (name for name in texts.columns if name not in names):
        column = texts[name].str.strip_chars()
        odd = (~column.is_in(_YES + _NO + _UNKNOWN)).arg_true()
        if 0 < len(odd) < texts.height / 10:
            found.append(f"{name!r} has {column[odd[0]]!r} in row {table[ROW][odd[0]]}")
    if not found:
        return ()
    says = f"{where.name}: {len(found):,} columns hold 0 and 1 but for a few rows, and were left unread: {first_five(found)}"
    return (Finding("columns-left-out", "warning", says, len(found)),)
