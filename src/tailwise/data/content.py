"""Hashes of content: of a file's bytes, of an array's row, and of a whole table."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl

from tailwise.data.listing import first_five
from tailwise.disk import whole_file
from tailwise.errors import BadData, Stopped

DIGEST_BYTES = 16  # 128 bits: no two images of a set of any size that can be stored share one by chance
_CACHE_FILE = "content.sealed"  # a line with the hash of what follows, then Parquet
_CACHE_SCHEMA = {"file": pl.String(), "size": pl.Int64(), "mtime_ns": pl.Int64(), "content": pl.String()}
_FILE_KEY = ["file", "size", "mtime_ns"]
_AT_ONCE = 1 << 20
"""Rows whose texts are joined at a time, so that ten million rows need no copy of themselves."""

_LOG = logging.getLogger("tailwise")


def hash_file(file: str) -> str:
    """Hash a file's bytes: BLAKE2b, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_bytes(data: bytes) -> str:
    """Hash bytes as `hash_file` does those of a file."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def hash_rows(array: np.ndarray, rows: np.ndarray) -> list[str]:
    """Hash rows of an array: dtype, shape of one row, and bytes in C order, little-endian."""
    little = array.dtype.newbyteorder("<")
    start = hashlib.blake2b(f"{little.str}{array.shape[1:]}".encode(), digest_size=DIGEST_BYTES)
    hashes = []
    for row in rows:
        digest = start.copy()
        digest.update(np.ascontiguousarray(array[row], dtype=little).tobytes())
        hashes.append(digest.hexdigest())
    return hashes


def hash_files(files: Sequence[str], cache: Path | None = None) -> list[str]:
    """Hash files, in the order given; with a cache folder only those whose path, size or time has changed since.

    Raises:
        BadData: files that cannot be read; all are counted, five named.
        Unwritable: the cache folder cannot be written; a full disk is said, and costs the next call its time.
    """
    wanted = pl.DataFrame(_stat(files), schema=dict(list(_CACHE_SCHEMA.items())[:3]), orient="row")
    known = _read_cache(cache)
    hashed = wanted.join(known, on=_FILE_KEY, how="left", maintain_order="left")
    fresh = hashed.filter(pl.col("content").is_null()).select(_FILE_KEY).unique(maintain_order=True)
    if fresh.height:
        # Hashing and reading both release the GIL.
        with ThreadPoolExecutor() as pool:
            fresh = fresh.with_columns(content=pl.Series(list(pool.map(hash_file, fresh["file"])), dtype=pl.String))
        known = pl.concat([known.join(fresh, on="file", how="anti"), fresh])
        _write_cache(cache, known)
        hashed = wanted.join(known, on=_FILE_KEY, how="left", maintain_order="left")
    return hashed["content"].to_list()


def _stat(files: Sequence[str]) -> list[tuple[str, int, int]]:
    found, missing = [], []
    for file in files:
        try:
            status = os.stat(file)
            found.append((file, status.st_size, status.st_mtime_ns))
        except OSError as error:
            missing.append(f"{file} ({error.strerror})")
    if missing:
        raise BadData(f"{len(missing):,} of {len(files):,} files cannot be read: {first_five(missing)}; restore them or read again")
    return found


def _read_cache(cache: Path | None) -> pl.DataFrame:
    """Read what is known; nothing where the file is not there, or is damaged, which is said."""
    empty = pl.DataFrame(schema=_CACHE_SCHEMA)
    if cache is None or not (cache / _CACHE_FILE).exists():
        return empty
    try:
        seal, _, table = (cache / _CACHE_FILE).read_bytes().partition(b"\n")
        if seal != _seal(table):  # before it is read: a changed digit would be another image's name
            raise ValueError("the hash does not fit")
        known = pl.read_parquet(table)
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        _LOG.warning(f"damaged in the store, and computed again: hashes of image files, {cache / _CACHE_FILE}")
        return empty
    return known if dict(known.schema) == _CACHE_SCHEMA else empty


def _write_cache(cache: Path | None, known: pl.DataFrame) -> None:
    if cache is None:
        return
    table = io.BytesIO()
    known.write_parquet(table)
    try:
        whole_file(cache / _CACHE_FILE, _seal(table.getvalue()) + b"\n" + table.getvalue())
    except Stopped as full:
        _LOG.warning(f"hashes of image files are not kept: {full}")


def _seal(table: bytes) -> bytes:
    return hashlib.sha256(table).hexdigest().encode()


def content_of(rows: pl.DataFrame, root: Path | None, arrays: Mapping[str, np.ndarray], cache: Path | None) -> pl.Series:
    """Give the content hash of every row, hashing only rows that have none yet; `path:` and the path where there is no root."""
    content = np.array(rows["content"].to_list() if "content" in rows.columns else [None] * rows.height, dtype=object)
    missing = np.array([value is None for value in content])
    in_files = rows["path"].is_not_null().to_numpy() & missing
    if in_files.any() and root is None:
        content[in_files] = ("path:" + rows["path"].filter(pl.Series(in_files))).to_list()
    elif in_files.any():
        base = os.path.abspath(root or ".")
        content[in_files] = hash_files([os.path.join(base, p) for p in rows["path"].filter(pl.Series(in_files))], cache)
    for name, array in arrays.items():
        inside = (rows["container"] == name).fill_null(False).to_numpy() & missing
        content[inside] = hash_rows(array, rows["row"].filter(pl.Series(inside)).to_numpy())
    return pl.Series("content", content.tolist(), dtype=pl.String)


WRITTEN = "written"
"""Column of a manifest: the hash of the file that an array's row was written to, where that is no copy."""


