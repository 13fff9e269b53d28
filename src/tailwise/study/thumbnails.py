"""Thumbnails: a few small images of each class that is measured, kept beside the answers so that a page can show them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tailwise.errors import BadData
from tailwise.study.prepare import ordered, pixels_of

if TYPE_CHECKING:
    from tailwise.study.runs import Run
    from tailwise.study.setup import Setup

THUMBNAILS = "thumbnails.safetensors"

SIDE = 64
"""Pixels."""

A_CLASS = 4
"""Thumbnails of a class, at most."""

MOST = 1024
"""Thumbnails in all, at most: a class then has fewer, and beyond so many classes some have none."""

QUALITY = 80


def thumbnails_file(setup: Setup) -> dict[str, bytes]:
    """Make the file of thumbnails, by its name: JPEGs of measured images by id. Nothing where the data are no images.

    An image that cannot be decoded any more leaves no file: pages are shown without.
    """
    manifest = setup.manifest
    if manifest.kind != "images":
        return {}
    rows = ordered(manifest)
    if not setup.dealt:
        measured = next((name for name in ("test", "val") if name in manifest.splits), "")
        rows = rows.filter(pl.col("split") == measured)
    chosen = _chosen(rows, len(manifest.classes))
    if not len(chosen):
        return {}
    pixels, images = pixels_of(manifest, SIDE), []
    try:
        for place in chosen["place"].to_list():
            images.append(_jpeg(pixels([place])[0]))
    except BadData as reason:
        logging.getLogger("tailwise").warning(f"pages will show no thumbnails: {reason}")
        return {}
    starts = np.cumsum([0, *map(len, images)], dtype=np.int64)
    ids = json.dumps(chosen["id"].to_list(), ensure_ascii=False).encode()
    arrays: dict[str, np.ndarray] = {"images": np.frombuffer(b"".join(images), np.uint8), "ids": np.frombuffer(ids, np.uint8)}
    return {THUMBNAILS: save({**arrays, "starts": starts})}


def _chosen(rows: pl.DataFrame, classes: int) -> pl.DataFrame:
    """Take the first rows of each class by id, as many of each."""
    each = max(1, min(A_CLASS, MOST // max(classes, 1)))
    return rows.filter(pl.int_range(pl.len()).over("label") < each).head(MOST)


def _jpeg(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=QUALITY)
    return data.getvalue()


def read_thumbnails(runs: Sequence[Run]) -> Mapping[str, bytes]:
    """Give the JPEGs that lie with runs, or with their study: id -> bytes. A file that cannot be read is left out: pages go without."""
    found: dict[str, bytes] = {}
    for place in dict.fromkeys(_place(run.folder) for run in runs):
        if not place.is_file():
            continue
        try:
            arrays = load(place.read_bytes())
            ids, starts, data = json.loads(arrays["ids"].tobytes()), arrays["starts"].tolist(), arrays["images"].tobytes()
        except (OSError, SafetensorError, ValueError, KeyError):
            logging.getLogger("tailwise").warning(f"{place} cannot be read; the page shows no thumbnails")
            continue
        found |= {id_: data[begin:end] for id_, begin, end in zip(ids, starts, starts[1:], strict=False)}
    return found


def _place(folder: Path) -> Path:
    beside = folder / THUMBNAILS
    return beside if beside.is_file() else folder.parent.parent / THUMBNAILS
