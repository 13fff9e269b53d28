"""Reader of Hugging Face data set objects, without the library: columns by name, images as encoded bytes or paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.data.readers.numbering import numbered_ids
from tailwise.data.readers.roles import find_roles
from tailwise.data.readers.table import by_role, hub_rows, said_columns
from tailwise.data.unpacked import unpack, unpacking_key
from tailwise.errors import BadData


def is_hub_dataset(thing: Any) -> bool:
    """Tell whether a thing has features by name and gives columns by name and rows by number."""
    return isinstance(getattr(thing, "features", None), Mapping) and hasattr(thing, "__getitem__") and hasattr(thing, "__len__")


def read_hub_dataset(dataset: Any, split: str = "train", given: Mapping[str, str] | None = None) -> Manifest:
    """Read a data set object of Hugging Face's `datasets`.

    The image column is asked for undecoded: where it holds bytes they are unpacked into the store once, where it holds paths the files
    stay where they are. Class names are those of the label's feature; rows without a label (-1) are left out and counted.

    Args:
        dataset: has `features`, `dataset["label"]`, `dataset[0]` and `cast_column`.
        split: the split that rows get where there is no column for it.
        given: role -> column, as the user says.

    Raises:
        BadData: no rows, no columns for image and label, rows with neither bytes nor path, or a label that cannot be.
    """
    where = "the Hugging Face data set"
    features = dataset.features
    if len(dataset) == 0:
        raise BadData(f"{where}: no rows; give at least one image")
    images = [column for column, feature in features.items() if type(feature).__name__ == "Image"]
    roles = find_roles(list(features), given or {}, where, images[0] if len(images) == 1 else None)
    names = getattr(features[roles["label"]], "names", None)
    columns = {column: list(dataset[column]) for role, column in roles.items() if role != "path"}
    table = by_role(
        pl.DataFrame(columns, strict=False), {role: column for role, column in roles.items() if role != "path"}, range(len(dataset))
    )
    if "split" not in roles:
        table = table.with_columns(split=pl.lit(split))
    rows, root = _locations(_undecoded(dataset, roles["path"]), roles["path"], split, where)
    table = pl.concat([table, rows], how="horizontal")
    notes = [said_columns(list(features), roles)]
    found = hub_rows(table, where, names)
    kept = [column for column in ("path", "content") if column in table.columns]
    rows = found.rows.with_columns(table.select(kept))
    if "id" not in rows.columns:
        rows = rows.with_columns(table["name"].alias("id"))
    summary = f"read from the Hugging Face data set object: {rows.height:,} images, {len(found.classes):,} classes"
    return Manifest(rows, found.classes, root, {}, _name(dataset), (summary, *notes, *found.notes))


def _name(dataset: Any) -> str:
    name = getattr(getattr(dataset, "info", None), "dataset_name", None)
    return name if isinstance(name, str) and name else "dataset"


def _undecoded(dataset: Any, column: str) -> Any:
    """Give the data set with its images as encoded bytes or paths, where it can."""
    feature = dataset.features[column]
    if type(feature).__name__ == "Image" and hasattr(dataset, "cast_column"):
        return dataset.cast_column(column, type(feature)(decode=False))
    return dataset


def _locations(dataset: Any, column: str, split: str, where: str) -> tuple[pl.DataFrame, Path]:
    """Give `name` and `path` of every image, `content` where it was unpacked, and the folder that paths are relative to."""
    names = numbered_ids(split, len(dataset))
    hashes, paths = [], []
    for row in range(len(dataset)):
        encoded, path = _image(dataset, row, column, where)
        if encoded:
            hashes.append(hashlib.sha256(encoded).hexdigest())
        else:
            paths.append(os.path.abspath(path))
    if hashes and paths:
        raise BadData(f"{where}: some rows of {column!r} hold bytes and others paths; make them alike")
    if paths:
        return _in_place(paths, where)
    root, files = unpack(unpacking_key("hub", names, hashes), lambda: _encoded(dataset, column, names, hashes, where))
    return files.with_columns(pl.Series("name", names)), root


def _in_place(paths: Sequence[str], where: str) -> tuple[pl.DataFrame, Path]:
    if len(set(paths)) < len(paths):
        raise BadData(f"{where}: {len(paths) - len(set(paths)):,} rows name a file that another row names; list each image once")
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    below = [Path(os.path.relpath(path, root)).as_posix() for path in paths]
    return pl.DataFrame({"name": below, "path": below}), Path(root)


def _encoded(dataset: Any, column: str, names: Sequence[str], hashes: Sequence[str], where: str) -> Iterator[tuple[str, bytes]]:
    for row, (name, known) in enumerate(zip(names, hashes, strict=True)):
        encoded, _ = _image(dataset, row, column, where)
        if hashlib.sha256(encoded).hexdigest() != known:
            raise BadData(f"{where}: row {row} holds other bytes each time; leave random transforms out")
        yield name, encoded


def _image(dataset: Any, row: int, column: str, where: str) -> tuple[bytes, str]:
    """Give a row's encoded bytes and path; one of them may be empty."""
    value = dataset[row][column]
    if isinstance(value, bytes):
        value = {"bytes": value}
    elif isinstance(value, str):
        value = {"path": value}
    if not isinstance(value, Mapping):
        raise BadData(
            f"{where}: {column!r} holds {type(value).__name__} objects, expected encoded images; "
            f"cast it with cast_column({column!r}, Image(decode=False))"
        )
    encoded, path = value.get("bytes") or b"", value.get("path") or ""
    if not encoded and not path:
        raise BadData(f"{where}: row {row} has neither bytes nor path in {column!r}; leave it out")
    return encoded, path