def check_files(rows: pl.DataFrame, root: Path | None, cache: Path) -> None:
    """Refuse image files that are no longer those that a manifest describes.

    Raises:
        BadData: files that have changed or are missing; all are counted, five named.
    """
    in_files = rows.filter(pl.col("path").is_not_null())
    if in_files.is_empty() or root is None:
        return
    base = os.path.abspath(root or ".")
    expected = pl.coalesce(WRITTEN, "content") if WRITTEN in rows.columns else pl.col("content")
    found = pl.Series("found", hash_files([os.path.join(base, p) for p in in_files["path"]], cache), dtype=pl.String)
    changed = in_files.with_columns(found).filter(pl.col("found") != expected)["path"].to_list()
    if changed:
        named = first_five(changed)
        raise BadData(f"{len(changed):,} images have changed since their manifest was made: {named}; read or build the data again")


def identity_of(rows: pl.DataFrame, classes: Sequence[str]) -> str:
    """Hash canonical rows: id, content, label, split, weight, source, sorted by id, and the class names; targets and values, if any.

    A missing weight is 1 and a missing source `real`, so that a column that says only this changes nothing. Where images lie,
    what the set is called and how it was made are no part of it.

    Returns:
        SHA-256 in hexadecimal.
    """
    weight = pl.col("weight") if "weight" in rows.columns else pl.lit(1.0)
    source = pl.col("source").fill_null("real") if "source" in rows.columns else pl.lit("real")
    others = []
    if "targets" in rows.columns:
        others.append(pl.col("targets").list.sort().cast(pl.List(pl.String)).list.join(" ").fill_null("unknown"))
    if "value" in rows.columns:
        others.append(pl.col("value").cast(pl.String).fill_null("unknown"))
    label = pl.col("label").fill_null(-1)
    table = rows.select("id", "content", label, "split", weight.alias("weight"), source.alias("source"), *others).sort("id")
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    for column in table.iter_columns():
        if column.dtype == pl.String:
            # Lengths first: without them ("ab", "c") and ("a", "bc") would be the same bytes.
            digest.update(column.str.len_bytes().to_numpy().astype("<i8").tobytes())
            for start in range(0, len(column), _AT_ONCE):
                digest.update(column.slice(start, _AT_ONCE).str.join("").item().encode())
        else:
            values = column.to_numpy() + 0  # + 0 makes -0.0 the same as 0.0
            digest.update(values.astype("<f8").tobytes())
    return digest.hexdigest()
