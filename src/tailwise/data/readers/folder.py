"""Reader of class folders: `root/<class>/*.jpg`, or `root/train|val|test/<class>/*.jpg`."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from tailwise.data.columns import SPLITS
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin
from tailwise.data.place import Place
from tailwise.data.readers.labels import SPLIT_WORDS
from tailwise.data.walk import Tally, entries, image_paths
from tailwise.errors import BadData

_WHOLE = re.compile(r"-?[0-9]{1,18}")


def recognises(place: Place) -> bool:
    """Any folder."""
    return place.is_folder


def read_folder(root: Path | str) -> Manifest:
    """Read a folder of class folders, with or without folders for the splits.

    Every image below a class folder belongs to the class, at any depth. With folders `train`, `val` (or `valid`, `validation`) and
    `test` on top, the classes are the union over them; without, every image is `train`. Classes are in the order of `in_order`.
    Hidden files and folders that cannot be opened are skipped and counted, symbolic links followed and counted, other files skipped
    and counted. No image is opened.

    Returns:
        A manifest whose ids are the paths relative to `root`, with `/`. A class may be without (training) images. Names of classes
        are composed (Unicode's NFC), whichever system wrote the folders; ids and paths are as on disk.

    Raises:
        BadData: no such folder, no images, no class folders, one class only, two folders of one name but for how it is written in
            Unicode, folders of splits beside others, or a name that is not UTF-8.
    """
    root = Path(root)
    tally = Tally()
    found = _find(root, tally)
    _refuse_odd_names(root, [path for path, _, _ in found])
    folders = _class_folders(root)
    _refuse_odd_names(root, [name for names in folders.values() for name in names])
    composed = {name: unicodedata.normalize("NFC", name) for names in folders.values() for name in names}
    for top, names in folders.items():
        _refuse_same_names(root / top, names, composed)
    classes = in_order(composed.values())
    if len(classes) < 2:
        raise BadData(f"{root}: only one class, {classes[0]!r}, expected two or more; put each class's images in a folder of its own")
    number = {name: label for label, name in enumerate(classes)}
    paths = [path for path, _, _ in found]
    rows = pl.DataFrame(
        {
            "id": paths,
            "path": paths,
            "label": pl.Series([number[composed[name]] for _, name, _ in found], dtype=pl.Int32),
            "split": [split for _, _, split in found],
        }
    )
    name = root.resolve().name or "root"
    summary = f"read from the class folders of {name!r}: {len(paths):,} images, {len(classes):,} classes"
    return Manifest(rows, classes, root, {}, name, (summary, *tally.lines()), origin=Origin(findings=_findings(tally)))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Give names of classes once each in label order: by number where all are whole numbers, else by code point.

    >>> in_order(["10", "2", "1"]), in_order(["10", "2", "a", "B"])
    (('1', '2', '10'), ('10', '2', 'B', 'a'))
    """
    different = set(names)
    if all(_WHOLE.fullmatch(name) for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


def _findings(tally: Tally) -> tuple[Finding, ...]:
    """What was skipped and may have been meant; the rest is said in the provenance alone."""
    found = []
    if tally.closed:
        says = f"{len(tally.closed):,} folders cannot be opened: {first_five(sorted(tally.closed))}"
        found.append(Finding("closed-folder", "error", says, len(tally.closed)))
    if tally.strays:
        says = f"{len(tally.strays):,} images lie in no class folder and are left out: {first_five(tally.strays)}"
        found.append(Finding("stray-image", "warning", says, len(tally.strays), tuple(tally.strays)))
    return tuple(found)


def _find(root: Path, tally: Tally) -> list[tuple[str, str, str]]:
    """List (path, class, split) of every image, sorted by path."""
    if not os.path.isdir(root):
        raise BadData(f"{root}: no such folder; give a folder with one folder a class")
    splits = _split_folders(root)
    depth = 2 if splits else 1  # folders above an image's own: split and class, or class alone
    found = []
    for path in sorted(image_paths(root, tally)):
        parts = path.split("/")
        if len(parts) <= depth:
            tally.strays.append(path)
        else:
            found.append((path, parts[depth - 1], splits[parts[0]] if splits else "train"))
    if not found and tally.strays:
        below = "its train, val and test" if splits else "it"
        raise BadData(f"{root}: {len(tally.strays):,} images but no class folders; make one folder a class in {below}")
    if not found:
        seen = f"{len(tally.others):,} other files" if tally.others else "nothing"
        raise BadData(f"{root}: no images ({seen} there), expected one folder of images a class; check the path")
    return found


def _visible_folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in entries(folder) if entry.is_dir())


def _split_folders(root: Path) -> dict[str, str]:
    """Map top folders to splits; empty when the top folders are classes."""
    folders = _visible_folders(root)
    splits = {name: SPLIT_WORDS[name.lower()] for name in folders if name.lower() in SPLIT_WORDS}
    others = [name for name in folders if name not in splits]
    if not splits or (others and len(splits) == 1):
        # One such folder among classes is a class: `train` beside `car` and `plane`.
        return {}
    if others:
        raise BadData(
            f"{root}: folders of splits ({first_five(list(splits))}) beside others ({first_five(others)}), expected only one kind; "
            f"move the others elsewhere"
        )
    for split in SPLITS:
        same = [name for name, meant in splits.items() if meant == split]
        if len(same) > 1:
            raise BadData(f"{root}: folders {' and '.join(same)} both mean {split}; keep one of them")
    return splits


def _class_folders(root: Path) -> dict[str, list[str]]:
    """Give the class folders, with images or without, of each folder of a split, or of the one folder that has them all."""
    return {top: _visible_folders(root / top) for top in (_split_folders(root) or {"": ""})}


def _refuse_same_names(folder: Path, names: list[str], composed: dict[str, str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(composed[name], name)
        if other != name:
            raise BadData(
                f"{folder}: two folders are called {composed[name]!r}, once with composed and once with decomposed letters "
                f"({other!a}, {name!a}); put their images into one"
            )


def _refuse_odd_names(root: Path, paths: list[str]) -> None:
    odd = [ascii(path) for path in paths if not _is_utf8(path)]
    if odd:
        raise BadData(f"{root}: {len(odd):,} paths are not UTF-8: {first_five(odd)}; rename these files or folders")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
