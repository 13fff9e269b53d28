"""Reader of torch's map-style data sets: by their paths, their arrays, or one item after the other. torch itself is not imported."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from tailwise.data.images import image_pixels
from tailwise.data.manifest import Manifest
from tailwise.data.png import encode_png
from tailwise.data.readers.labels import Labels, named_labels, number_labels
from tailwise.data.readers.numbering import array_rows, numbered_id
from tailwise.data.unpacked import unpack, unpacking_key
from tailwise.errors import BadData


def is_torch_dataset(thing: Any) -> bool:
    """Tell whether a thing has a length and gives items by number, and is no text, dictionary or array."""
    if isinstance(thing, (str, bytes, Mapping, os.PathLike, np.ndarray, pl.DataFrame, pl.Series)):
        return False
    return hasattr(thing, "__len__") and hasattr(thing, "__getitem__")


def read_torch_dataset(dataset: Any, split: str = "train") -> Manifest:
    """Read a map-style data set of (image, label), or a `Subset` of one.

    A data set with `samples` (torchvision's `ImageFolder`) is read by its paths, without opening an image; one with uint8 `data`
    and `targets` or `labels` (`MNIST`, `CIFAR10`, `SVHN`) by its array. Of others every item is asked for: images of one size are
    kept in memory, others are written to the store as PNG. Transforms of the first two kinds are not applied, and that is said.

    Args:
        dataset: images are Pillow images or uint8 arrays or tensors, (H, W), (H, W, C) or (C, H, W); labels whole numbers.
        split: the split that all rows get.

    Returns:
        Classes are `classes` of the data set, or its numbers. Ids are the paths from `root`, or `split/number`, where numbers count in
        the whole data set, not in the subset.

    Raises:
        BadData: no items, an item of another kind, a label without a class, a `target_transform`, an index that a subset holds
            twice.
    """
    whole, indices = _unwrap(dataset)
    name = type(whole).__name__
    if len(indices) == 0:
        raise BadData(f"data set {name}: no items; give at least one image")
    if len(np.unique(indices)) < len(indices):
        raise BadData(f"data set {name}: a subset holds the same index twice; list each once")
    has_paths, array = _has_paths(whole), _array_of(whole)
    if not has_paths and array is None:
        return _by_items(whole, indices, split, name)
    if getattr(whole, "target_transform", None) is not None:
        raise BadData(f"data set {name} has a target_transform, and its labels are read without; leave it out, or apply it to the data")
    return _by_paths(whole, indices, split, name) if array is None or has_paths else _by_array(whole, array, indices, split, name)


def _unwrap(dataset: Any) -> tuple[Any, np.ndarray]:
    """Give the data set under its subsets, and the positions that they keep."""
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        whole, below = _unwrap(dataset.dataset)
        return whole, below[np.asarray(dataset.indices, dtype=np.int64)]
    return dataset, np.arange(len(dataset))


def _labels(whole: Any, values: Sequence[Any], indices: np.ndarray, name: str) -> Labels:
    """Number labels by the data set's own class names, where it has them."""
    column, rows = pl.Series("label", _whole_numbers(values, indices, name), dtype=pl.Int64), pl.Series("row", indices)
    classes = getattr(whole, "classes", None)
    where = f"data set {name}"
    if isinstance(classes, (list, tuple)) and classes and all(isinstance(one, str) for one in classes):
        return named_labels(column, classes, rows, where)
    return number_labels(column, rows, where)


def _whole_numbers(values: Sequence[Any], indices: np.ndarray, name: str) -> list[int]:
    numbers = []
    for index, value in zip(indices, values, strict=True):
        try:
            numbers.append(operator.index(value.item() if hasattr(value, "item") else value))
        except (TypeError, ValueError, RuntimeError) as error:
            raise BadData(f"data set {name}: label {value!r} of item {index} is no whole number; give class numbers") from error
    return numbers


def _not_applied(whole: Any) -> tuple[str, ...]:
    has_any = any(getattr(whole, field, None) is not None for field in ("transform", "transforms"))
    return ("the data set's transforms are not applied: images are read as they are",) if has_any else ()


def _summary(name: str, images: int, labels: Labels) -> str:
    return f"read from the data set object {name}: {images:,} images, {len(labels.classes):,} classes"


def _has_paths(whole: Any) -> bool:
    """Tell whether `samples` is a list of (path, label)."""
    samples = getattr(whole, "samples", None)
    first = samples[0] if isinstance(samples, list) and samples else None
    return isinstance(first, (tuple, list)) and len(first) == 2 and isinstance(first[0], (str, os.PathLike))


def _by_paths(whole: Any, indices: np.ndarray, split: str, name: str) -> Manifest:
    samples = [whole.samples[index] for index in indices]
    files = [os.path.abspath(os.fspath(sample[0])) for sample in samples]
    labels = _labels(whole, [sample[1] for sample in samples], indices, name)
    root = os.path.abspath(os.fspath(getattr(whole, "root", "") or "."))
    if os.path.commonpath([root, *files]) != root:
        root = os.path.commonpath([os.path.dirname(file) for file in files])
    paths = [Path(os.path.relpath(file, root)).as_posix() for file in files]
    rows = pl.DataFrame({"id": paths, "path": paths, "label": labels.numbers, "split": [split] * len(paths)})
    done = (_summary(name, len(paths), labels), *_not_applied(whole), *labels.notes)
    return Manifest(rows, labels.classes, Path(root), {}, os.path.basename(root) or name, done)


def _array_of(whole: Any) -> np.ndarray | None:
    """Give `data` as uint8 (N, H, W) or (N, H, W, C), or None where it is nothing of the kind."""
    data = getattr(whole, "data", None)
    if data is None or _targets_of(whole) is None:
        return None
    array = np.asarray(data.cpu() if hasattr(data, "cpu") else data) if hasattr(data, "shape") else None
    if array is None or array.dtype != np.uint8 or array.ndim not in (3, 4) or len(array) != len(whole):
        return None
    is_planar = array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3)
    return array.transpose(0, 2, 3, 1) if is_planar else array


