"""Reader of IDX, the format of MNIST and its kin: a file of images beside a file of labels."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

import numpy as np
import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.labels import SPLIT_WORDS, number_labels
from tailwise.data.readers.numbering import array_rows
from tailwise.data.readers.opening import read_whole
from tailwise.errors import BadData

IMAGES = re.compile(r"(?P<of>.*)images(?P<end>[-.]idx)3(?P<kind>-ubyte(\.gz)?)", re.IGNORECASE | re.DOTALL)
"""What a file of images is called; its labels' file says `labels` and 1 instead."""

_UBYTE = 8
_SPLITS = {**SPLIT_WORDS, "t10k": "test"}


def idx_files(folder: Path) -> list[Path]:
    """List a folder's files of images, a plain one before its `.gz`; none where it is no such folder."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if IMAGES.fullmatch(file.name):
            found.setdefault(file.name.lower().removesuffix(".gz"), file)
    return list(found.values())


def recognises(place: Place) -> bool:
    """A folder with files of images, or such a file."""
    return bool(idx_files(place.path)) if place.is_folder else IMAGES.fullmatch(place.path.name) is not None


def read_idx(source: Path | str) -> Manifest:
    """Read IDX files (LeCun, Cortes and Burges, MNIST, 1998), plain or `.gz`: bytes behind a magic number and big-endian sizes.

    Args:
        source: a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and, it may be, the same for `t10k`; or one file
            of images, whose labels lie beside it.

    Returns:
        uint8 images (N, H, W) in one array a split. Classes are the numbers; ids are `train/00000` onwards, in the files' order.

    Raises:
        BadData: no labels beside the images, another magic number or type, sizes that the file does not hold, other counts of
            labels than of images, two files for one split.
    """
    source = Path(source)
    files = idx_files(source) if source.is_dir() else [source]
    if not files:
        raise BadData(f"{source}: no files of images, expected train-images-idx3-ubyte or the like; check the path")
    arrays: dict[str, np.ndarray] = {}
    tables, sources = [], []
    for file in files:
        split = _split_of(file)
        if split in arrays:
            raise BadData(f"{source}: {file.name} and {files[list(arrays).index(split)].name} are both {split}; give one file of images")
        images = _read(file, 3)
        labels_file = _labels_of(file)
        labels = _read(labels_file, 1)
        if len(images) != len(labels):
            raise BadData(f"{labels_file}: {len(labels):,} labels for the {len(images):,} images of {file.name}; find the files that fit")
        arrays[split] = images
        sources += [SourceTable(file.name, len(images)), SourceTable(labels_file.name, len(labels))]
        tables.append(array_rows(split, labels.astype(np.int64), split))
    table = pl.concat(tables)
    labels_of = number_labels(table["label"], table["row"], source)
    name = source.resolve().name if source.is_dir() else file.name.split("-", 1)[0]
    summary = (
        f"read from the IDX files {first_five([file.name for file in files])}: {table.height:,} images, {len(labels_of.classes):,} classes"
    )
    rows = table.with_columns(labels_of.numbers.alias("label"))
    return Manifest(rows, labels_of.classes, None, arrays, name, (summary, *labels_of.notes), origin=Origin(tuple(sources)))


def _split_of(file: Path) -> str:
    """Give the split that a file's name says, and train where it says none."""
    words = re.split(r"[-._ ]+", file.name.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), "train")


def _labels_of(file: Path) -> Path:
    """Find the file of labels beside a file of images; it may be packed where the other is not."""
    found = IMAGES.fullmatch(file.name)
    if not found:
        raise BadData(
            f"{file}: its name does not say where its labels are, expected train-images-idx3-ubyte or the like; rename both files"
        )
    named = f"{found['of']}labels{found['end']}1{found['kind']}"
    plain = named[:-3] if named.lower().endswith(".gz") else named
    for name in (named, plain, f"{plain}.gz"):
        if (file.parent / name).is_file():
            return file.parent / name
    raise BadData(f"{file}: no labels beside it, expected {named}; put the file there")


def _read(file: Path, axes: int) -> np.ndarray:
    """Give the bytes of an IDX file with so many axes."""
    length = 4 + 4 * axes
    header = read_whole(file, length)
    magic = bytes((0, 0, _UBYTE, axes))
    if header[:4] != magic:
        what = "images" if axes == 3 else "labels"
        raise BadData(
            f"{file}: begins with {header[:4].hex(' ') or 'nothing'}, expected {magic.hex(' ')} for {what} of bytes; check the file"
        )
    if len(header) < length:
        raise BadData(f"{file}: ends inside its header, at byte {len(header)}; download it again")
    shape = struct.unpack(f">{axes}I", header[4:])
    if 0 in shape:
        raise BadData(f"{file}: sizes {shape} in its header, expected no 0; download it again")
    wanted = math.prod(shape)
    content = read_whole(file, length + wanted + 1)
    if len(content) != length + wanted:
        more = "more" if len(content) > length + wanted else f"{len(content) - length:,}"
        raise BadData(f"{file}: {more} bytes where its header says {wanted:,} ({' x '.join(map(str, shape))}); download it again")
    return np.frombuffer(content, np.uint8, offset=length).reshape(shape)
