"""Reader of Parquet: images inside the table, as the Hugging Face Hub writes them, or paths beside labels, as in a CSV."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tailwise.data.content import hash_files
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.origin import SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.labels import split_in_name
from tailwise.data.readers.numbering import numbered_id
from tailwise.data.readers.opening import first_bytes
from tailwise.data.readers.roles import ROLES, find_roles, parse_columns
from tailwise.data.readers.table import ROW, by_role, hub_rows, manifest_of_rows, said_columns
from tailwise.data.unpacked import unpack, unpacking_key
from tailwise.data.walk import entries
from tailwise.errors import BadData, BadValue
from tailwise.store import Store

_SHARD = re.compile(r"(?P<of>.*)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(-[0-9a-f]+)?\.parquet", re.IGNORECASE | re.DOTALL)
_ROWS_AT_ONCE = 1_000
_POLARS = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What reading damaged Parquet raises."""


class _Part(NamedTuple):
    """One file, the split that its name says, and the rows before it of the same split."""

    file: Path
    split: str | None
    start: int
    rows: int


def parquet_files(folder: Path) -> list[Path]:
    """List the Parquet files of a folder in the Hub's layout: in `data/`, or in the folder itself; none where it is no such folder.

    Files that no split is named by count only where no folder of classes can be meant.
    """
    for place in (folder / "data", folder):
        files = sorted(place.glob("*.parquet")) if place.is_dir() else []
        others = [entry for entry in entries(folder) if entry.is_dir() and entry.name != "data"]
        if files and (not others or any(split_in_name(file.name) for file in files)):
            return files
    return []


def recognises(place: Place) -> bool:
    """A folder of Parquet files in the Hub's layout, or such a file."""
    if place.is_folder:
        return bool(parquet_files(place.path))
    return place.start.startswith(b"PAR1") or place.path.suffix.lower() == ".parquet"


def read_parquet(source: Path | str, root: Path | str | None = None, columns: str | None = None) -> Manifest:
    """Read a `.parquet` file, or a folder of them whose names say the split (`data/train-00000-of-00002.parquet`).

    The image column holds encoded files (binary, or a struct of `bytes` and `path`), which are unpacked into the store once, or
    paths (text, or such structs that hold no bytes). Labels are numbers named in the Hub's metadata (key `huggingface`), class names,
    or whole numbers; rows of label -1 have none. Ids of images in the table are `split/row`, whatever the shards.

    Args:
        source: a file or a folder.
        root: for tables of paths: folder that they are relative to; None is the table's own. `/` admits absolute paths.
        columns: names of columns where they are not recognised, as in `path=img,label=fine_label`.

    Raises:
        BadData: no Parquet, shards that are missing or differ, no such columns, rows without an image or with a label that cannot
            be, as in `read_delimited`.
        BadValue: `columns` cannot be read, or `root` is given for a table that holds its images.
    """
    source = Path(source)
    files = parquet_files(source) if source.is_dir() else [source]
    if not files:
        raise BadData(f"{source}: no Parquet files, expected data/train-00000-of-00001.parquet or the like; check the path")
    _refuse_missing_shards(files)
    schema = _common_schema(files)
    names = class_names(files[0])
    other = next((file for file in files[1:] if class_names(file) != names), None)
    if other is not None:
        raise BadData(f"{other}: its metadata name the classes otherwise than {files[0].name}; write both with the same class names")
    given = parse_columns(columns)
    image = _image_column(schema, given)
    roles = find_roles(list(schema), given, source, image)
    parts = _parts(files, source)
    said = said_columns(list(schema), roles)
    name = source.resolve().name if source.is_dir() else source.stem
    of_classes = names.get(roles["label"])
    if _is_encoded(schema[roles["path"]]) and not _begins_with_path(parts, roles["path"]):
        if root is not None:
            raise BadValue(f"root is for tables of paths, and {source} holds its images; leave root out")
        found = _read_encoded(parts, roles, of_classes, source, name, said)
    else:
        table = _only_paths(_read_columns(parts, roles), source)
        found = manifest_of_rows(hub_rows(table, source, of_classes), table, source, name, said, root)
    return found.replace(origin=replace(found.origin, tables=_tables(parts, schema)))


