"""Reader of data sets that are Python objects already: of torch, torchvision, or Hugging Face; one, or a dictionary of splits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.data.readers.hub_dataset import is_hub_dataset, read_hub_dataset
from tailwise.data.readers.labels import SPLIT_WORDS
from tailwise.data.readers.roles import parse_columns
from tailwise.data.readers.torch_dataset import is_torch_dataset, read_torch_dataset
from tailwise.errors import BadData, BadValue


def is_object(source: Any) -> bool:
    """Tell whether a thing is a data set, or a dictionary of data sets."""
    if isinstance(source, Mapping):
        return bool(source) and all(is_hub_dataset(one) or is_torch_dataset(one) for one in source.values())
    return is_hub_dataset(source) or is_torch_dataset(source)


def read_object(source: Any, columns: str | None = None) -> Manifest:
    """Read a data set object, or a dictionary of them by split.

    Args:
        source: a map-style torch data set of (image, label), a Hugging Face data set with an image column, or a dictionary of
            either whose keys are splits (`train`, `validation`, `test` ...).
        columns: for Hugging Face: names of columns, as in `path=img,label=fine_label`.

    Raises:
        BadData: as the readers of one object, or a split that is unknown or there twice.
        BadValue: `columns` for a torch data set, or it cannot be read.
    """
    given = parse_columns(columns)
    if not isinstance(source, Mapping):
        return _read_one(source, "train", given)
    parts: dict[str, Manifest] = {}
    for key, one in source.items():
        split = SPLIT_WORDS.get(str(key).lower())
        if split is None or split in parts:
            raise BadData(f"the dictionary of data sets: key {key!r} is no split of its own; use train, val and test")
        parts[split] = _read_one(one, split, given)
    return _join(parts)


def _read_one(one: Any, split: str, given: Mapping[str, str]) -> Manifest:
    if is_hub_dataset(one):
        return read_hub_dataset(one, split, given)
    if given:
        raise BadValue("columns are for tables and Hugging Face data sets; leave columns out")
    return read_torch_dataset(one, split)


def _join(parts: Mapping[str, Manifest]) -> Manifest:
    """Make one manifest of one a split; classes are the union over the splits, as of folders."""
    first = next(iter(parts.values()))
    classes = _union([part.classes for part in parts.values()])
    roots = [part.root for part in parts.values() if part.root is not None]
    root = Path(os.path.commonpath([os.path.abspath(place) for place in roots])) if roots else None
    arrays = {f"{split}-{name}": array for split, part in parts.items() for name, array in part.arrays.items()}
    rows = pl.concat([_rows(split, part, root, classes) for split, part in parts.items()], how="diagonal")
    provenance = tuple(line for part in parts.values() for line in part.provenance)
    return Manifest(rows, classes, root, arrays, first.name, provenance)


def _union(classes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Give the classes of the split that has all of them, in its order; where none has, all in order of number or name."""
    union = set().union(*classes)
    whole = next((names for names in classes if len(names) == len(union)), None)
    if whole is not None:
        return whole
    return tuple(sorted(union, key=int) if all(name.isdecimal() for name in union) else sorted(union))


def _rows(split: str, part: Manifest, root: Path | None, classes: tuple[str, ...]) -> pl.DataFrame:
    """Give a part's rows with labels among all classes, and paths from the common root, which are ids too where the part's were."""
    numbers = pl.Series([classes.index(name) for name in part.classes], dtype=pl.Int32)
    rows = part.rows.with_columns(container=pl.lit(f"{split}-") + pl.col("container"), label=numbers.gather(part.rows["label"]))
    if part.root is None or root is None:
        return rows
    below = Path(os.path.relpath(os.path.abspath(part.root), root)).as_posix()
    if below == ".":
        return rows
    moved = pl.lit(f"{below}/") + pl.col("path")
    return rows.with_columns(path=moved, id=pl.when(pl.col("id") == pl.col("path")).then(moved).otherwise(pl.col("id")))
