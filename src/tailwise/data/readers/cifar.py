"""Reader of CIFAR-10 and CIFAR-100 as published: Python or binary files, in a folder or still in their archive."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.labels import named_labels, number_labels, split_in_name
from tailwise.data.readers.numbering import array_rows
from tailwise.data.readers.opening import first_bytes, read_whole
from tailwise.data.readers.pickles import as_text, parse_pickle, read_pickle, whole_numbers
from tailwise.data.readers.tar import Tar
from tailwise.errors import BadData

_PIXELS = 3 * 32 * 32
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_MAGIC = slice(257, 262)  # where a tar says that it is one
_MOST_BYTES = 1 << 28  # of one file; the largest published one has 155 million
_HERE = (Path(), Path("data"))
"""Where sets are looked for by name: the current folder, and `data` in it, where torchvision's examples leave them."""


@dataclass(frozen=True)
class Layout:
    """One published form of one of the two sets.

    Attributes:
        name: of the set, as `read` takes it.
        folder: what the archive unpacks to.
        archive: its published name.
        parts: split -> files, in the archive's order.
        names: files of class names: of the classes, and of the superclasses.
        labels: of a binary form, bytes before the pixels of a record; 0 where the files are pickles.
        md5: of the archive as published, where one is known.
    """

    name: str
    folder: str
    archive: str
    parts: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]
    labels: int = 0
    md5: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files of images."""
        return tuple(file for files in self.parts.values() for file in files)


PYTHON_10 = Layout(
    "cifar10",
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    {"train": _BATCHES, "test": ("test_batch",)},
    ("batches.meta",),
    md5="c58f30108f718f92721af3b95e74349a",
)
PYTHON_100 = Layout(
    "cifar100",
    "cifar-100-python",
    "cifar-100-python.tar.gz",
    {"train": ("train",), "test": ("test",)},
    ("meta",),
    md5="eb9058c3a382ffc7106e4002c42a8d85",
)
BINARY_10 = Layout(
    "cifar10",
    "cifar-10-batches-bin",
    "cifar-10-binary.tar.gz",
    {"train": tuple(f"{batch}.bin" for batch in _BATCHES), "test": ("test_batch.bin",)},
    ("batches.meta.txt",),
    labels=1,
)
BINARY_100 = Layout(
    "cifar100",
    "cifar-100-binary",
    "cifar-100-binary.tar.gz",
    {"train": ("train.bin",), "test": ("test.bin",)},
    ("fine_label_names.txt", "coarse_label_names.txt"),
    labels=2,
)
LAYOUTS = (PYTHON_10, PYTHON_100, BINARY_10, BINARY_100)
"""The Python files first: a folder that holds both forms of a set is read from them."""


class _Found(NamedTuple):
    """A form of a set, and where it is: a folder, or an archive."""

    layout: Layout
    place: Path


class _Batch(NamedTuple):
    """What one file holds.

    Attributes:
        pixels: (N, 3072) uint8, planes of red, green and blue.
        labels: (N,) int64; those of CIFAR-100 are the fine ones.
        coarse: (N,) int64 labels of superclasses; none of CIFAR-10.
    """

    pixels: np.ndarray
    labels: np.ndarray
    coarse: np.ndarray | None


def recognises(place: Place) -> bool:
    """A folder with the files of one of `LAYOUTS`, or with their folder or archive; such an archive; or one of the files."""
    if place.is_folder:
        return bool(_find(place.path))
    if place.start[_MAGIC] == b"ustar":
        return place.start.startswith(tuple(layout.folder.encode() for layout in LAYOUTS)) or place.plain_name.startswith("cifar")
    return _layout_of_file(place) is not None


def read_cifar(source: Path | str) -> Manifest:
    """Read CIFAR-10 or CIFAR-100 (Krizhevsky, 2009) from a folder, an archive, or one file.

    Archives are read in memory, and their members' names are looked at: nothing is extracted. Pickles are read as data.

    Returns:
        uint8 images (N, 32, 32, 3) in one array a split, `train` and `test`. Ids are `train/00000` onwards, in the archive's order
        (`data_batch_1` before `data_batch_2`). The classes of CIFAR-100 are the fine ones; the class table names the `superclass`.

    Raises:
        BadData: files of both sets are there, a file is missing, damaged, of an odd size or no CIFAR file, or an archive holds a link
            or a name that leaves it.
    """
    return _read(Path(source), [layout.name for layout in LAYOUTS])


def read_cifar_by_name(name: str, root: Path | str | None = None) -> Manifest:
    """Read `cifar10` or `cifar100` from where it lies; nothing is downloaded.

    Such a set is thinned by the field's own draw: see `tailwise.data.thin`.

    Args:
        name: of the set.
        root: its archive, its folder, or the folder that holds either; None looks in the current folder and in `data`.

    Raises:
        BadData: it is not there, or as `read_cifar`.
    """
    places = _HERE if root is None else (Path(root),)
    place = next((place for place in places if place.is_file() or any(found.layout.name == name for found in _find(place))), None)
    if place is None:
        looked = ", ".join(word for layout in LAYOUTS if layout.name == name for word in (layout.folder, layout.archive))
        where = " or ".join(str(place.absolute()) for place in places)
        raise BadData(f"{name}: none of {looked} is in {where}; nothing is downloaded, so pass --root with the folder or archive")
    manifest = _read(place, [name])
    return manifest.replace(name=name, origin=replace(manifest.origin, format="cifar", draw="archive"))


def _read(source: Path, names: Sequence[str]) -> Manifest:
    """Read one of the sets that are asked for."""
    if source.is_dir():
        found = {each.layout.name: each for each in reversed(_find(source)) if each.layout.name in names}
        if len(found) > 1:
            raise BadData(f"{source}: holds both CIFAR-10 and CIFAR-100; give {' or '.join(str(each.place) for each in found.values())}")
        if not found:
            raise BadData(f"{source}: no CIFAR files; expected one of {', '.join(layout.folder for layout in LAYOUTS)}")
        ((layout, place),) = found.values()
        if place.is_dir():
            return _read_folder(place, layout)
        source = place
    read = _read_archive if first_bytes(source, 512)[_MAGIC] == b"ustar" else _read_file
    layout, manifest = read(source)
    if layout.name not in names:
        raise BadData(f"{source}: holds {layout.name}, not {names[0]}; pass --root with the archive of {names[0]}")
    return manifest


def _find(folder: Path) -> list[_Found]:
    """List what of CIFAR a folder is or holds, what is unpacked first."""
    here = [_Found(layout, folder) for layout in LAYOUTS if _is_layout(folder, layout)]
    below = [_Found(layout, folder / layout.folder) for layout in LAYOUTS if _is_layout(folder / layout.folder, layout)]
    packed = [_Found(layout, folder / layout.archive) for layout in LAYOUTS if os.path.isfile(folder / layout.archive)]
    return here + below + packed


def _is_layout(folder: Path, layout: Layout) -> bool:
    """Names as short as `train` may be anything's, so they count only beside the class names, or in a folder so called."""
    if not any(os.path.isfile(folder / file) for file in layout.files):
        return False
    return layout.name == "cifar10" or folder.name == layout.folder or any(os.path.isfile(folder / names) for names in layout.names)


