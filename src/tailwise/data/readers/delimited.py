"""Reader of CSV and TSV: a table with a header, a row an image, each with a path and a label."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tailwise.data.images import is_image_name
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.opening import read_text
from tailwise.data.readers.roles import find_roles, parse_columns
from tailwise.data.readers.table import by_role, manifest_of_paths, said_columns
from tailwise.errors import BadData

NAME = re.compile(r"(?P<stem>.*)\.(?P<kind>csv|tsv)(\.gz)?", re.IGNORECASE | re.DOTALL)
"""What a table's file is called."""

_DELIMITERS = ",\t;"


def recognises(place: Place) -> bool:
    """A file that is called `.csv` or `.tsv`, plain or `.gz`."""
    return NAME.fullmatch(place.path.name) is not None and not place.is_folder


def read_delimited(file: Path | str, root: Path | str | None = None, columns: str | None = None) -> Manifest:
    """Read a `.csv` or `.tsv` table, plain or `.gz`, of paths and labels.

    Columns are recognised by usual names (`tailwise.data.readers.roles.ROLES`), in any order; others are left unread and said.
    Labels are class names, which are sorted, or whole numbers. Ids are the paths where the table has no `id`.

    Args:
        file: UTF-8, with a header; fields parted by comma, tab or semicolon.
        root: folder that paths are relative to; None is the table's own. `/` admits absolute paths.
        columns: names of columns where they are not recognised, as in `path=file,label=species`.

    Raises:
        BadData: the file is no such table; a row has too few fields, or a label, split, weight or path that cannot be; images are
            missing, listed twice, or are none. One line with the row, as lines are counted in the file.
        BadValue: `columns` cannot be read.
    """
    file = Path(file)
    given = parse_columns(columns)
    table = read_texts(file)
    roles = find_roles(table.texts.columns, given, file)
    by_name = by_role(table.texts, roles, table.lines)
    found = manifest_of_paths(by_name, file, table.name, said_columns(table.texts.columns, roles), root)
    return found.replace(origin=Origin((table.source,)))


class TextTable(NamedTuple):
    """A table as it is written.

    Attributes:
        texts: (N rows, all String) its columns; fields as they stand there, quotes taken away.
        lines: (N,) the line of each row in the file, for errors.
        name: what to call the set.
        source: for the manifest's origin.
    """

    texts: pl.DataFrame
    lines: list[int]
    name: str
    source: SourceTable


def read_texts(file: Path) -> TextTable:
    """Read a delimited file with a header, plain or `.gz`; nothing is interpreted.

    Raises:
        BadData: it cannot be read, is no such table, or has no rows; with the row.
    """
    header, lines, rows = parse_table(file, read_text(file))
    texts = pl.DataFrame({name: [row[place] for row in rows] for place, name in enumerate(header)}, schema=dict.fromkeys(header, pl.String))
    found = NAME.fullmatch(file.name)
    name = (found["stem"] if found else file.stem) or "table"
    return TextTable(texts, lines, name, SourceTable(file.name, len(rows), texts.row(0, named=True)))


def glance(place: Place) -> pl.DataFrame:
    """Give a table as far as the first lines of a file show it, for those who ask what it is; without columns where it is none."""
    rows = [row for row in _first_rows(place) if any(row)]
    header = [name.strip() for name in rows[0]] if rows else []
    if len(header) < 2 or len(set(header)) < len(header):
        return pl.DataFrame()
    fitting = [row for row in rows[1:] if len(row) == len(header)]
    return pl.DataFrame(fitting, schema=dict.fromkeys(header, pl.String), orient="row")


def _first_rows(place: Place) -> list[list[str]]:
    if place.is_folder or not place.lines:
        return []
    try:
        return list(csv.reader(place.lines, delimiter=_delimiter(place.path, place.lines[0])))
    except csv.Error:
        return []


def parse_table(file: Path, text: str, header: Sequence[str] = ()) -> tuple[list[str], list[int], list[list[str]]]:
    """Give the header of a delimited text, and for each row its line and its fields; empty lines are passed over.

    Args:
        file: where it is from, for errors; a `.tsv` is parted by tabs, others by what their header holds most of.
        text: with any line ends.
        header: names of the columns, for a text that begins with its rows.

    Raises:
        BadData: no header or no rows; a column named twice; a row with too many or too few fields, or that repeats the header;
            quotes that do not close.
    """
    # Python's reader, since polars cannot name a row that does not fit.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(file, text), strict=True)
    header, first = list(header), []
    lines, rows = [], []
    try:
        for fields in reader:
            if not any(fields):  # an empty line
                continue
            if not header:
                header, first = _header(file, fields), _as_words(fields)
                continue
            if len(fields) != len(header):
                hint = " (a delimiter inside a field needs quotes)" if len(fields) > len(header) else ""
                raise BadData(f"{file}: row {reader.line_num} has {len(fields)} fields, expected {len(header)}{hint}; correct the row")
            if _as_words(fields) == first:
                raise BadData(f"{file}: row {reader.line_num} repeats the header; were two lists joined? Take the row out")
            if any("\n" in field or "\r" in field or "\t" in field for field in fields):
                raise BadData(
                    f"{file}: row {reader.line_num} has a field with a line break or a tab in it, as where quotes do not close; correct it"
                )
            lines.append(reader.line_num)
            rows.append(fields)
    except csv.Error as error:
        raise BadData(f"{file}: row {reader.line_num} cannot be read ({error}); correct its quotes") from error
    if not rows:
        raise BadData(f"{file}: {'only a header, no rows' if header else 'empty'}; expected a header such as path,label and a row an image")
    return header, lines, rows


def _delimiter(file: Path, text: str) -> str:
    found = NAME.fullmatch(file.name)
    if found and found["kind"].lower() == "tsv":
        return "\t"
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=first.count)  # the first of equals, the comma


def _as_words(fields: Sequence[str]) -> list[str]:
    """Give fields as a header is recognised by, whatever its capitals; the byte order mark of a list that was joined on is none of it."""
    return [field.strip("\ufeff ").lower() for field in fields]


def _header(file: Path, fields: list[str]) -> list[str]:
    names = [field.strip() for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if any(is_image_name(name) for name in names):
        raise BadData(f"{file}: its first row, {first_five(names)}, is no header but an image; put a header such as path,label above it")
    if twice:
        raise BadData(f"{file}: its header names {first_five([repr(name) for name in twice])} twice; give each column its own name")
    return names
