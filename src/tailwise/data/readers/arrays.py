"""Reader of arrays: NumPy arrays in memory, and `.npz` files of them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tailwise.data.containers import check_features, check_images
from tailwise.data.manifest import Manifest
from tailwise.errors import BadData

KEYS = ("images", "features", "labels", "classes", "split", "ids")


def from_arrays(
    labels: Any,
    images: np.ndarray | None = None,
    features: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    split: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    name: str = "arrays",
) -> Manifest:
    """Make a manifest of arrays in memory; the arrays are kept, not copied.

    Args:
        labels: (N,) or (N, 1) whole numbers from 0 on.
        images: (N, H, W) or (N, H, W, C) uint8, C 1 or 3; either these or `features`.
        features: (N, D) float32; other floats are converted.
        classes: names in label order; default the numbers 0..max. May name classes that have no images.
        split: (N,) of train, val, test; default all train.
        ids: (N,) unique; default `name/0000`, in the order of the rows.
        name: what to call the set.

    Raises:
        BadData: both or neither of images and features, another dtype or shape, lengths that differ, a label that is no whole number
            or has no class, values that are not finite.

    >>> from_arrays([0, 1, 1], images=np.zeros((3, 8, 8), np.uint8))
    Manifest 'arrays': 3 images, 2 classes, imbalance ratio 2; train 3
    """
    if (images is None) == (features is None):
        both = "both images and features" if images is not None else "neither images nor features"
        raise BadData(f"{name}: {both} are given, expected one of them; give images=... or features=...")
    container, array = ("images", _images(images, name)) if features is None else ("features", _features(features, name))
    numbers = _labels(labels, name)
    rows = len(numbers)
    columns = {"labels": rows, "split": _length(split), "ids": _length(ids)}
    for what, length in columns.items():
        if length is not None and length != len(array):
            raise BadData(f"{name}: {length:,} {what} for {len(array):,} rows of {container}; give one a row, in the same order")
    digits = max(4, len(str(rows - 1)))  # the order of the ids is the order of the rows
    table = pl.DataFrame(
        {
            "id": [f"{name}/{row:0{digits}d}" for row in range(rows)] if ids is None else _texts(ids),
            "container": [container] * rows,
            "row": pl.Series(range(rows), dtype=pl.Int64),
            "label": pl.Series(numbers),
            "split": ["train"] * rows if split is None else _texts(split),
        }
    )
    names = [str(label) for label in range(int(numbers.max()) + 1)] if classes is None else _texts(classes)
    summary = f"read from arrays: {rows:,} rows of {container}, {len(names):,} classes"
    return Manifest(table, tuple(names), None, {container: array}, name, (summary,))


def _length(column: Sequence[str] | None) -> int | None:
    return None if column is None else len(column)


def _texts(values: Sequence[Any]) -> list[str]:
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def _images(images: Any, name: str) -> np.ndarray:
    array = np.asarray(images)
    check_images(array, name)
    return array


def _features(features: Any, name: str) -> np.ndarray:
    array = np.asarray(features)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is refused just below, by row
            array = array.astype(np.float32, copy=False)
    check_features(array, name)
    return array


def _labels(labels: Any, name: str) -> np.ndarray:
    """Give (N,) int64 labels, or say which ones are none."""
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = "; of one-hot rows take .argmax(axis=1)" if array.ndim == 2 else ""
        raise BadData(f"{name}: labels have shape {array.shape}, expected (N,){hint or '; give one whole number a row'}")
    if array.dtype.kind not in "iu":
        raise BadData(f"{name}: labels are {array.dtype}, expected whole numbers 0..C-1; convert them with .astype('int64')")
    if array.size == 0:
        raise BadData(f"{name}: no labels; give at least one row")
    wrong = np.flatnonzero((array < 0) | (array > np.iinfo(np.int32).max))
    if len(wrong):
        raise BadData(f"{name}: label {array[wrong[0]]} in row {wrong[0]} is none, expected 0..C-1; renumber the labels from 0")
    # A stray huge label would otherwise make as many class names as it is large.
    if array.max() >= 1_000_000:
        raise BadData(f"{name}: label {array.max()} is too large, expected 0..C-1 without large gaps; renumber the labels from 0")
    return array.astype(np.int64)


def read_npz(file: Path | str) -> Manifest:
    """Read an `.npz` file with `labels` and `images` or `features`; optional `classes`, `split`, `ids`.

    The arrays are those of `from_arrays`. Other keys are left unread and named in the provenance. Nothing is unpickled.

    Raises:
        BadData: the file is no such archive or is damaged, a key is missing, an array holds Python objects, or as in `from_arrays`.
    """
    file = Path(file)
    found, unread = _load(file)
    missing = [key for key in ("labels",) if key not in found]
    if missing or not ({"images", "features"} & set(found)):
        have = ", ".join([*found, *unread]) or "none"
        raise BadData(f"{file}: needs the arrays 'labels' and 'images' or 'features', has {have}; rename them with np.savez")
    for key in ("classes", "split", "ids"):
        if key in found and (found[key].ndim != 1 or found[key].dtype.kind not in "US"):
            raise BadData(f"{file}: array {key!r} is {found[key].dtype} {found[key].shape}, expected one row of text; convert it")
    try:
        manifest = from_arrays(**found, name=file.stem)
    except BadData as error:
        raise BadData(f"{file}: {error}") from error
    notes = [f"left unread in {file.name!r}: {', '.join(unread)}"] if unread else []
    return manifest.replace(f"arrays came from {file.name!r}", *notes)


def _load(file: Path) -> tuple[dict[str, Any], list[str]]:
    """Give the known arrays, and the names of the others."""
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise BadData(f"{file}: holds a single array, expected an archive with labels; write it with np.savez")
        with archive:
            return {key: archive[key] for key in KEYS if key in archive}, [key for key in archive if key not in KEYS]
    except BadData:
        raise
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        if "Object arrays" in str(error):
            raise BadData(f"{file}: holds Python objects, which are never unpickled; save plain arrays of numbers and text") from error
        raise BadData(f"{file}: no readable .npz archive ({error}); write it again with np.savez") from error
