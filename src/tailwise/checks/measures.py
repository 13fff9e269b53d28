"""What is measured of every image, once: header, luminance, a hash and a small picture by which near copies are told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from PIL import Image

from tailwise.checks.check import Inspected, Needs
from tailwise.data.containers import check_features
from tailwise.data.content import content_of, hash_files
from tailwise.data.headers import kind_of_pixels, read_form
from tailwise.data.images import count_pictures, read_header, read_pixels
from tailwise.data.manifest import Manifest
from tailwise.errors import BadData
from tailwise.store import Store

KIND = "measures"
"""Where in the store measures are."""

CHUNK = 4_096
"""Images whose measures are stored together: what an interruption costs."""

SIDE = 16
"""Side of the small pictures."""

_TOGETHER = 64
_SCHEMA = {
    "error": pl.String,  # missing, unreadable or truncated; null where the image is fine
    "why": pl.String,
    "format": pl.String,
    "kind": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "pictures": pl.Int32,
    "darkest": pl.Int16,
    "brightest": pl.Int16,
    "mean": pl.Float32,
    "deviation": pl.Float32,
    "hash": pl.UInt64,
}
Progress = Callable[[int, int], None]


class Measures(NamedTuple):
    """What is measured of one image; what a damaged one does not have is None."""

    error: str | None = None
    why: str | None = None
    format: str | None = None
    kind: str | None = None
    width: int | None = None
    height: int | None = None
    pictures: int | None = None
    darkest: int | None = None
    brightest: int | None = None
    mean: float | None = None
    deviation: float | None = None
    hash: int | None = None


def inspect(manifest: Manifest, needs: Needs = "pixels", progress: Progress | None = None, cache: Path | None = None) -> Inspected:
    """Measure a set's images, as far as is asked for; measures of pixels are kept in the store, by content.

    Args:
        manifest: of images; of features, videos and lists whose images are not there only the table is looked at.
        needs: how far to look.
        progress: called with images measured and in all.
        cache: folder in which hashes of files are kept; None keeps none.

    Returns:
        `images` has the manifest's rows sorted by id, and, as far as was looked: from `files` on `bytes`, `error`, `why`, `format`, `kind`,
        `width`, `height`; from `content` on `content`; with `pixels` all of `Measures`.

    Raises:
        BadData: features, whose values are no pixels.
    """
    rows = manifest.rows.sort("id")
    if manifest.kind == "features":
        for name, array in manifest.arrays.items():
            check_features(array, name)
        raise BadData(f"{manifest.name!r} holds feature vectors; check the images that they were computed of")
    if needs == "table" or not manifest.has_files or manifest.kind == "videos":
        return Inspected(manifest, rows)
    if rows["path"].null_count() == 0:
        return _of_files(manifest, rows, needs, progress, cache)
    return _of_arrays(manifest, rows, needs, progress)


def _of_files(manifest: Manifest, rows: pl.DataFrame, needs: Needs, progress: Progress | None, cache: Path | None) -> Inspected:
    base = os.path.abspath(manifest.root or ".")
    files = [os.path.join(base, path) for path in rows["path"]]
    sizes = pl.Series("bytes", [_size(file) for file in files], dtype=pl.Int64)
    rows = rows.with_columns(sizes)
    if needs == "files":
        return Inspected(manifest, rows.with_columns(_table(list(_each(_header, files)))))
    there = sizes.is_not_null()
    hashes = hash_files([file for file, is_there in zip(files, there, strict=True) if is_there], cache)
    content = pl.Series("content", [None] * len(files), dtype=pl.String).scatter(there.arg_true(), pl.Series(hashes, dtype=pl.String))
    rows = rows.with_columns(content)
    if needs == "content":
        return Inspected(manifest, rows.with_columns(_table(list(_each(_header, files)))))
    return _with_pixels(manifest, rows, lambda place: of_file(files[place]), progress)


def _of_arrays(manifest: Manifest, rows: pl.DataFrame, needs: Needs, progress: Progress | None) -> Inspected:
    rows = rows.with_columns(content_of(rows, manifest.root, manifest.arrays, None), pl.lit(None, pl.Int64).alias("bytes"))
    where = list(zip(rows["container"], rows["row"], rows["path"], strict=True))

    def pixels(place: int) -> tuple[Measures, np.ndarray]:
        container, row, path = where[place]
        if container is None:
            return of_file(os.path.join(os.path.abspath(manifest.root or "."), path))
        return of_pixels(manifest.arrays[container][row])

    if needs != "pixels":
        empty = pl.DataFrame([Measures()] * rows.height, schema=_SCHEMA, orient="row")
        return Inspected(manifest, rows.with_columns(empty))
    return _with_pixels(manifest, rows, pixels, progress)


def _with_pixels(
    manifest: Manifest, rows: pl.DataFrame, measure: Callable[[int], tuple[Measures, np.ndarray]], progress: Progress | None
) -> Inspected:
    """Measure in chunks, each found in the store afterwards."""
    tables, thumbnails, store = [], [], Store()
    for start in range(0, rows.height, CHUNK):
        places = range(start, min(start + CHUNK, rows.height))
        table, small = _chunk(store, rows["content"].slice(start, CHUNK).to_list(), places, measure)
        tables.append(table)
        thumbnails.append(small)
        if progress is not None:
            progress(places.stop, rows.height)
    return Inspected(manifest, rows.with_columns(pl.concat(tables)), np.concatenate(thumbnails))


def _chunk(
    store: Store, contents: Sequence[str | None], places: range, measure: Callable[[int], tuple[Measures, np.ndarray]]
) -> tuple[pl.DataFrame, np.ndarray]:
    def fill(draft: Path) -> None:
        found = list(_each(measure, places))
        _table([of_image for of_image, _ in found]).write_parquet(draft / "measures.parquet")
        np.save(draft / "thumbnails.npy", np.stack([small for _, small in found]), allow_pickle=False)

    if None in contents:  # a file that is not there has no content to be kept by
        found = list(_each(measure, places))
        return _table([of_image for of_image, _ in found]), np.stack([small for _, small in found])
    folder = store.make(KIND, _key(contents), fill)
    return pl.read_parquet(folder / "measures.parquet"), np.load(folder / "thumbnails.npy", allow_pickle=False)


def _key(contents: Sequence[str | None]) -> str:
    from tailwise.data.unpacked import unpacking_key

    return unpacking_key("measures/1", [str(content) for content in contents])


def _each(measure: Callable, things: Sequence) -> Iterator:
    """Do it for all, on several threads: decoding and hashing release the interpreter's lock."""
    parts = [things[at : at + _TOGETHER] for at in range(0, len(things), _TOGETHER)]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for part in pool.map(lambda part: [measure(thing) for thing in part], parts):
            yield from part


