"""Text lists without a header: a line a record, its fields found by a pattern, for all lines at once."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from tailwise.data.readers.opening import read_text
from tailwise.errors import BadData

ROW = "row"
"""Column of `read_fields` that numbers the lines, as editors do."""

_ENDS = re.compile(r"\r\n|\n|\r")


def read_fields(file: Path, pattern: str, expected: str) -> pl.DataFrame:
    """Read a text list, plain or `.gz`, with a BOM or without, whatever its line ends; empty lines are passed over.

    Args:
        file: the list.
        pattern: a regular expression of Rust's kind for a whole line, with named groups.
        expected: what a line should be, for errors.

    Returns:
        `row` (Int64, from 1), and a String column for each group.

    Raises:
        BadData: a line is no such line, or there is none; with its row.
    """
    lines = pl.Series("line", _ENDS.split(read_text(file)), dtype=pl.String)
    table = pl.DataFrame([pl.int_range(1, len(lines) + 1, eager=True).alias(ROW), lines]).filter(pl.col("line").str.strip_chars() != "")
    if table.is_empty():
        raise BadData(f"{file}: no rows; expected lines such as {expected}")
    unfit = table.filter(~pl.col("line").str.contains(f"^(?:{pattern})$"))
    if unfit.height:
        row, line = unfit.row(0)
        more = f" (and {unfit.height - 1:,} more)" if unfit.height > 1 else ""
        raise BadData(f"{file}: row {row}{more} is {_shortened(line)!r}, expected a line such as {expected}; correct the list")
    return table.select(ROW, pl.col("line").str.extract_groups(f"^(?:{pattern})$").struct.unnest())


def _shortened(line: str, most: int = 80) -> str:
    return line if len(line) <= most else f"{line[:most]}..."