def _read_folder(folder: Path, layout: Layout) -> Manifest:
    missing = [file for file in layout.files if not os.path.isfile(folder / file)]
    if missing:
        raise BadData(f"{folder}: no {missing[0]}; complete the folder from {layout.archive}")
    contents = {file: folder / file for file in (*layout.files, *layout.names) if os.path.isfile(folder / file)}
    return _manifest(layout, layout.parts, contents, folder, folder.resolve().name)


def _read_archive(file: Path) -> tuple[Layout, Manifest]:
    wanted = {f"{layout.folder}/{name}" for layout in LAYOUTS for name in (*layout.files, *layout.names)}
    with Tar(file) as tar:
        found = {member.name: tar.read(member, _MOST_BYTES) for member in tar.members() if member.name in wanted}
    here = [layout for layout in LAYOUTS if any(f"{layout.folder}/{name}" in found for name in layout.files)]
    if len(here) != 1:
        what = f"holds {' and '.join(layout.folder for layout in here)}" if here else "holds no CIFAR files"
        raise BadData(f"{file}: {what}; expected the archive of one set, such as {LAYOUTS[0].archive}")
    (layout,) = here
    missing = [name for name in layout.files if f"{layout.folder}/{name}" not in found]
    if missing:
        raise BadData(f"{file}: no {layout.folder}/{missing[0]} in it; download it again")
    contents = {name.rpartition("/")[2]: content for name, content in found.items() if name.startswith(f"{layout.folder}/")}
    name = re.sub(r"(\.tar)?(\.gz|\.tgz)?$", "", file.name)
    return layout, _manifest(layout, layout.parts, contents, file, name, _other_archive(file, layout))