def _table(measures: Sequence[Measures]) -> pl.DataFrame:
    return pl.DataFrame(measures, schema=_SCHEMA, orient="row")


def _size(file: str) -> int | None:
    try:
        return os.stat(file).st_size
    except OSError:
        return None


def _header(file: str) -> Measures:
    if not os.path.isfile(file):
        return Measures(error="missing", why="no such file")
    try:
        width, height, mode = read_header(file)
        return Measures(None, None, read_form(file), kind_of_pixels(mode), width, height, count_pictures(file))
    except BadData as error:
        return Measures(error="unreadable", why=_why(file, error))


def of_file(file: str) -> tuple[Measures, np.ndarray]:
    """Measure one file; gives its measures and its (256,) uint8 small picture."""
    header, nothing = _header(file), np.zeros(SIDE * SIDE, np.uint8)
    if header.error is not None:
        return header, nothing
    try:
        pixels = read_pixels(file)
    except BadData as error:
        return header._replace(error="truncated", why=_why(file, error)), nothing
    found, small = of_pixels(pixels)
    of_header = {name: getattr(header, name) for name in ("format", "kind", "width", "height", "pictures")}
    return found._replace(**of_header), small


def _why(file: str, error: BadData) -> str:
    return str(error).removeprefix(f"{file}: ").rsplit(";", 1)[0]


def of_pixels(pixels: np.ndarray) -> tuple[Measures, np.ndarray]:
    """Measure (H, W), (H, W, 1) or (H, W, 3) uint8 pixels; gives measures and the (256,) uint8 small picture."""
    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    grey = Image.fromarray(np.ascontiguousarray(flat)).convert("L")
    values = np.asarray(grey)
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
    found = Measures(
        kind="grey" if flat.ndim == 2 else "colour",
        width=flat.shape[1],
        height=flat.shape[0],
        pictures=1,
        darkest=int(values.min()),
        brightest=int(values.max()),
        mean=float(values.mean()),
        deviation=float(values.std()),
        hash=difference_hash(grey),
    )
    return found, small.reshape(-1)


def difference_hash(grey: Image.Image) -> int:
    """Hash a grey image to 64 bits by whether it gets brighter from left to right, on a grid of 8 x 9 (Krawetz's dHash).

    Copies that were resized, recompressed or brightened differ in few bits.
    """
    grid = np.asarray(grey.resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    return int.from_bytes(np.packbits(grid[:, 1:] > grid[:, :-1]).tobytes(), "big")
