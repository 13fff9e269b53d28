"""From a manifest to what training sees: pixels packed once or frozen features, labels and weights as arrays, identities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tailwise.counts import ClassCounts
from tailwise.data import Manifest, check_trainable, survey
from tailwise.data.images import fit_pixels
from tailwise.errors import BadData
from tailwise.groups import make_groups
from tailwise.pixels import Rows, Standardise, pack
from tailwise.recipe import Recipe
from tailwise.store import Store
from tailwise.study.extractor import Extractor, Pixels, array_pixels, image_pixels
from tailwise.training import Splits

Progress = Callable[[int, int], None]


def prepare(
    manifest: Manifest,
    recipe: Recipe,
    store: Store,
    groups: str | None = None,
    progress: Progress | None = None,
    extractor: Extractor | None = None,
) -> Splits:
    """Turn a manifest into arrays for training.

    Args:
        manifest: with a split `train`.
        recipe: says to which size images are brought.
        store: keeps the packed pixels.
        groups: scheme of the groups, or None for the default.
        progress: called with images decoded and in all.
        extractor: the network whose features stand for the images. They are not computed here: rows are zeros until `fill_features`, while
            their identity, made of content and network, is known before.

    Raises:
        BadData: images that cannot be decoded, of several sizes without a size in the recipe, a class without training images.
    """
    check_trainable(manifest, "keep")
    manifest = manifest.with_content(store.root / "hashes")
    table = ordered(manifest)
    packed: NDArray[Any]
    if extractor is not None:
        packed = np.broadcast_to(np.float32(0), (len(table), extractor.width))
    elif manifest.kind == "features":
        packed = _stack(manifest.arrays, table).astype(np.float32, copy=False)
        packed = Standardise.over(packed[_places(table, "train")])(packed) if recipe.frozen else packed
    else:
        packed = _pack_images(manifest, table, recipe, store, progress)
    rows, contents = {}, {}
    for name in manifest.splits:
        of_split = table.filter(pl.col("split") == name)
        rows[name] = _rows(of_split, packed)
        contents[name] = _contents(of_split, packed, extractor.key if extractor else "")
    counts = ClassCounts(manifest.counts("train"))
    return Splits(rows, manifest.classes, counts, make_groups(counts.real, groups), contents)


def fill_features(splits: Splits, features: NDArray[np.float32]) -> tuple[Splits, Standardise]:
    """Put frozen features in the place of zeros, standardised by the training rows.

    Args:
        splits: from `prepare`, with an extractor.
        features: (N, D) raw features, in the order of `ordered`.
    """
    standardise = Standardise.over(features[splits.rows["train"].positions])
    packed = standardise(features)
    return replace(splits, rows={name: replace(rows, packed=packed) for name, rows in splits.rows.items()}), standardise


def ordered(manifest: Manifest) -> pl.DataFrame:
    """Give the rows by id, each with its place in the packed array."""
    return manifest.rows.sort("id").with_columns(place=pl.int_range(pl.len()))


def pixels_of(manifest: Manifest, size: int) -> Pixels:
    """Give the pixels of rows, in the order of `ordered`, at a size and in colour."""
    table = ordered(manifest)
    if manifest.arrays:
        return array_pixels(_stack(manifest.arrays, table), size)
    root = manifest.root or Path()
    return image_pixels([root / path for path in table["path"].to_list()], size)


def _places(table: pl.DataFrame, split: str) -> NDArray[np.int64]:
    return table.filter(pl.col("split") == split)["place"].to_numpy().astype(np.int64)


def _rows(table: pl.DataFrame, packed: NDArray[Any]) -> Rows:
    weights = None
    if "weight" in table.columns and not bool((table["weight"].fill_null(1.0) == 1.0).all()):
        weights = table["weight"].fill_null(1.0).to_numpy().astype(np.float32)
    return Rows(
        ids=tuple(table["id"].to_list()),
        packed=packed,
        positions=table["place"].to_numpy().astype(np.int64),
        targets=table["label"].to_numpy().astype(np.int64),
        weights=weights,
    )


def _contents(table: pl.DataFrame, packed: NDArray[Any], through: str) -> str:
    """Hash the rows' contents together with the shape that they were brought to, and the network that they went through."""
    said = "\n".join(table["content"].to_list()) + f"\n{packed.dtype}{packed.shape[1:]}{through}"
    return hashlib.sha256(said.encode()).hexdigest()


def _stack(arrays: Mapping[str, NDArray[Any]], table: pl.DataFrame) -> NDArray[Any]:
    """Gather the rows of all containers, in the order of the table."""
    first = next(iter(arrays.values()))
    stacked = np.empty((len(table), *first.shape[1:]), dtype=first.dtype)
    for container, array in arrays.items():
        mine = (table["container"] == container).fill_null(False).to_numpy()
        stacked[mine] = array[table["row"].to_numpy()[mine].astype(np.int64)]
    return stacked


def _pack_images(manifest: Manifest, table: pl.DataFrame, recipe: Recipe, store: Store, progress: Progress | None) -> NDArray[np.uint8]:
    if manifest.arrays:
        return fit_pixels(_stack(manifest.arrays, table), recipe.image_size)
    root = manifest.root or Path()
    paths = [root / path for path in table["path"].to_list()]
    found = survey(paths)
    if recipe.image_size is None and not found.same_size:
        raise BadData(f"the images of {manifest.name!r} have several sizes; give them one with --set recipe.image_size=32")
    return pack(paths, table["content"].to_list(), recipe.image_size, found.channels, store, progress)
