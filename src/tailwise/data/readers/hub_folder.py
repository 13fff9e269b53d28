"""Reader of image folders as the Hugging Face Hub takes them: images, and `metadata.csv|jsonl|parquet` that says what they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.locating import clean_paths
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.delimited import read_texts
from tailwise.data.readers.folder import in_order
from tailwise.data.readers.labels import SPLIT_WORDS
from tailwise.data.readers.opening import read_text
from tailwise.data.readers.parquet import class_names, read_table
from tailwise.data.readers.roles import find_roles, parse_columns
from tailwise.data.readers.table import ROW, by_role, manifest_of_paths, said_columns, table_rows
from tailwise.data.walk import Tally, entries, image_paths
from tailwise.errors import BadData

_METADATA = ("metadata.csv", "metadata.csv.gz", "metadata.jsonl", "metadata.jsonl.gz", "metadata.parquet")
_IMAGE = "file_name"
_SPLIT = rf"(?:^|[-._ 0-9/])({'|'.join(SPLIT_WORDS)})(?:[-._ 0-9/]|$)"


class _Metadata(NamedTuple):
    """One metadata file.

    Attributes:
        file: where it is.
        folder: its folder, relative to the set's, with `/` at its end; empty on top.
        frame: its columns.
        rows: number of each row in the file, for errors.
    """

    file: Path
    folder: str
    frame: pl.DataFrame
    rows: Sequence[int]


def recognises(place: Place) -> bool:
    """A folder with a metadata file on top or in a folder below, or such a file."""
    if place.is_folder:
        return bool(_metadata_files(place.path))
    return place.path.name in _METADATA


def read_hub_folder(path: Path | str, root: Path | str | None = None, columns: str | None = None) -> Manifest:
    """Read a folder of images with `metadata.csv`, `.jsonl` or `.parquet`, plain or `.gz`, on top or in the folders below it.

    Images are named by the column `file_name` (which the Hub asks for) or one that is recognised as the path, relative to the folder of
    the metadata file. Without a column for the label, it is the name of the image's folder. Splits are said by words in the names of
    folders, or else of the images, as the Hub has it; a column for the split goes before both, which the Hub does not know.

    Args:
        path: the folder, or its only metadata file.
        root: folder that paths are relative to, where the images are not beside the metadata; `/` admits absolute paths.
        columns: names of columns where they are not recognised, as in `path=file,label=species`.

    Raises:
        BadData: no metadata, files of it that differ in their columns, several images a row; no label and no folder that could be
            one; else as in `read_delimited`.
        BadValue: `columns` cannot be read.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    files = _metadata_files(folder) if path.is_dir() else [path]
    if not files:
        raise BadData(f"{path}: no metadata.csv, metadata.jsonl or metadata.parquet there; name another format with --format")
    tables = [_read(file, folder) for file in files]
    _refuse_other_columns(tables)
    names = tables[0].frame.columns
    roles = _roles(names, columns, files[0])
    table = _joined(tables, roles, None if root is None else Path(root))
    where = files[0] if len(files) == 1 else folder
    has_labels = "label" in roles
    classes: Sequence[str] | None
    if has_labels:
        classes = class_names(files[0]).get(roles["label"]) if _is_parquet(files[0]) else None
    else:
        table, classes = _labelled_by_folder(table, where)
    table, said_splits = _with_split(table, has_labels)
    name = folder.resolve().name or "root"
    found = manifest_of_paths(table, where, name, said_columns(names, roles), root, classes)
    findings = (*_findings_of_columns(names, roles), *_findings_of_files(found, folder))
    sources = tuple(SourceTable(table.folder + table.file.name, table.frame.height, table.frame.row(0, named=True)) for table in tables)
    return found.replace(*said_splits, origin=Origin(sources, findings))


