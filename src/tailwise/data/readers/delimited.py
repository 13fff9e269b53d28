"""Reader of CSV and TSV: a table with a header, a row an image, each with a path and a label."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import polars as pl

from tailwise.data.images import is_image_name
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.readers.opening import read_whole
from tailwise.data.readers.roles import find_roles, parse_columns
from tailwise.data.readers.table import by_role, manifest_of_paths, said_columns
from tailwise.errors import BadData

NAME = re.compile(r"(?P<stem>.*)\.(?P<kind>csv|tsv)(\.gz)?", re.IGNORECASE | re.DOTALL)
"""What a table's file is called."""

_DELIMITERS = ",\t;"


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
    header, lines, rows = _parse(file, _text(file))
    roles = find_roles(header, given, file)
    frame = pl.DataFrame({name: [row[place] for row in rows] for place, name in enumerate(header)}, schema=dict.fromkeys(header, pl.String))
    found = NAME.fullmatch(file.name)
    name = (found["stem"] if found else file.stem) or "table"
    base = file.parent if root is None else Path(root)
    return manifest_of_paths(by_role(frame, roles, lines), base, file, name, said_columns(header, roles))


def _text(file: Path) -> str:
    try:
        return read_whole(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"{file}: not UTF-8 at byte {error.start:,}; save it again as UTF-8") from error


def _parse(file: Path, text: str) -> tuple[list[str], list[int], list[list[str]]]:
    """Give the header, and for each row its line and its fields. Python's reader, since polars cannot name a row that does not fit."""
    found = NAME.fullmatch(file.name)
    delimiter = "\t" if found and found["kind"].lower() == "tsv" else _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    lines, rows = [], []
    try:
        for fields in reader:
            if not any(fields):  # an empty line
                continue
            if not header:
                header = _header(file, fields)
                continue
            if len(fields) != len(header):
                hint = " (a delimiter inside a field needs quotes)" if len(fields) > len(header) else ""
                raise BadData(f"{file}: row {reader.line_num} has {len(fields)} fields, expected {len(header)}{hint}; correct the row")
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


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=first.count)  # the first of equals, the comma


def _header(file: Path, fields: list[str]) -> list[str]:
    names = [field.strip() for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if any(is_image_name(name) for name in names):
        raise BadData(f"{file}: its first row, {first_five(names)}, is no header but an image; put a header such as path,label above it")
    if twice:
        raise BadData(f"{file}: its header names {first_five([repr(name) for name in twice])} twice; give each column its own name")
    return names
