"""Layout of the Hub's Parquet: `data/train-00000-of-00001.parquet` with the images inside, and the names of the classes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from tailwise.data.content import WRITTEN, hash_bytes
from tailwise.data.manifest import Manifest
from tailwise.data.png import encode_png
from tailwise.data.writers.hub_folder import SPLITS
from tailwise.data.writers.names import plain_name
from tailwise.errors import BadData

SHARD_BYTES = 256 << 20
"""Bytes of images in a file, about."""

_ROWS_IN_GROUP = 1_000  # what a reader holds at once
_IMAGE = pl.Struct({"bytes": pl.Binary(), "path": pl.String()})


def as_packed(manifest: Manifest) -> Manifest:
    """Give the set that a reader finds in the Parquet: what is hashed are the bytes of files, also of those that arrays become."""
    content = manifest.rows["content"].to_list()
    for place, (container, row) in enumerate(manifest.rows.select("container", "row").iter_rows()):
        if container is not None:
            content[place] = hash_bytes(encode_png(manifest.arrays[container][row]))
    rows = manifest.rows.with_columns(pl.Series("content", content, dtype=pl.String))
    if WRITTEN in rows.columns:
        rows = rows.with_columns(content=pl.coalesce(WRITTEN, "content")).drop(WRITTEN)
    return manifest.replace(rows=rows)


def shards(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Give (name, bytes) of each file, one at a time: columns `image` (bytes, path), `label`, `id`, and `weight` if there is one.

    Rows are sorted by id. Labels of the metadata's key `huggingface` are positions in the class names.

    Args:
        manifest: of images, with labels.

    Raises:
        BadData: an image file cannot be read.
    """
    metadata = {"huggingface": json.dumps({"info": {"features": _features(manifest)}}, ensure_ascii=False)}
    for split in manifest.splits:
        rows = manifest.select(split)
        numbers = _shard_numbers(rows, manifest)
        last = int(numbers[-1])
        for number in range(last + 1):
            table = _table(rows.filter(pl.Series(numbers == number)), manifest)
            file = io.BytesIO()
            table.write_parquet(file, row_group_size=_ROWS_IN_GROUP, metadata=metadata)
            yield f"data/{SPLITS[split]}-{number:05d}-of-{last + 1:05d}.parquet", file.getvalue()


def _features(manifest: Manifest) -> dict[str, Any]:
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(manifest.classes)},
        "id": {"_type": "Value", "dtype": "string"},
    }
    return features | ({"weight": {"_type": "Value", "dtype": "float64"}} if "weight" in manifest.rows.columns else {})


def _shard_numbers(rows: pl.DataFrame, manifest: Manifest) -> np.ndarray:
    """Deal rows into files of about `SHARD_BYTES`, by the sizes of files and arrays: (n,) rising from 0 without gaps."""
    sizes = np.array(
        [
            _size(_file(manifest, path)) if path is not None else manifest.arrays[container][row].nbytes
            for path, container, row in rows.select("path", "container", "row").iter_rows()
        ],
        dtype=np.int64,
    )
    return np.unique((np.cumsum(sizes) - sizes) // SHARD_BYTES, return_inverse=True)[1]


def _table(rows: pl.DataFrame, manifest: Manifest) -> pl.DataFrame:
    images = [
        {
            "bytes": _read(_file(manifest, path)) if path is not None else encode_png(manifest.arrays[container][row]),
            "path": plain_name(path, id_),
        }
        for path, container, row, id_ in rows.select("path", "container", "row", "id").iter_rows()
    ]
    beside = ["weight"] if "weight" in rows.columns else []
    return rows.select(pl.Series("image", images, dtype=_IMAGE), pl.col("label").cast(pl.Int64), "id", *beside)


def _file(manifest: Manifest, path: str) -> str:
    return os.path.join(manifest.root or "", path)


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except OSError as error:
        raise _unreadable(file, error) from error


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: OSError) -> BadData:
    return BadData(f"{file}: cannot be read ({error.strerror}); restore it or read the data again")
