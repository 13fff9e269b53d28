"""From a manifest to what training sees: pixels packed once, labels and weights as arrays, identities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tailwise.counts import ClassCounts
from tailwise.data import Manifest, check_trainable, survey
from tailwise.data.images import fit_pixels
from tailwise.errors import BadData
from tailwise.groups import make_groups
from tailwise.pixels import Rows, pack
from tailwise.recipe import Recipe
from tailwise.store import Store
from tailwise.training import Splits

Progress = Callable[[int, int], None]


def prepare(
    manifest: Manifest,
    recipe: Recipe,
    store: Store,
    groups: str | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Turn a manifest into arrays for training.

    Args:
        manifest: with a split `train`.
        recipe: says to which size images are brought.
        store: keeps the packed pixels.
        groups: scheme of the groups, or None for the default.
        progress: called with images decoded and in all.

    Raises:
        BadData: images that cannot be decoded, of several sizes without a size in the recipe, a class without training images.
    """
    check_trainable(manifest, "keep")
    manifest = manifest.with_content(store.root / "hashes")
    table = manifest.rows.sort("id").with_columns(place=pl.int_range(pl.len()))
    packed = _pack_features(manifest, table) if manifest.kind == "features" else _pack_images(manifest, table, recipe, store, progress)
    rows, contents = {}, {}
    for name in manifest.splits:
        of_split = table.filter(pl.col("split") == name)
        rows[name] = _rows(of_split, packed)
        contents[name] = _contents(of_split, packed)
    counts = ClassCounts(manifest.counts("train"))
    return Splits(rows, manifest.classes, counts, make_groups(counts.real, groups), contents)


def _rows(table: pl.DataFrame, packed: NDArray[np.uint8] | NDArray[np.float32]) -> Rows:
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


def _contents(table: pl.DataFrame, packed: NDArray[np.uint8] | NDArray[np.float32]) -> str:
    """Hash the rows' contents together with the shape that they were brought to."""
    said = "\n".join(table["content"].to_list()) + f"\n{packed.dtype}{packed.shape[1:]}"
    return hashlib.sha256(said.encode()).hexdigest()


def _pack_features(manifest: Manifest, table: pl.DataFrame) -> NDArray[np.float32]:
    return _stack(manifest.arrays, table).astype(np.float32, copy=False)


def _stack(arrays: Mapping[str, NDArray[np.generic]], table: pl.DataFrame) -> NDArray[np.generic]:
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
