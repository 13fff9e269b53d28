"""Writer of mini-ImageNet-LT's own files: where the images go, and the bytes of the lists."""

from __future__ import annotations

import csv
import io
import json

import polars as pl

from tailwise.data.images import is_image_name
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.readers.mini_imagenet_lt import COUNTS, FILLED, GENERATED, HEADER, POSITION, TEST, TRAIN, VAL
from tailwise.data.writers.names import unique_names
from tailwise.errors import BadData


def paths(manifest: Manifest) -> pl.Series:
    """Say where each image goes, relative to the output folder: `data/images/<name>`, `data/genimages/<n>.jpg`.

    Real images keep their names, made safe and unique; those of arrays are PNG, named by the end of their ids. Generated ones are
    numbered from 0 over all classes, in the order of their list, and keep their endings. Nothing depends on the order of the rows.

    Args:
        manifest: of images; where it was read from such lists, it has their order in the column `position`.

    Returns:
        `path` (N,) String, in the order of `manifest.rows`.
    """
    rows = manifest.rows.with_row_index("place")
    generated = _in_order(rows.filter(_is_generated(rows)))
    real = rows.filter(~_is_generated(rows)).sort("id")
    names = unique_names(_file_name(path, id_) for path, id_ in real.select("path", "id").iter_rows())
    numbered = [f"{number}{_ending(path)}" for number, path in enumerate(generated["path"])]
    placed = pl.DataFrame(
        {
            "place": pl.concat([real["place"], generated["place"]]),
            "path": [*(f"data/images/{name}" for name in names), *(f"data/genimages/{name}" for name in numbered)],
        },
        schema_overrides={"path": pl.String},
    )
    return placed.sort("place")["path"]


def lists(written: Manifest) -> dict[str, bytes]:
    """Give the lists of a set whose images lie where `paths` says, byte for byte as mini-ImageNet-LT has them.

    Rows are sorted by label and, within it, by `position` where the set has it, then by id; line ends are CRLF. Lists without rows are left
    out. Where there are generated images, `gentrain.csv` (which has no header) names all of them, and `alltrain.csv` the training
    images and those generated ones that weigh more than 0. Other weights have no place in these lists.

    Args:
        written: `path` is what is written.

    Returns:
        File name -> bytes.

    Raises:
        BadData: images have no label, or generated ones are not in train.
    """
    rows = written.rows
    is_generated = _is_generated(rows)
    _refuse(rows.filter(pl.col("label").is_null()), "images without a label, which these lists cannot hold; leave them out", written)
    strays = rows.filter(is_generated & (pl.col("split") != "train"))
    _refuse(strays, "generated images in val or test; these lists have them in train alone", written)
    real = rows.filter(~is_generated)
    splits = {name: _in_order(real.filter(pl.col("split") == split)) for name, split in ((TRAIN, "train"), (VAL, "val"), (TEST, "test"))}
    found = {name: _csv(of_split, HEADER) for name, of_split in splits.items() if of_split.height}
    if is_generated.any():
        generated = _in_order(rows.filter(is_generated))
        kept = generated.filter(pl.col("weight") > 0) if "weight" in rows.columns else generated
        found[GENERATED] = _csv(generated)
        found[FILLED] = _csv(splits[TRAIN], HEADER) + _csv(kept)
    found[COUNTS] = json.dumps({str(label): count for label, count in enumerate(written.counts("train"))}).encode()
    return found


def _is_generated(rows: pl.DataFrame) -> pl.Series:
    if "source" not in rows.columns:
        return pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    return (rows["source"] == "generated").fill_null(False)


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    by = ["label", POSITION, "id"] if POSITION in rows.columns else ["label", "id"]
    return rows.sort(by, nulls_last=True)


def _file_name(path: str | None, id_: str) -> str:
    """Give the name that a file has, or that an array's row gets: the end of its id."""
    return path.rsplit("/", 1)[-1] if path is not None else f"{id_.rstrip('/').rsplit('/', 1)[-1]}.png"


def _ending(path: str | None) -> str:
    if path is None:
        return ".png"
    return path[path.rindex(".") :] if is_image_name(path) else ".jpg"


def _csv(rows: pl.DataFrame, header: tuple[str, ...] = ()) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    if header:
        writer.writerow(header)
    writer.writerows(rows.select("path", "label").iter_rows())
    return text.getvalue().encode()


def _refuse(rows: pl.DataFrame, what: str, manifest: Manifest) -> None:
    if rows.height:
        raise BadData(f"manifest {manifest.name!r} has {rows.height:,} {what} (id {first_five(rows['id'].to_list())})")
