"""What is measured of every image, once: header, luminance, a hash and a small picture by which near copies are told."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from PIL import Image

from tailwise.checks.check import Inspected, Needs
from tailwise.data.containers import check_features
from tailwise.data.content import WRITTEN, content_of, hash_files
from tailwise.data.headers import kind_of_pixels, read_form
from tailwise.data.images import count_pictures, read_header, read_pixels
from tailwise.data.manifest import Manifest
from tailwise.errors import BadData, Stopped, Unwritable
from tailwise.store import Store

KIND = "measures"
"""Where in the store measures are."""

CHUNK = 4_096
"""Images whose measures are stored together: what an interruption costs."""

SIDE = 16
"""Side of the small pictures."""

SMALL = 2_048
"""Bytes of a file that may hold an image of one colour, whatever the others are."""

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
        `images` has the manifest's rows sorted by id and, but for `table`, `bytes`, `content` (the hash of what is there now), `described`
        (what a saved manifest says that it is) and the fields of `Measures`: those of pixels are null unless it is looked so far, but for
        files so small that they may be blank, which are decoded in any case.

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
    files = [None if path is None else os.path.join(os.path.abspath(manifest.root or "."), path) for path in rows["path"]]
    troubles = _table([Measures() if file is None else _trouble(file) or Measures() for file in files])
    is_fine = troubles["error"].is_null().to_list()
    rows = rows.with_columns(_bytes(files, is_fine), *_contents(manifest, rows, files, is_fine, cache))
    if needs != "pixels":
        small = suspects(rows["bytes"].fill_null(np.iinfo(np.int64).max).to_numpy())
        headers = [
            Measures() if file is None or not fine else of_file(file)[0] if suspect else _header(file)
            for file, fine, suspect in zip(files, is_fine, small, strict=True)
        ]
        return Inspected(manifest, rows.with_columns(_first_of(troubles, _table(headers))))
    where = list(zip(files, rows["container"], rows["row"], strict=True))

    def measure(place: int) -> tuple[Measures, np.ndarray]:
        file, container, row = where[place]
        return of_pixels(manifest.arrays[container][row]) if file is None else of_file(file)

    measured, thumbnails = _of_contents(rows["content"], measure, progress)
    return Inspected(manifest, rows.with_columns(_first_of(troubles, measured)), thumbnails)


def suspects(sizes: np.ndarray) -> np.ndarray:
    """Say which files are so small that their image may be of one colour.

    Args:
        sizes: (N,) bytes.

    Returns:
        (N,) bool: at most `SMALL` bytes, or a third of the median.
    """
    return sizes <= (max(SMALL, float(np.median(sizes)) / 3) if len(sizes) else 0)


def _bytes(files: Sequence[str | None], is_fine: Sequence[bool]) -> pl.Series:
    sizes = [os.path.getsize(file) if file is not None and fine else None for file, fine in zip(files, is_fine, strict=True)]
    return pl.Series("bytes", sizes, dtype=pl.Int64)


def _contents(
    manifest: Manifest, rows: pl.DataFrame, files: Sequence[str | None], is_fine: Sequence[bool], cache: Path | None
) -> tuple[pl.Series, pl.Series]:
    """Hash what is there now (`content`), beside what the manifest says of the files (`described`); null where there is nothing."""
    readable = [file for file, fine in zip(files, is_fine, strict=True) if file is not None and fine]
    hashes = dict(zip(readable, _hashes(readable, cache), strict=True))
    in_arrays = rows["path"].is_null()
    of_arrays = iter(content_of(rows.filter(in_arrays), None, manifest.arrays, None) if in_arrays.any() else ())
    content = [next(of_arrays) if file is None else hashes.get(file) for file in files]
    said = pl.coalesce(*(name for name in (WRITTEN, "content") if name in rows.columns), pl.lit(None, pl.String))
    described = rows.select(pl.when(pl.col("path").is_not_null()).then(said).alias("described")).to_series()
    return pl.Series("content", content, dtype=pl.String), described


def _hashes(files: Sequence[str], cache: Path | None) -> list[str]:
    try:
        return hash_files(files, cache)
    except (Unwritable, Stopped):  # the cache of hashes only saves time
        return hash_files(files)


def _first_of(troubles: pl.DataFrame, measured: pl.DataFrame) -> pl.DataFrame:
    """Take what is known of files that are not opened, and of the others what was measured."""
    return pl.select(pl.coalesce(troubles[name], measured[name]) for name in _SCHEMA)


def _of_contents(
    contents: pl.Series, measure: Callable[[int], tuple[Measures, np.ndarray]], progress: Progress | None
) -> tuple[pl.DataFrame, np.ndarray]:
    """Measure each content once, and give a row for each of `contents`; nothing for nulls.

    What is stored together begins with the same digits of the hash, so that a few images more or less leave most of it as it is.
    """
    different = pl.DataFrame(contents).with_row_index("place").drop_nulls().unique("content", keep="first").sort("content")
    digits = next(n for n in range(17) if different.height <= CHUNK * 16**n)
    tables, thumbnails, store, done = [], [np.zeros((0, SIDE * SIDE), np.uint8)], Store(), 0
    for part in different.with_columns(pl.col("content").str.head(digits).alias("start")).partition_by("start", maintain_order=True):
        table, small = _chunk(store, part["content"].to_list(), part["place"].to_list(), measure)
        tables.append(table)
        thumbnails.append(small)
        done += part.height
        if progress is not None:
            progress(done, different.height)
    measured = pl.concat([_table([]), *tables]).insert_column(0, different["content"]).with_row_index("place")
    found = pl.DataFrame(contents).join(measured, on="content", how="left", maintain_order="left")
    nothing = np.zeros((1, SIDE * SIDE), np.uint8)
    return found, np.concatenate([*thumbnails, nothing])[found["place"].fill_null(different.height).to_numpy()]


def _chunk(
    store: Store, contents: Sequence[str], places: Sequence[int], measure: Callable[[int], tuple[Measures, np.ndarray]]
) -> tuple[pl.DataFrame, np.ndarray]:
    def fill(draft: Path) -> None:
        found = list(_each(measure, places))
        table = io.BytesIO()  # not to the file itself: polars says a full disk in words of its own
        _table([of_image for of_image, _ in found]).write_parquet(table)
        (draft / "measures.parquet").write_bytes(table.getvalue())
        np.save(draft / "thumbnails.npy", np.stack([small for _, small in found]), allow_pickle=False)

    folder = store.make(KIND, _key(contents), fill)
    return pl.read_parquet(folder / "measures.parquet"), np.load(folder / "thumbnails.npy", allow_pickle=False)


def _key(contents: Sequence[str]) -> str:
    from tailwise.data.unpacked import unpacking_key

    return unpacking_key("measures/1", contents)


def _each(measure: Callable, things: Sequence) -> Iterator:
    """Do it for all, on several threads: decoding and hashing release the interpreter's lock."""
    parts = [things[at : at + _TOGETHER] for at in range(0, len(things), _TOGETHER)]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for part in pool.map(lambda part: [measure(thing) for thing in part], parts):
            yield from part


def _table(measures: Sequence[Measures]) -> pl.DataFrame:
    return pl.DataFrame(measures, schema=_SCHEMA, orient="row")


def _trouble(file: str) -> Measures | None:
    """Say why a file is not to be opened at all: it is not there, is no file (a pipe would be waited for), or may not be read."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return Measures(error="missing", why="no such file")
    if not stat.S_ISREG(mode):
        return Measures(error="unreadable", why="a folder" if stat.S_ISDIR(mode) else "a pipe or device")
    return None if os.access(file, os.R_OK) else Measures(error="unreadable", why="permission denied")


def _header(file: str) -> Measures:
    try:
        width, height, mode = read_header(file)
        return Measures(None, None, read_form(file), kind_of_pixels(mode), width, height, count_pictures(file))
    except BadData as error:
        return Measures(error="unreadable", why=_why(file, error))


def of_file(file: str) -> tuple[Measures, np.ndarray]:
    """Measure one file; gives its measures and its (256,) uint8 small picture.

    Raises:
        BadData: it has gone since it was hashed: what is stored under the hash must be of these bytes.
    """
    if _trouble(file) is not None:
        raise BadData(f"{file} was there and is not any more; run the same command again")
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
