"""Reader of class folders: `root/<class>/*.jpg`, or `root/train|val|test/<class>/*.jpg`."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from tailwise.data.columns import SPLITS
from tailwise.data.images import survey
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.walk import Tally, entries, image_paths
from tailwise.errors import BadData

_SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(root: Path | str) -> Manifest:
    """Read a folder of class folders, with or without folders for the splits.

    Every image below a class folder belongs to the class, at any depth. With folders `train`, `val` (or `valid`, `validation`) and
    `test` on top, the classes are the union over them; without, every image is `train`. Class names are sorted. Hidden files are
    ignored, symbolic links followed and counted, other files skipped and counted. Each image's header is read, none is decoded.

    Returns:
        A manifest whose ids are the paths relative to `root`, with `/`. A class may be without (training) images.

    Raises:
        BadData: no such folder, no images, no class folders, one class only, folders of splits beside others, files that have an
            image's ending and are none (all counted), or a name that is not UTF-8.
    """
    root = Path(root)
    tally = Tally()
    found = _find(root, tally)
    _refuse_odd_names(root, [path for path, _, _ in found])
    survey([root / path for path, _, _ in found])
    classes = sorted({label for _, label, _ in found} | _empty_classes(root))
    if len(classes) < 2:
        raise BadData(f"{root}: only one class, {classes[0]!r}, expected two or more; put each class's images in a folder of its own")
    number = {name: label for label, name in enumerate(classes)}
    paths = [path for path, _, _ in found]
    rows = pl.DataFrame(
        {
            "id": paths,
            "path": paths,
            "label": pl.Series([number[name] for _, name, _ in found], dtype=pl.Int32),
            "split": [split for _, _, split in found],
        }
    )
    name = root.resolve().name or "root"
    summary = f"read from the class folders of {name!r}: {len(paths):,} images, {len(classes):,} classes"
    return Manifest(rows, tuple(classes), root, {}, name, (summary, *tally.lines()))


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
    splits = {name: _SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in _SPLIT_FOLDERS}
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


def _empty_classes(root: Path) -> set[str]:
    """Class folders, whether they have images or not."""
    splits = _split_folders(root)
    return {name for top in (splits or {"": ""}) for name in _visible_folders(root / top)}


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