def _tables(parts: Sequence[_Part], schema: pl.Schema) -> tuple[SourceTable, ...]:
    """Describe each file by its rows and the first of them, without what may hold an image."""
    plain = [column for column, dtype in schema.items() if dtype != pl.Binary and not isinstance(dtype, pl.Struct)]
    firsts = [read_table(part.file, plain).head(1).to_dicts() if plain and part.rows else [] for part in parts]
    return tuple(SourceTable(part.file.name, part.rows, first[0] if first else None) for part, first in zip(parts, firsts, strict=True))


def _refuse_missing_shards(files: Sequence[Path]) -> None:
    shards: dict[tuple[str, int], set[int]] = {}
    for file in files:
        if len(files) > 1 and (found := _SHARD.fullmatch(file.name)):
            shards.setdefault((found["of"], int(found["count"])), set()).add(int(found["number"]))
    for (of, count), numbers in shards.items():
        missing = sorted(set(range(count)) - numbers)
        if missing:
            raise BadData(f"{files[0].parent}: of {count} shards of {of!r} number {first_five(missing)} is missing; complete the download")


def _common_schema(files: Sequence[Path]) -> pl.Schema:
    schemas = []
    for file in files:
        first_bytes(file)
        with _reading(file):
            schemas.append(pl.read_parquet_schema(file))
        if schemas[-1] != schemas[0]:
            raise BadData(f"{file}: other columns than {files[0].name}; give files of one table")
    return pl.Schema(schemas[0])


