"""Reader of Parquet: images inside the table, as the Hugging Face Hub writes them, or paths beside labels, as in a CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tailwise.data.content import hash_files
from tailwise.data.images import survey
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.readers.labels import SPLIT_WORDS
from tailwise.data.readers.opening import first_bytes
from tailwise.data.readers.roles import ROLES, find_roles, parse_columns
from tailwise.data.readers.table import by_role, manifest_of_paths, said_columns, table_rows
from tailwise.data.unpacked import unpack, unpacking_key
from tailwise.errors import BadData, BadValue
from tailwise.store import Store

_SHARD = re.compile(r"(?P<of>.*)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(-[0-9a-f]+)?\.parquet", re.IGNORECASE | re.DOTALL)
_ROWS_AT_ONCE = 1_000
_UNLABELLED = -1


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
        others = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".") and entry.name != "data"]
        if files and (not others or any(_split_of(file) for file in files)):
            return files
    return []


def read_parquet(source: Path | str, root: Path | str | None = None, columns: str | None = None) -> Manifest:
    """Read a `.parquet` file, or a folder of them whose names say the split (`data/train-00000-of-00002.parquet`).

    The image column holds encoded files (binary, or a struct of `bytes` and `path`), which are unpacked into the store once, or
    paths. Labels are numbers named in the Hub's metadata (key `huggingface`), class names, or whole numbers. Of a set with named
    classes, rows without a label (-1) are left out and counted. Ids of images in the table are `split/row`, whatever the shards.

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
    names = _class_names(files[0])
    other = next((file for file in files[1:] if _class_names(file) != names), None)
    if other is not None:
        raise BadData(f"{other}: its metadata name the classes otherwise than {files[0].name}; write both with the same class names")
    given = parse_columns(columns)
    image = _image_column(schema, given)
    roles = find_roles(list(schema), given, source, image)
    parts = _parts(files, source)
    said = said_columns(list(schema), roles)
    name = source.resolve().name if source.is_dir() else source.stem
    of_classes = names.get(roles["label"])
    if _is_encoded(schema[roles["path"]]):
        if root is not None:
            raise BadValue(f"root is for tables of paths, and {source} holds its images; leave root out")
        return _read_encoded(parts, roles, of_classes, source, name, said)
    table = _read_columns(parts, roles)
    base = (source if source.is_dir() else source.parent) if root is None else Path(root)
    return manifest_of_paths(table, base, source, name, said, of_classes)


def _split_of(file: Path) -> str | None:
    """Give the split that a file's name says; a word counts between dashes, dots, underscores, blanks and digits."""
    words = re.split(r"[-._ 0-9]+", file.stem.lower())
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


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
        try:
            schemas.append(pl.read_parquet_schema(file))
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise _unreadable(file, error) from error
        if schemas[-1] != schemas[0]:
            raise BadData(f"{file}: other columns than {files[0].name}; give files of one table")
    return pl.Schema(schemas[0])


def _unreadable(file: Path, error: BaseException) -> BadData:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BadData(f"{file}: cannot be read as Parquet ({reason}); download or write it again")


def _class_names(file: Path) -> dict[str, list[str]]:
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
        split = _split_of(file)
        start = sum(part.rows for part in parts if part.split == split)
        try:
            rows = pl.scan_parquet(file).select(pl.len()).collect().item()
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise _unreadable(file, error) from error
        parts.append(_Part(file, split, start, rows))
    unsaid = [part.file.name for part in parts if part.split is None]
    if unsaid and len(unsaid) < len(parts):
        raise BadData(f"{source}: no split is named by {first_five(unsaid)}, and others name one; move these files elsewhere")
    return parts


def _read_columns(parts: Sequence[_Part], roles: Mapping[str, str]) -> pl.DataFrame:
    """Give the table by role, with the split that the files' names say where there is no column for it."""
    tables = []
    for part in parts:
        try:
            frame = pl.read_parquet(part.file, columns=sorted(set(roles.values())))
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise _unreadable(part.file, error) from error
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
    notes = [said]
    if names is not None and table["label"].dtype.is_integer():
        unlabelled = (table["label"] == _UNLABELLED).sum()
        if unlabelled:
            table = table.filter(pl.col("label").ne_missing(_UNLABELLED))
            notes.append(f"left out {unlabelled:,} images without a label ({_UNLABELLED})")
    found = table_rows(table, source, names)
    survey([root / path for path in table["path"]])
    rows = found.rows.with_columns(table["path"], table["content"])
    if "id" not in rows.columns:
        rows = rows.with_columns(rows["path"].str.replace(r"\.[a-z]+$", "").alias("id"))
    summary = f"read from the Parquet of {source.name!r}: {rows.height:,} images, {len(found.classes):,} classes, unpacked in the store"
    return Manifest(rows, found.classes, root, {}, name, (summary, *notes, *found.notes))


def _stem(part: _Part) -> str:
    return part.split or "rows"


def _encoded(parts: Sequence[_Part], column: str) -> Iterator[tuple[str, bytes]]:
    """Give (name, encoded bytes) of every image, a few rows of a file at a time."""
    in_split: dict[str, int] = {}
    for part in parts:
        in_split[_stem(part)] = in_split.get(_stem(part), 0) + part.rows
    for part in parts:
        digits = max(5, len(str(in_split[_stem(part)] - 1)))
        for offset in range(0, part.rows, _ROWS_AT_ONCE):
            try:
                values = pl.scan_parquet(part.file).select(column).slice(offset, _ROWS_AT_ONCE).collect().to_series()
            except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                raise _unreadable(part.file, error) from error
            encoded = values.struct.field("bytes") if isinstance(values.dtype, pl.Struct) else values
            for row, content in enumerate(encoded, start=offset):
                if not content:
                    raise BadData(f"{part.file}: row {row} holds no image ({column!r} is empty); correct the table")
                yield f"{_stem(part)}/{part.start + row:0{digits}d}", content