def _other_archive(file: Path, layout: Layout) -> tuple[Finding, ...]:
    """Say that an archive of the published name is not the published one."""
    if file.name != layout.archive or not layout.md5:
        return ()
    with open(file, "rb") as stream:
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 == layout.md5:
        return ()
    return (Finding("other-archive", "note", f"{file.name} is not the archive as published: its md5 is {md5}, expected {layout.md5}"),)


def _layout_of_file(place: Place) -> Layout | None:
    """Tell of which form a single file is: by its name, else by the keys of a pickle or the size of a binary file."""
    name = place.path.name
    if name.endswith(".bin"):
        size = place.path.stat().st_size
        fitting = [layout for layout in (BINARY_10, BINARY_100) if size and size % (layout.labels + _PIXELS) == 0]
        named = [layout for layout in (BINARY_10, BINARY_100) if name in layout.files and (layout is BINARY_10 or layout in fitting)]
        return next(iter(named), fitting[0] if len(fitting) == 1 else None)
    if {"data", "fine_labels"} <= place.keys:
        return PYTHON_100
    return PYTHON_10 if {"data", "labels", "batch_label"} <= place.keys else None


def _read_file(file: Path) -> tuple[Layout, Manifest]:
    layout = _layout_of_file(Place(file))
    if layout is None:
        raise BadData(f"{file}: no CIFAR file: neither a pickle with data and labels, nor records of 3,073 or 3,074 bytes; check the path")
    split = split_in_name(file.name) or "train"
    contents = {name: file.parent / name for name in layout.names if os.path.isfile(file.parent / name)}
    return layout, _manifest(layout, {split: (file.name,)}, {**contents, file.name: file}, file, file.name.removesuffix(".bin"))


def _manifest(
    layout: Layout,
    parts: Mapping[str, Sequence[str]],
    contents: Mapping[str, Path | bytes],
    where: Path,
    name: str,
    findings: tuple[Finding, ...] = (),
) -> Manifest:
    """Make the manifest of a form's files.

    Args:
        layout: the form.
        parts: split -> files.
        contents: file -> where it is, or its bytes.
        where: folder, archive or file, for errors and the provenance.
        name: what to call the set.
        findings: about the archive.
    """
    arrays, tables, sources = {}, [], []
    coarse: list[np.ndarray] = []
    for split, files in parts.items():
        batches = [_batch(contents[file], layout, f"{where}:{layout.folder}/{file}") for file in files]
        sources += [SourceTable(file, len(batch.labels)) for file, batch in zip(files, batches, strict=True)]
        arrays[split] = _pictures([batch.pixels for batch in batches])
        # The order of the ids is the archive's, which the field's draw needs.
        tables.append(array_rows(split, np.concatenate([batch.labels for batch in batches]), split))
        coarse += [batch.coarse for batch in batches if batch.coarse is not None]
    table = pl.concat(tables)
    names, coarse_names = _class_names(layout, contents, where)
    if names:
        labels = named_labels(table["label"], names, table["row"], where)
    else:
        _check_range(table["label"], 100 if coarse else 10, where)
        labels = number_labels(table["label"], table["row"], where)
        findings += (Finding("no-class-names", "note", f"{where.name} is without {layout.names[0]}; classes are called by their number"),)
    rows = table.with_columns(labels.numbers.alias("label"))
    class_table = None
    if coarse:
        class_table, odd = _superclasses(rows["label"].to_numpy(), np.concatenate(coarse), labels.classes, coarse_names)
        findings += odd
    summary = f"read from the CIFAR files of {where.name!r}: {rows.height:,} images, {len(labels.classes):,} classes"
    origin = Origin(tuple(sources), findings)
    return Manifest(rows, labels.classes, None, arrays, name, (summary, *labels.notes), class_table, origin)