def _targets_of(whole: Any) -> Any:
    return next((found for field in ("targets", "labels") if (found := getattr(whole, field, None)) is not None), None)


def _by_array(whole: Any, array: np.ndarray, indices: np.ndarray, split: str, name: str) -> Manifest:
    targets = _targets_of(whole)
    targets = targets.tolist() if hasattr(targets, "tolist") else list(targets)
    labels = _labels(whole, [targets[index] for index in indices], indices, name)
    rows = _array_rows(indices, len(array), labels, split).with_columns(pl.Series("row", indices))
    done = (_summary(name, len(indices), labels), *_not_applied(whole), *labels.notes)
    return Manifest(rows, labels.classes, None, {"images": array}, name, done)


def _array_rows(indices: np.ndarray, whole: int, labels: Labels, split: str) -> pl.DataFrame:
    ids = [numbered_id(split, index, whole) for index in indices]
    return array_rows("images", labels.numbers, split).with_columns(pl.Series("id", ids))


def _by_items(whole: Any, indices: np.ndarray, split: str, name: str) -> Manifest:
    """Ask for every item; pixels are kept for as long as all have one shape."""
    kept: list[np.ndarray] = []
    shapes, hashes, targets = set(), [], []
    for index in indices:
        pixels, target = _item(whole, int(index), name)
        targets.append(target)
        shapes.add(pixels.shape)
        hashes.append(_hash(pixels))
        if len(shapes) == 1:
            kept.append(pixels)
        else:
            kept.clear()
    labels = _labels(whole, targets, indices, name)
    done = (_summary(name, len(indices), labels), *labels.notes)
    rows = _array_rows(indices, len(whole), labels, split)
    if len(shapes) == 1:
        return Manifest(rows, labels.classes, None, {"images": np.stack(kept)}, name, done)
    ids = rows["id"].to_list()
    root, files = unpack(unpacking_key("items", ids, hashes), lambda: _encoded(whole, indices, ids, hashes, name))
    rows = rows.drop("container", "row").with_columns(files["path"], files["content"])
    return Manifest(rows, labels.classes, root, {}, name, (*done, "images of different sizes were written to the store as PNG"))


def _encoded(whole: Any, indices: np.ndarray, ids: Sequence[str], hashes: Sequence[str], name: str) -> Iterator[tuple[str, bytes]]:
    for index, id_, known in zip(indices, ids, hashes, strict=True):
        pixels, _ = _item(whole, int(index), name)
        if _hash(pixels) != known:
            raise BadData(f"data set {name}: item {index} is another image each time; leave its random transforms out")
        yield id_, encode_png(pixels)


def _hash(pixels: np.ndarray) -> str:
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def _item(whole: Any, index: int, name: str) -> tuple[np.ndarray, Any]:
    """Give an item's pixels as (H, W, C) uint8, and its label."""
    try:
        item = whole[index]
    except Exception as error:  # anybody's code: the item that failed must be named
        raise BadData(f"data set {name}: item {index} cannot be had ({type(error).__name__}: {error}); correct the data set") from error
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise BadData(f"data set {name}: item {index} is a {type(item).__name__}, expected a pair (image, label)")
    image, target = item
    return _pixels(image, f"data set {name}: item {index}"), target


def _pixels(image: Any, where: str) -> np.ndarray:
    if isinstance(image, Image.Image):
        return image_pixels(image, where)
    if not hasattr(image, "shape"):
        raise BadData(f"{where} has a {type(image).__name__} for an image, expected a Pillow image or uint8 pixels")
    pixels = np.asarray(image.cpu() if hasattr(image, "cpu") else image)
    if pixels.dtype != np.uint8:
        raise BadData(f"{where} has {pixels.dtype} pixels, expected uint8 0..255 or a Pillow image; leave ToTensor and the like out")
    if pixels.ndim == 2:
        return pixels[..., None]
    if pixels.ndim == 3 and pixels.shape[2] in (1, 3):
        return np.ascontiguousarray(pixels)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))
    raise BadData(f"{where} has the shape {pixels.shape}, expected (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels")
