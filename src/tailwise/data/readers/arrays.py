"""Reader of arrays: NumPy arrays in memory, and `.npz` files of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tailwise.data.columns import SPLITS
from tailwise.data.containers import check_features, check_images
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.labels import SPLIT_WORDS
from tailwise.data.readers.npz import Header, load_npz, npz_headers
from tailwise.data.readers.numbering import numbered_ids
from tailwise.errors import BadData

ROLES: Mapping[str, tuple[str, ...]] = {
    "images": ("images", "image", "data", "x"),
    "features": ("features",),
    "labels": ("labels", "label", "y", "targets"),
    "classes": ("classes", "class_names"),
    "split": ("split",),
    "ids": ("ids",),
}
"""What an array of an `.npz` file is for -> the names by which it is recognised, in lower case."""


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
    table = pl.DataFrame(
        {
            "id": numbered_ids(name, rows, fewest=4) if ids is None else _texts(ids),
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


def recognises(place: Place) -> bool:
    """A file that is called `.npz`."""
    return place.path.suffix.lower() == ".npz" and not place.is_folder


def read_npz(file: Path | str) -> Manifest:
    """Read an `.npz` file of images or features with labels, whole or a pair a split; what it holds is known by usual names.

    The arrays are those of `from_arrays`, under the names of `ROLES`; a split's are called `x_train` and `y_train`, or `train_images`
    and `train_labels`. Beside what `from_arrays` takes, images may be (N, C, H, W) or floats 0..1, and labels one-hot (N, C): that is
    told from shape and values, converted, and said in the provenance. Other keys are left unread and named there. Nothing is
    unpickled.

    Returns:
        One array a split, or one in all; ids are `train/00000` onwards in the first case, and as in `from_arrays` in the other.

    Raises:
        BadData: the file is no such archive or is damaged, a key is missing or there twice, an array holds Python objects, declares
            more than the file holds, or as in `from_arrays`.
    """
    file = Path(file)
    headers = npz_headers(file)
    meant = _meant(headers, file)
    splits = tuple(split for split in SPLITS if any(split == of for _, of in meant))
    groups = [{role: key for (role, of), key in meant.items() if of == split} for split in splits or (None,)]
    unread = [key for key in headers if not any(key in group.values() for group in groups) and key != meant.get(("classes", None))]
    if any("labels" not in group or not {"images", "features"} & set(group) for group in groups):
        have = ", ".join(headers) or "none"
        raise BadData(
            f"{file}: needs the arrays 'labels' and 'images' or 'features', has {have}; "
            f"rename them with np.savez, those of splits as x_train and y_train"
        )
    found = load_npz(file, [key for key in headers if key not in unread])
    notes: list[str] = []
    classes = _column(found, "classes", meant.get(("classes", None)), file)
    try:
        parts = [_part(found, group, split, classes, file, notes) for group, split in zip(groups, splits or (None,), strict=True)]
    except BadData as error:
        raise BadData(f"{file}: {error}") from error
    notes += [f"left unread in {file.name!r}: {', '.join(unread)}"] if unread else []
    tables = tuple(SourceTable(key, headers[key].shape[0] if headers[key].shape else 1) for key in found)
    manifest = parts[0] if not splits else _together(parts, splits, file.stem)
    return manifest.replace(f"arrays came from {file.name!r}", *notes, origin=Origin(tables))


def _meant(headers: Mapping[str, Header], file: Path) -> dict[tuple[str, str | None], str]:
    """Tell what the keys are for, and of which split: (role, split) -> key."""
    meant: dict[tuple[str, str | None], str] = {}
    for key in headers:
        meaning = _meaning(key.lower())
        if meaning is None:
            continue
        if meaning in meant:
            raise BadData(f"{file}: {meant[meaning]} and {key} could each be the {meaning[0]}; leave one out")
        meant[meaning] = key
    return meant


def _meaning(key: str) -> tuple[str, str | None] | None:
    roles = {name: role for role, names in ROLES.items() for name in names}
    if key in roles:
        return roles[key], None
    first, _, second = key.partition("_")
    for name, word in ((first, second), (second, first)):
        if word in SPLIT_WORDS and roles.get(name) in ("images", "features", "labels"):
            return roles[name], SPLIT_WORDS[word]
    return None


def _part(
    found: Mapping[str, np.ndarray], keys: Mapping[str, str], split: str | None, classes: list[str] | None, file: Path, notes: list[str]
) -> Manifest:
    """Make a manifest of the arrays of one split, or of all; what was converted is added to the notes."""
    arrays = {role: _converted(found[keys[role]], keys[role], notes) for role in ("images", "features") if role in keys}
    if "images" in arrays and arrays["images"].ndim == 2 and arrays["images"].dtype.kind == "f":
        arrays["features"] = arrays.pop("images")
    labels, width = _class_numbers(found[keys["labels"]], keys["labels"], notes)
    columns = {role: _column(found, role, keys.get(role), file) for role in ("split", "ids")}
    if split is not None:
        columns = {"split": [split] * len(labels), "ids": numbered_ids(split, len(labels))}
    made = from_arrays(labels, arrays.get("images"), arrays.get("features"), classes, columns["split"], columns["ids"], file.stem)
    if classes is None and len(made.classes) < width:
        return made.replace(classes=tuple(str(label) for label in range(width)))
    return made


def _column(found: Mapping[str, np.ndarray], role: str, key: str | None, file: Path) -> list[str] | None:
    if key is None:
        return None
    texts = found[key]
    if texts.ndim != 1 or texts.dtype.kind not in "US":
        raise BadData(f"{file}: array {key!r} is {texts.dtype} {texts.shape}, expected one row of text for the {role}; convert it")
    return _texts(texts.tolist())


def _converted(array: np.ndarray, key: str, notes: list[str]) -> np.ndarray:
    """Put channels last, and make bytes of floats 0..1: neither is declared in the file."""
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
        notes.append(f"{key}: taken as (N, C, H, W) by its shape, channels put last")
    if array.ndim >= 3 and array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        pixels = np.empty(array.shape, np.uint8)
        for row, image in enumerate(array):  # one by one: a whole set in floats may just fit into memory
            pixels[row] = (255 * image).round()
        array = pixels
        notes.append(f"{key}: taken as colours 0..1 by its values, times 255")
    return array


def _class_numbers(labels: np.ndarray, key: str, notes: list[str]) -> tuple[np.ndarray, int]:
    """Give one-hot rows as numbers, and how many classes they speak of; other labels as they are."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "buif":
        return labels, 0
    unfit = np.flatnonzero(~((labels == 0) | (labels == 1)).all(axis=1) | (labels.sum(axis=1) != 1))
    if len(unfit):
        total = labels[unfit[0]].sum()
        raise BadData(
            f"{key} has shape {labels.shape}, and row {unfit[0]} (sum {total:g}) is not one-hot; give one whole number a row, "
            f"or read several labels an image with --format label-matrix"
        )
    notes.append(f"{key}: taken as one-hot by its values")
    return labels.argmax(axis=1), labels.shape[1]


def _together(parts: Sequence[Manifest], splits: Sequence[str], name: str) -> Manifest:
    """Put the parts for the splits together, each with its array."""
    arrays = {split: part.arrays[container] for part, split in zip(parts, splits, strict=True) for container in part.arrays}
    rows = pl.concat([part.rows.with_columns(container=pl.lit(split)) for part, split in zip(parts, splits, strict=True)])
    classes = max((part.classes for part in parts), key=len)
    summary = f"read from arrays: {rows.height:,} rows of {', '.join(splits)}, {len(classes):,} classes"
    return Manifest(rows, classes, None, arrays, name, (summary,))
