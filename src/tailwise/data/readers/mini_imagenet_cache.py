"""Reader of mini-ImageNet's pickled caches, in both forms that circulate; they are read as data, never unpickled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tailwise.data.containers import check_images
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.labels import SPLIT_WORDS, Labels, number_labels
from tailwise.data.readers.numbering import array_rows
from tailwise.data.readers.pickles import as_text, read_pickle, whole_numbers
from tailwise.errors import BadData

BY_CLASS = frozenset({"image_data", "class_dict"})
BY_ROW = frozenset({"data", "labels"})
"""Keys of the two forms: rows of each class by its wnid, or a number a row."""

_OF_CIFAR = frozenset({"batch_label", "filenames", "fine_labels"})
_SUFFIXES = (".pkl", ".pickle", ".pkl.gz", ".pickle.gz")
_HDF5 = (".hdf5", ".h5")


class _Part(NamedTuple):
    """One file.

    Attributes:
        file: where it is.
        name: what its array is called: `train`, or `train_phase_val`.
        split: train, val or test, by the file's name.
        images: (N, H, W, 3) uint8, a view of the file.
        classes: (N,) wnids, or numbers of one numbering over all files.
        names: number -> class name, where the file has them.
    """

    file: Path
    name: str
    split: str
    images: np.ndarray
    classes: list[str] | np.ndarray
    names: Mapping[int, str]


def recognises(place: Place) -> bool:
    """A pickle with the keys of either form, or a folder with such a one; so are their HDF5 kin, to be refused by name."""
    if not place.is_folder:
        return _is_cache(place.keys) or (place.start.startswith(b"\x89HDF") and "_data." in place.path.name)
    if any(name.endswith(_HDF5) and "_data." in name for name in place.names):
        return True
    return any(_keys(place.path / name) for name in place.names if name.endswith(_SUFFIXES))


def read_mini_imagenet_cache(source: Path | str) -> Manifest:
    """Read mini-ImageNet's caches: one pickle, or a folder of them, one a split.

    The images are mapped from plain files, not copied: 38,400 of 84 x 84 are 813 MB. The published splits have classes of their own,
    for few-shot learning; where a class of val or test is not in train, all images are `train`, to be split within their class.

    Returns:
        An array a file; ids are `train/00000` onwards, in the file's order. Classes are wnids, names (`catname2label`) or numbers.

    Raises:
        BadData: no such pickle, or as `read_pickle`; two files of one part; rows that no class names, or two; files of both forms.
    """
    source = Path(source)
    files = _files(source) if source.is_dir() else [source]
    _refuse_hdf5(source, files)
    if not files:
        raise BadData(f"{source}: no cache of mini-ImageNet, expected mini-imagenet-cache-train.pkl or the like; check the path")
    parts = [_read(file) for file in files]
    _refuse_clashes(parts, source)
    splits, said = _splits(parts)
    rows = pl.concat([array_rows(part.name, part.classes, split) for part, split in zip(parts, splits, strict=True)])
    labels, class_table = _labels(rows["label"], parts, source)
    rows = rows.with_columns(labels.numbers.alias("label"))
    name = source.resolve().name if source.is_dir() else re.sub(r"\.(pkl|pickle)(\.gz)?$", "", source.name)
    summary = f"read from the caches {first_five([file.name for file in files])}: {rows.height:,} images, {len(labels.classes):,} classes"
    arrays = {part.name: part.images for part in parts}
    origin = Origin(tuple(SourceTable(part.file.name, len(part.images)) for part in parts))
    return Manifest(rows, labels.classes, None, arrays, name, (summary, *said, *labels.notes), class_table, origin)


def _is_cache(keys: frozenset[str]) -> bool:
    return keys >= BY_CLASS or (keys >= BY_ROW and not keys & _OF_CIFAR)


def _keys(file: Path) -> bool:
    """Tell whether a file is a cache; one that cannot be read is none, as folders of anything else may hold pickles."""
    try:
        return _is_cache(Place(file).keys)
    except BadData:
        return False


def _files(folder: Path) -> list[Path]:
    found = [folder / name for name in Place(folder).names if name.endswith(_SUFFIXES)]
    return [file for file in found if _is_cache(Place(file).keys)]


def _refuse_hdf5(source: Path, files: Sequence[Path]) -> None:
    names = Place(source).names if source.is_dir() else (source.name,)
    packed = [name for name in names if name.endswith(_HDF5)]
    if packed and (not files or not source.is_dir()):
        raise BadData(f"{source}: {packed[0]} is HDF5, which is not read here; save its images and labels as .npz, or get the .pkl")


def _read(file: Path) -> _Part:
    table = read_pickle(file)
    keys = frozenset(key for key in table if isinstance(key, str)) if isinstance(table, dict) else frozenset()
    if not _is_cache(keys):
        has = first_five([repr(key) for key in sorted(keys)]) or "none"
        raise BadData(f"{file}: no cache of mini-ImageNet, expected the keys image_data and class_dict, or data and labels; it has {has}")
    images = table["image_data" if keys >= BY_CLASS else "data"]
    if not isinstance(images, np.ndarray):
        raise BadData(f"{file}: its images are no array, expected (N, 84, 84, 3) bytes; download it again")
    check_images(images, str(file))
    classes = _by_class(table["class_dict"], len(images), file) if keys >= BY_CLASS else whole_numbers(table["labels"], len(images))
    if classes is None:
        raise BadData(f"{file}: no whole number for each of its {len(images):,} images under 'labels'; download it again")
    return _Part(file, *_named(file), images, classes, _class_names(table.get("catname2label")))


def _named(file: Path) -> tuple[str, str]:
    """Give the name of a part, and its split: `train_phase_val` is further images of the training classes."""
    words = re.split(r"[-_. ]+", re.sub(r"\.(pkl|pickle)(\.gz)?$", "", file.name.lower()))
    split = SPLIT_WORDS.get(words[-1])
    if split is None:
        return "images", "train"
    return (f"train_phase_{split}" if words[-3:-1] == ["train", "phase"] else split), split


def _by_class(table: Any, length: int, file: Path) -> list[str]:
    """Give each row its class: the rows of the classes must cover all, each once."""
    rows_of = {as_text(key): whole_numbers(rows) for key, rows in table.items()} if isinstance(table, dict) else {}
    odd = [wnid for wnid, rows in rows_of.items() if not wnid or rows is None]
    if odd or not rows_of:
        what = f"class {odd[0]!r} has no list of row numbers" if odd else "it names no class"
        raise BadData(f"{file}: class_dict: {what}; download it again")
    lists = [rows for rows in rows_of.values() if rows is not None]
    rows = np.concatenate(lists)
    outside = rows[(rows < 0) | (rows >= length)]
    if len(outside):
        raise BadData(f"{file}: class_dict names row {outside[0]}, and there are {length:,} images; download it again")
    times = np.bincount(rows, minlength=length)
    wrong = np.flatnonzero(times != 1)
    if len(wrong):
        raise BadData(
            f"{file}: class_dict names row {wrong[0]} {times[wrong[0]]} times, and {len(wrong) - 1:,} more rows not once; download it again"
        )
    classes = np.empty(length, dtype=np.int64)
    classes[rows] = np.repeat(np.arange(len(lists)), [len(rows) for rows in lists])
    wnids = [str(wnid) for wnid in rows_of]
    return [wnids[position] for position in classes.tolist()]


def _class_names(table: Any) -> dict[int, str]:
    pairs = table.items() if isinstance(table, dict) else ()
    return {int(number): name for key, number in pairs if isinstance(number, (int, np.integer)) and (name := as_text(key))}


def _refuse_clashes(parts: Sequence[_Part], source: Path) -> None:
    by_name: dict[str, Path] = {}
    for part in parts:
        if part.name in by_name:
            both = f"{by_name[part.name].name} and {part.file.name}"
            raise BadData(f"{source}: {both} could each be {part.name}; give a folder with one of them, or the file itself")
        by_name[part.name] = part.file
    if len({type(part.classes) for part in parts}) > 1:
        raise BadData(f"{source}: some files name classes by wnid, others by number; give a folder of one form")


def _splits(parts: Sequence[_Part]) -> tuple[list[str], tuple[str, ...]]:
    """Give the split of each part; all are train where the others have classes that train lacks."""
    train = {each for part in parts if part.split == "train" for each in np.unique(part.classes).tolist()}
    strange = {each for part in parts for each in np.unique(part.classes).tolist()} - train
    if not strange:
        return [part.split for part in parts], ()
    said = (
        f"the splits of the files have classes of their own ({len(strange):,} are not in train): all images are train, split within class"
    )
    return ["train"] * len(parts), (said,)


def _labels(values: pl.Series, parts: Sequence[_Part], source: Path) -> tuple[Labels, pl.DataFrame | None]:
    """Number the classes of all files together; numbers that all have a name keep their order."""
    labels = number_labels(values, pl.int_range(len(values), eager=True), source)
    names = {number: name for part in parts for number, name in part.names.items()}
    if values.dtype == pl.String or not all(int(number) in names for number in labels.classes):
        return labels, None
    named = tuple(names[int(number)] for number in labels.classes)
    return labels._replace(classes=named), pl.DataFrame({"class_id": list(labels.classes)})
