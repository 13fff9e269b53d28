"""From a manifest to what training sees: pixels packed once, labels and weights as arrays, identities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from tailwise.counts import ClassCounts
from tailwise.data import Manifest, check_trainable, survey
from tailwise.errors import BadData
from tailwise.groups import Groups, make_groups
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
    allowed: Iterable[str] = (),
) -> Splits:
    """Turn a manifest into arrays for training.

    Args:
        manifest: with a split `train`.
        recipe: says to which size images are brought.
        store: keeps the packed pixels.
        groups: scheme of the groups, or None for the default.
        progress: called with images decoded and in all.
        allowed: splits that may be training streams beside `train`.

    Raises:
        BadData: images that cannot be decoded, of several sizes without a size in the recipe, a class without training images.
    """
    check_trainable(manifest, "keep")
    manifest = manifest.with_content(store.root / "hashes.parquet")
    table = manifest.rows.sort("id").with_columns(place=pl.int_range(pl.len()))
    packed = _pack_features(manifest, table) if manifest.kind == "features" else _pack_images(manifest, table, recipe, store, progress)
    rows, contents = {}, {}
    for name in manifest.splits:
        of_split = table.filter(pl.col("split") == name)
        rows[name] = _rows(of_split, packed)
        contents[name] = _contents(of_split, packed)
    counts = ClassCounts(manifest.counts("train"))
    return Splits(rows, manifest.classes, counts, _groups(counts, groups), contents, frozenset(allowed))


def _groups(counts: ClassCounts, scheme: str | None) -> Groups:
    return make_groups(counts.real, scheme)


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
        return _bring_to_size(_stack(manifest.arrays, table), recipe.image_size)
    root = manifest.root or Path()
    paths = [root / path for path in table["path"].to_list()]
    found = survey(paths)
    if recipe.image_size is None and not found.same_size:
        raise BadData(f"the images of {manifest.name!r} have several sizes; give them one with --set recipe.image_size=32")
    return pack(paths, table["content"].to_list(), recipe.image_size, found.channels, store, progress)


def _bring_to_size(images: NDArray[np.generic], size: int | None) -> NDArray[np.uint8]:
    """Give (N, H, W, channels) uint8 images; of another size only where the recipe says so."""
    images = images[..., None] if images.ndim == 3 else images
    pixels = np.asarray(images, dtype=np.uint8)
    if size is None or pixels.shape[1:3] == (size, size):
        return pixels
    resized = [np.asarray(Image.fromarray(p.squeeze(-1) if p.shape[-1] == 1 else p).resize((size, size))) for p in pixels]
    return np.stack(resized).reshape(len(pixels), size, size, pixels.shape[-1])
