"""Extractor features of a data set, written as a data set of feature vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tailwise.data import Manifest, read
from tailwise.errors import BadData, OutputExists
from tailwise.models import pretrained_name
from tailwise.records import FEATURES, read_record
from tailwise.specification import key_of
from tailwise.store import Store, check_writable, json_bytes
from tailwise.study.extractor import Extractor, describe_extractor, extract
from tailwise.study.numerics import choose_device
from tailwise.study.places import OUT
from tailwise.study.prepare import ordered, pixels_of
from tailwise.study.runs import slug

RECORD = "features.json"


@dataclass(frozen=True)
class Features:
    """Features on disk.

    Attributes:
        folder: with a saved manifest and `features.json`.
        record: `features.json`: network, hash of its weights, preprocessing.
        stood: whether the folder was there already.
    """

    folder: Path
    record: Mapping[str, Any]
    stood: bool = False

    @property
    def manifest(self) -> Manifest:
        """The data set of feature vectors: ids, labels and splits of the images."""
        return Manifest.load(self.folder)


def write_features(
    source: Manifest | Path | str,
    net: str = "efficientnet-lite0",
    size: int | None = None,
    root: Path | None = None,
    columns: str | None = None,
    device: str = "auto",
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Write the features of every image, raw: not standardised.

    Args:
        source: images.
        net: network with pre-trained weights.
        size: side of the images in pixels; None for the one of the weights.
        root: of the paths.
        columns: names of a table's columns.
        device: where to compute.
        out: folder; None for `tailwise-out/<data>-features-<key>`.
        progress: called with images done and in all.

    Raises:
        BadData: the data are feature vectors already, images that cannot be read, weights that are not there.
        OutputExists: the folder holds something else.
    """
    store, place = Store(), choose_device(device)
    manifest = read(source, root=root, columns=columns)
    if manifest.kind == "features":
        raise BadData(f"{manifest.name!r} holds feature vectors already; give images")
    manifest = manifest.with_content(store.root / "hashes")
    extractor = describe_extractor(pretrained_name(net), size, place)
    key = key_of(extractor.key, manifest.identity)
    folder = out or OUT / f"{slug(manifest.name)}-features-{key[:8]}"
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        return _standing(folder, key)
    check_writable(folder)
    table = ordered(manifest)
    array = extract(extractor, pixels_of(manifest, extractor.size), table["content"].to_list(), store, place, progress)
    rows = table.with_columns(path=pl.lit(None, pl.String), container=pl.lit("features"), row=pl.col("place")).drop("place", "content")
    provenance = (*manifest.provenance, _said(extractor))
    vectors = Manifest(rows, manifest.classes, None, {"features": array}, f"{manifest.name}-features", provenance)
    record = {"schema": FEATURES, "key": key, "data": manifest.identity, "images": len(array), **extractor.to_dict()}
    vectors.save(folder, beside={RECORD: json_bytes(record)})
    return Features(folder, read_record(folder / RECORD, FEATURES))


def _standing(folder: Path, key: str) -> Features:
    if not (folder / RECORD).is_file():
        raise OutputExists(f"{folder} exists and holds no features of tailwise; choose another --out")
    record = read_record(folder / RECORD, FEATURES)
    if record["key"] != key:
        raise OutputExists(f"{folder} holds features of other images, or of another network; choose another --out")
    return Features(folder, record, stood=True)


def _said(extractor: Extractor) -> str:
    mean, deviation = (" ".join(f"{v:g}" for v in values) for values in (extractor.normalise.mean, extractor.normalise.std))
    seen = f"{extractor.size} pixels, mean {mean}, deviation {deviation}"
    return f"features of {extractor.network}, {extractor.width} numbers an image: {seen}; weights sha256 {extractor.weights}"
