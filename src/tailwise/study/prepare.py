"""From a manifest to what training sees: labels and weights as arrays, identities, and rows that stay zeros until they are filled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tailwise.counts import ClassCounts
from tailwise.data import Manifest, check_trainable, survey
from tailwise.data.images import fit_pixels
from tailwise.errors import BadData
from tailwise.groups import make_groups
from tailwise.pixels import Encoded, Rows, Standardise, held_as, pack, pixel_key
from tailwise.recipe import Recipe
from tailwise.store import Store
from tailwise.study.extractor import Extractor, Pixels, array_pixels, image_pixels
from tailwise.training import Splits

Progress = Callable[[int, int], None]


def prepare(manifest: Manifest, recipe: Recipe, groups: str | None = None, extractor: Extractor | None = None) -> Splits:
    """Turn a manifest into arrays for training; no image is decoded.

    Images are not there yet: their rows are zeros, of the shape that the headers say, until `fill_pixels` or `fill_features`. Their
    identity is made of content, shape and extractor, so it is known before.

    Args:
        manifest: with a split `train`, and content hashes; they are made where it has none.
        recipe: says to which size images are brought.
        groups: scheme of the groups, or None for the default.
        extractor: the network whose features stand for the images.

    Raises:
        BadData: files that are no images, images of several sizes without a size in the recipe, images in files and in arrays or in
            arrays of several shapes, a class without training images.
    """
    check_trainable(manifest, "keep")
    _check_one_kind(manifest)
    manifest = manifest.with_content()
    table = ordered(manifest)
    packed: NDArray[Any]
    through = extractor.key if extractor else ""
    if extractor is not None:
        packed = np.broadcast_to(np.float32(0), (len(table), extractor.width))
    elif manifest.kind == "features":
        packed = _stack(manifest.arrays, table).astype(np.float32, copy=False)
        packed = Standardise.over(packed[_places(table, "train")])(packed) if recipe.frozen else packed
    else:
        shape = _shape_of_images(manifest, table, recipe.image_size)
        packed = np.broadcast_to(np.uint8(0), (len(table), *shape))
        through = "" if manifest.arrays else held_as(len(table), shape)
    rows, contents = {}, {}
    for name in manifest.splits:
        of_split = table.filter(pl.col("split") == name)
        rows[name] = _rows(of_split, packed)
        contents[name] = _contents(of_split, packed, through)
    counts = ClassCounts(manifest.counts("train"))
    return Splits(rows, manifest.classes, counts, make_groups(counts.real, groups), contents)


def _check_one_kind(manifest: Manifest) -> None:
    """Refuse what cannot be laid into one array: rows of files beside rows of arrays, arrays of several shapes."""
    shapes = {manifest.arrays[name].shape[1:] for name in manifest.rows["container"].drop_nulls().unique()}
    if shapes and manifest.rows["path"].is_not_null().any():
        raise BadData(f"{manifest.name!r} has images in files and others in arrays; bring all into files with tailwise.build")
    if len(shapes) > 1:
        raise BadData(f"the arrays of {manifest.name!r} have rows of several shapes, {sorted(shapes)}; bring them to one")


def _shape_of_images(manifest: Manifest, table: pl.DataFrame, size: int | None) -> tuple[int, int, int]:
    """Say what images will be once they are decoded, (height, width, channels), by their headers alone.

    Raises:
        BadData: files that are no images; images of several sizes, and no size to bring them to.
    """
    if manifest.arrays:
        height, width, *channels = next(iter(manifest.arrays.values())).shape[1:]
        return size or height, size or width, *(channels or [1])
    found = survey(paths_of(manifest, table))
    if size is None and not found.same_size:
        raise BadData(f"the images of {manifest.name!r} have several sizes; give them one with --set recipe.image_size=32")
    width, height = found.sizes[0].tolist()
    return size or height, size or width, found.channels


def fill_pixels(splits: Splits, manifest: Manifest, recipe: Recipe, store: Store, progress: Progress | None = None) -> Splits:
    """Put pixels in the place of zeros: decoded and packed once, and found in the store afterwards.

    Args:
        splits: from `prepare`, without an extractor.
        manifest: and
        recipe: as `prepare` had them.
        store: keeps the packed pixels.
        progress: called with images decoded and in all.

    Raises:
        BadData: an image that cannot be decoded, or one that is no longer what its header said; nothing is left of the others.
    """
    table = ordered(manifest)
    packed: NDArray[np.uint8] | Encoded
    if manifest.arrays:
        packed = fit_pixels(_stack(manifest.arrays, table), recipe.image_size)
    else:
        packed = pack(paths_of(manifest, table), table["content"].to_list(), recipe.image_size, _channels(splits), store, progress)
    if packed.shape[1:] != splits.shape:
        raise BadData(f"the images of {manifest.name!r} have changed while they were read; run the same command again")
    return filled(splits, packed)


def pixels_absent(splits: Splits, manifest: Manifest, recipe: Recipe, store: Store) -> int:
    """Count the images that are still to be decoded: all, or none where the store has them packed; arrays are decoded already."""
    if manifest.arrays:
        return 0
    key = pixel_key(ordered(manifest)["content"].to_list(), recipe.image_size, _channels(splits))
    return 0 if store.has("pixels", key) else manifest.rows.height


def _channels(splits: Splits) -> Literal[1, 3]:
    return 1 if splits.shape[-1] == 1 else 3


def fill_features(splits: Splits, features: NDArray[np.float32]) -> tuple[Splits, Standardise]:
    """Put frozen features in the place of zeros, standardised by the training rows.

    Args:
        splits: from `prepare`, with an extractor.
        features: (N, D) raw features, in the order of `ordered`.
    """
    standardise = Standardise.over(features[splits.rows["train"].positions])
    return filled(splits, standardise(features)), standardise


def filled(splits: Splits, packed: NDArray[Any] | Encoded) -> Splits:
    """Put the rows of one array, in the order of `ordered`, in the place of zeros."""
    return replace(splits, rows={name: replace(rows, packed=packed) for name, rows in splits.rows.items()})


def ordered(manifest: Manifest) -> pl.DataFrame:
    """Give the rows by id, each with its place in the packed array."""
    return manifest.rows.sort("id").with_columns(place=pl.int_range(pl.len()))


def pixels_of(manifest: Manifest, size: int) -> Pixels:
    """Give the pixels of rows, in the order of `ordered`, at a size and in colour."""
    table = ordered(manifest)
    if manifest.arrays:
        return array_pixels(_stack(manifest.arrays, table), size)
    return image_pixels(paths_of(manifest, table), size)


def paths_of(manifest: Manifest, table: pl.DataFrame) -> list[Path]:
    """Give the files of a table's rows, in its order."""
    root = manifest.root or Path()
    return [root / path for path in table["path"].to_list()]


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
    """Hash the rows' contents together with the shape that they were brought to, and the network or encoding that they went through."""
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