def read_table(file: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, or some of its columns.

    Raises:
        BadData: it cannot be opened or read, or stands in for the real one.
    """
    first_bytes(file)
    with _reading(file):
        return pl.read_parquet(file, columns=columns)


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn what goes wrong into one line, and keep polars' threads silent, which tell their panics to the process's stderr first.

    Raises:
        BadData: what is read is damaged.
    """
    sys.stderr.flush()
    kept: int | None = None
    with contextlib.suppress(OSError):  # a process without stderr has nothing to be kept silent
        kept = os.dup(2)
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
    try:
        yield
    except _POLARS as error:
        raise _unreadable(file, error) from error
    finally:
        if kept is not None:
            os.dup2(kept, 2)
            os.close(kept)


def _unreadable(file: Path, error: BaseException) -> BadData:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BadData(f"{file}: cannot be read as Parquet ({reason}); download or write it again")


def class_names(file: Path) -> dict[str, list[str]]:
    """Give the class names of each column of labels, from the Hub's metadata; none where it says nothing that fits."""
    try:
        features = json.loads(pl.read_parquet_metadata(file)["huggingface"])["info"]["features"]
        named = {column: feature["names"] for column, feature in features.items() if isinstance(feature, dict) and "names" in feature}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {column: [str(name) for name in found] for column, found in named.items() if isinstance(found, list)}


def _is_encoded(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(field.name == "bytes" and field.dtype == pl.Binary for field in dtype.fields)
    return dtype == pl.Binary


def _image_column(schema: Mapping[str, pl.DataType], given: Mapping[str, str]) -> str | None:
    """Give the column that holds encoded images, where there is one, or one has a usual name."""
    if "path" in given:
        return None
    found = [name for name, dtype in schema.items() if _is_encoded(dtype)]
    usual = [name for name in found if name.lower() in ROLES["path"]]
    return next((names[0] for names in (found, usual) if len(names) == 1), None)


def _parts(files: Sequence[Path], source: Path) -> list[_Part]:
    parts: list[_Part] = []
    for file in files:
        split = split_in_name(file.name)
        start = sum(part.rows for part in parts if part.split == split)
        with _reading(file):
            rows = pl.scan_parquet(file).select(pl.len()).collect().item()
        parts.append(_Part(file, split, start, rows))
    unsaid = [part.file.name for part in parts if part.split is None]
    if unsaid and len(unsaid) < len(parts):
        raise BadData(f"{source}: no split is named by {first_five(unsaid)}, and others name one; move these files elsewhere")
    return parts


def _read_columns(parts: Sequence[_Part], roles: Mapping[str, str]) -> pl.DataFrame:
    """Give the table by role, with the split that the files' names say where there is no column for it."""
    tables = []
    for part in parts:
        frame = read_table(part.file, sorted(set(roles.values())))
        table = by_role(frame, roles, range(part.start, part.start + frame.height))
        if "split" not in roles and part.split is not None:
            table = table.with_columns(split=pl.lit(part.split))
        tables.append(table)
    return pl.concat(tables)


def _read_encoded(
    parts: Sequence[_Part], roles: Mapping[str, str], names: Sequence[str] | None, source: Path, name: str, said: str
) -> Manifest:
    """Unpack the images, and make a manifest of the files."""
    image = roles["path"]
    table = _read_columns(parts, {role: column for role, column in roles.items() if role != "path"})
    hashes = hash_files([str(part.file.resolve()) for part in parts], Store().shelf("hashes"))
    stems = [_stem(part) for part in parts]
    root, files = unpack(unpacking_key("parquet", image, stems, hashes), lambda: _encoded(parts, image))
    table = pl.concat([table, files], how="horizontal")
    found = hub_rows(table, source, names)
    rows = found.rows.with_columns(table["path"], table["content"])
    if "id" not in rows.columns:
        rows = rows.with_columns(rows["path"].str.replace(r"\.[a-z]+$", "").alias("id"))
    summary = f"read from the Parquet of {source.name!r}: {rows.height:,} images, {len(found.classes):,} classes, unpacked in the store"
    return Manifest(rows, found.classes, root, {}, name, (summary, said, *found.notes))


def _begins_with_path(parts: Sequence[_Part], column: str) -> bool:
    """Tell whether the first image of a table is not in it but at a path; then all must be."""
    with _reading(parts[0].file):
        values = pl.scan_parquet(parts[0].file).select(column).head(1).collect().to_series()
    if not isinstance(values.dtype, pl.Struct) or "path" not in values.struct.fields or values.is_empty():
        return False
    return values.struct.field("bytes")[0] is None and values.struct.field("path")[0] is not None


def _only_paths(table: pl.DataFrame, where: Path) -> pl.DataFrame:
    """Take the paths out of a column that holds structs of bytes and path."""
    if not isinstance(table["path"].dtype, pl.Struct) or "path" not in table["path"].struct.fields:
        return table
    paths = table["path"].struct.field("path")
    empty = paths.is_null().arg_true()
    if len(empty):
        raise BadData(f"{where}: row {table[ROW][empty[0]]}: neither bytes nor path; correct the table")
    return table.with_columns(paths.alias("path"))


def _stem(part: _Part) -> str:
    return part.split or "rows"


def _encoded(parts: Sequence[_Part], column: str) -> Iterator[tuple[str, bytes]]:
    """Give (name, encoded bytes) of every image, a few rows of a file at a time."""
    in_split: dict[str, int] = {}
    for part in parts:
        in_split[_stem(part)] = in_split.get(_stem(part), 0) + part.rows
    for part in parts:
        for offset in range(0, part.rows, _ROWS_AT_ONCE):
            with _reading(part.file):
                values = pl.scan_parquet(part.file).select(column).slice(offset, _ROWS_AT_ONCE).collect().to_series()
            encoded = values.struct.field("bytes") if isinstance(values.dtype, pl.Struct) else values
            for row, content in enumerate(encoded, start=offset):
                if not content:
                    raise BadData(f"{part.file}: row {row}: {_what_instead(values[row - offset])}; correct the table")
                yield numbered_id(_stem(part), part.start + row, in_split[_stem(part)]), content


def _what_instead(value: object) -> str:
    """Say what a row holds that holds no bytes."""
    path = value.get("path") if isinstance(value, dict) else None
    return "neither bytes nor path" if path is None else f"no bytes but the path {path!r}, and other rows hold their images"