def _metadata_files(folder: Path) -> list[Path]:
    """List the metadata files on top and in the folders below, one a folder; hidden folders are left out."""
    found = []
    for place in (folder, *(folder / entry.name for entry in entries(folder) if entry.is_dir())):
        files = [place / name for name in _METADATA if os.path.isfile(place / name)]  # a folder of a million images is not listed for it
        if len(files) > 1:
            raise BadData(f"{place}: {first_five([file.name for file in files])} all describe its images; keep one of them")
        found += files
    return found


def _is_parquet(file: Path) -> bool:
    return file.name.endswith(".parquet")


def _read(file: Path, folder: Path) -> _Metadata:
    below = "" if file.parent == folder else f"{file.parent.name}/"
    if _is_parquet(file):
        frame = read_table(file)
        rows: Sequence[int] = range(frame.height)
    elif ".jsonl" in file.name:
        frame, rows = _read_lines(file)
    else:
        frame, rows = read_texts(file)[:2]
    if frame.is_empty():
        raise BadData(f"{file}: no rows; give at least one image")
    return _Metadata(file, below, frame, rows)


def _read_lines(file: Path) -> tuple[pl.DataFrame, list[int]]:
    """Read JSON lines: an object a line, of the same fields."""
    records: list[dict[str, Any]] = []
    lines = []
    for line, text in enumerate(read_text(file).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            record = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadData(f'{file}: row {line} is no JSON ({error}); expected an object such as {{"file_name": ..}} a line') from error
        if not isinstance(record, dict):
            raise BadData(f'{file}: row {line} is no object; expected one such as {{"file_name": ..}} a line')
        records.append(record)
        lines.append(line)
    names = list(dict.fromkeys(name for record in records for name in record))
    return pl.DataFrame([_column(name, [record.get(name) for record in records]) for name in names]), lines


def _column(name: str, values: list[Any]) -> pl.Series:
    """Give numbers as numbers where all are, lists and objects as they are, anything else as text, as a CSV would hold it."""
    present = [value for value in values if value is not None]
    if any(isinstance(value, (list, dict)) for value in present):
        return pl.Series(name, values, dtype=pl.Object)
    if present and all(type(value) is int and abs(value) < 1 << 63 for value in present):
        return pl.Series(name, values, dtype=pl.Int64)
    if present and all(type(value) in (int, float) for value in present):
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    return pl.Series(name, [value if value is None or isinstance(value, str) else _as_text(value) for value in values], dtype=pl.String)


def _as_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _refuse_other_columns(tables: Sequence[_Metadata]) -> None:
    first = tables[0]
    for table in tables[1:]:
        other = sorted({*table.frame.columns} ^ {*first.frame.columns})
        if other:
            raise BadData(f"{table.file}: other columns than {first.file} ({first_five(other)}); give all metadata files the same ones")


def _roles(names: Sequence[str], columns: str | None, where: Path) -> dict[str, str]:
    given = parse_columns(columns)
    several = [name for name in names if name.endswith("file_names")]
    if several and "path" not in given:
        raise BadData(f"{where}: column {several[0]!r} lists several images a row, expected one in {_IMAGE!r}; write a row for each image")
    return find_roles(names, given, where, image=_IMAGE if _IMAGE in names else None, needed=("path",))


def _joined(tables: Sequence[_Metadata], roles: Mapping[str, str], root: Path | None) -> pl.DataFrame:
    """Put the rows of all files below each other, their paths relative to the set's folder; what is wrong is said of its own file."""
    parts = []
    for file, folder, frame, rows in tables:
        part = by_role(frame, roles, rows)
        for role, column in roles.items():
            if part[role].dtype.is_nested() or part[role].dtype in (pl.Binary, pl.Object):
                raise BadData(f"{file}: column {column!r} holds {part[role].dtype}, expected text or numbers; choose others with --columns")
        paths = clean_paths(part["path"], part[ROW], file, root)
        if "label" in roles and len(tables) > 1:
            table_rows(part, file)
        parts.append(part.with_columns((folder + paths).alias("path")))
    if any(part.schema != parts[0].schema for part in parts):  # numbers in one file and text in another
        parts = [part.with_columns(pl.col(*roles).cast(pl.String)) for part in parts]
    return pl.concat(parts)


def _labelled_by_folder(table: pl.DataFrame, where: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Take the name of an image's folder for its class, as the Hub does: where all lie equally deep, and not in one folder."""
    folders = table["path"].str.extract(r"([^/]+)/[^/]*$")
    is_split = folders.str.to_lowercase().is_in(list(SPLIT_WORDS))
    why = None
    if folders.has_nulls():
        why = "some lie in no folder"
    elif table["path"].str.count_matches("/").n_unique() > 1:
        why = "they lie at different depths"
    elif folders.n_unique() == 1:
        why = f"all lie in one, {folders[0]!r}"
    elif is_split.all():
        why = "these are splits"
    if why:
        raise BadData(
            f"{where}: no column is recognised as label, and the folders of the images are no classes ({why}); pass --columns label=NAME"
        )
    composed = folders.str.normalize("NFC")
    classes = in_order(composed.unique())
    return table.with_columns(composed.replace_strict(classes, range(len(classes)), return_dtype=pl.Int32).alias("label")), classes


def _with_split(table: pl.DataFrame, has_labels: bool) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Find the splits that names say, where no column does: words in folders' names, or else in those of all images."""
    if "split" in table.columns:
        return table, ()
    paths = table["path"].str.to_lowercase()
    folders = paths.str.replace(r"[^/]*$" if has_labels else r"[^/]*/[^/]*$", "")  # the folder of a class is none of a split
    of_folders, of_images = (names.str.extract(_SPLIT) for names in (folders, paths.str.extract(r"([^/]*)$")))
    if not of_folders.is_null().all():
        words, said = of_folders, "splits are named by folders"
        if words.has_nulls():
            said += f"; {words.null_count():,} images that lie in none of them are train"
    elif not of_images.has_nulls():
        words, said = of_images, "splits are named by the images' names"
    else:
        return table, ()
    splits = words.replace_strict(list(SPLIT_WORDS), list(SPLIT_WORDS.values()), default="train", return_dtype=pl.String)
    return table.with_columns(splits.alias("split")), (said,)


def _findings_of_columns(names: Sequence[str], roles: Mapping[str, str]) -> Iterator[Finding]:
    """What the Hub would take otherwise than we do."""
    if roles["path"] != _IMAGE:
        says = f"images are named in the column {roles['path']!r}; the Hub takes {_IMAGE!r} alone"
        yield Finding("path-column", "note", says)
    if "split" in roles:
        says = f"splits are those of the column {roles['split']!r}; the Hub takes them from the names of folders and files alone"
        yield Finding("split-column", "note", says)
    further = [name for name in names if name.endswith("_file_name") and name not in roles.values()]
    if further:
        yield Finding("further-images", "note", f"further images a row are left unread: {first_five(further)}", len(further))


def _findings_of_files(found: Manifest, folder: Path) -> Iterator[Finding]:
    """Compare the rows with what is in the folder; nothing where the images are elsewhere."""
    if found.root != folder:
        return
    there = pl.Series("path", list(image_paths(folder, Tally())), dtype=pl.String)
    unseen = found.rows.filter(~pl.col("path").is_in(there.implode()))
    # What is hidden, or not named like an image, is not among those there.
    missing = [identity for identity, path in unseen.select("id", "path").iter_rows() if not os.path.lexists(folder / path)]
    if missing:
        says = f"{len(missing):,} images of the metadata are not there: {first_five(missing)}"
        yield Finding("missing-image", "error", says, len(missing), tuple(missing))
    unnamed = there.filter(~there.is_in(found.rows["path"].implode())).sort().to_list()
    if unnamed:
        says = f"{len(unnamed):,} images are named by no row of the metadata and left out: {first_five(unnamed)}"
        yield Finding("unnamed-image", "warning", says, len(unnamed), tuple(unnamed))