def _batch(source: Path | bytes, layout: Layout, member: str) -> _Batch:
    """Read one file, or the bytes of an archive's member, by whose name errors call it."""
    where = member if isinstance(source, bytes) else source
    if not layout.labels:
        return _pickled(source, where)
    content = source if isinstance(source, bytes) else read_whole(source, _MOST_BYTES)
    record = layout.labels + _PIXELS
    if not content or len(content) % record:
        raise BadData(f"{where}: {len(content):,} bytes is no multiple of {record:,}; download it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = records[:, : layout.labels].astype(np.int64)  # of CIFAR-100 the coarse one, then the fine one
    return _Batch(records[:, layout.labels :], labels[:, -1], labels[:, 0] if layout.labels == 2 else None)


def _pickled(source: Path | bytes, where: object) -> _Batch:
    table = _dictionary(source, where)
    pixels = table.get("data")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != _PIXELS or not len(pixels):
        raise BadData(f"{where}: no CIFAR batch, expected the key 'data' with (N, {_PIXELS:,}) bytes; download it again")
    key = "fine_labels" if "fine_labels" in table else "labels"
    labels, coarse = (whole_numbers(table.get(name), len(pixels)) for name in (key, "coarse_labels"))
    if labels is None or (coarse is None and "coarse_labels" in table):
        wrong = key if labels is None else "coarse_labels"
        raise BadData(f"{where}: no whole number for each of its {len(pixels):,} images under {wrong!r}; download it again")
    return _Batch(pixels, labels, coarse)


def _dictionary(source: Path | bytes, where: object) -> Mapping[Any, Any]:
    found = parse_pickle(source, where) if isinstance(source, bytes) else read_pickle(source)
    return found if isinstance(found, dict) else {}


def _pictures(batches: Sequence[np.ndarray]) -> np.ndarray:
    """Put planes of red, green and blue together to pictures: (N, 32, 32, 3)."""
    pictures = np.empty((sum(map(len, batches)), 32, 32, 3), np.uint8)
    start = 0
    for pixels in batches:
        pictures[start : start + len(pixels)] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        start += len(pixels)
    return pictures


def _class_names(layout: Layout, contents: Mapping[str, Path | bytes], where: Path) -> tuple[list[str], list[str]]:
    """Give the names of the classes and of the superclasses; none where their file is not there."""
    files = {file: contents[file] for file in layout.names if file in contents}
    if layout.labels:
        texts = [content if isinstance(content, bytes) else read_whole(content) for content in files.values()]
        lists = [[line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()] for text in texts]
        return (lists[0] if lists else []), (lists[1] if len(lists) > 1 else [])
    table: Mapping[Any, Any] = {}
    for file, content in files.items():
        table = _dictionary(content, f"{where}:{layout.folder}/{file}")
    return _texts(table.get("label_names", table.get("fine_label_names"))), _texts(table.get("coarse_label_names"))


def _texts(values: object) -> list[str]:
    texts = [as_text(value) for value in values] if isinstance(values, list) else []
    return [text for text in texts if text] if all(texts) else []


def _check_range(labels: pl.Series, classes: int, where: Path) -> None:
    wrong = labels.filter(~labels.is_between(0, classes - 1))
    if len(wrong):
        raise BadData(f"{where}: label {wrong[0]}, expected 0..{classes - 1}; these are no CIFAR files, or damaged ones")


def _superclasses(
    labels: np.ndarray, coarse: np.ndarray, classes: Sequence[str], names: Sequence[str]
) -> tuple[pl.DataFrame | None, tuple[Finding, ...]]:
    """Give the superclass of each class; no table, but a finding, where a class has two."""
    pairs = np.unique(np.stack([labels, coarse]), axis=1)
    twice = pairs[0][1:][pairs[0][1:] == pairs[0][:-1]]
    if len(twice):
        says = f"{len(twice):,} classes have two superclasses (first: {classes[twice[0]]!r}); are its labels the fine ones?"
        return None, (Finding("two-superclasses", "warning", says, len(twice)),)
    of_class = dict(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True))
    ids = [of_class.get(label) for label in range(len(classes))]
    superclass = [names[number] if number is not None and 0 <= number < len(names) else number for number in ids]
    columns = {
        "class_id": [str(label) for label in range(len(classes))],
        "superclass": [None if name is None else str(name) for name in superclass],
    }
    return pl.DataFrame(columns, schema={"class_id": pl.String, "superclass": pl.String}), ()
