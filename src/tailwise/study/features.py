"""Extractor features of a data set, written as a data set of feature vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from tailwise.data import Manifest, check_sound, read
from tailwise.data.storage import check_made, write_files
from tailwise.data.writers.standing import check_nothing_added
from tailwise.disk import check_writable, json_bytes, put_back, replace_folder, whole_folder
from tailwise.errors import BadData, OutputExists
from tailwise.models import Engine, pretrained_name
from tailwise.records import FEATURES, plain, read_record
from tailwise.specification import key_of
from tailwise.store import Store
from tailwise.study.extractor import Extractor, describe_extractor, extract
from tailwise.study.live import announced, features_needs
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
    format: str | None = None,
    device: str = "auto",
    engine: Engine | Literal["auto"] = "auto",
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    force: bool = False,
) -> Features:
    """Write the features of every image, raw: not standardised; where they stand already, whole, nothing is computed.

    Args:
        source: images.
        net: network with pre-trained weights.
        size: side of the images in pixels; None for the one of the weights.
        root: of the paths.
        columns: names of a table's columns.
        format: of the source, where it is not to be recognised.
        device: where to compute.
        engine: what runs the network; `auto` takes what is fastest for so many images.
        out: folder; None for `tailwise-out/<data>-features-<key>`.
        progress: called with images done and in all.
        force: whether other features in the folder are replaced, or damaged ones.

    Raises:
        BadData: the data are feature vectors already, images that cannot be read, weights that are not there.
        BadValue: an engine that is not there.
        Stopped: an engine that cannot run this network.
        OutputExists: the folder holds something else.
    """
    store, place = Store(), choose_device(device)
    manifest = read(source, root=root, columns=columns, format=format)
    check_sound(manifest)
    if manifest.kind == "features":
        raise BadData(f"{manifest.name!r} holds feature vectors already; give images")
    manifest = manifest.with_content(store.shelf("hashes"))
    extractor = describe_extractor(pretrained_name(net), size, place, engine, manifest.rows.height)
    key = key_of(extractor.key, manifest.identity)
    folder = out or OUT / f"{slug(manifest.name)}-features-{key[:8]}"
    table = ordered(manifest)
    record = {"schema": FEATURES, "key": key, "data": manifest.identity, "images": len(table), **plain(extractor.to_dict())}
    if (found := _standing(folder, record, force)) is not None:
        return found
    check_writable(folder)
    contents = table["content"].to_list()
    with announced(store, folder, "features", key, features_needs(extractor, contents, store, manifest.root)):
        array = extract(extractor, pixels_of(manifest, extractor.size), contents, store, place, progress)
        rows = table.with_columns(path=pl.lit(None, pl.String), container=pl.lit("features"), row=pl.col("place")).drop("place", "content")
        provenance = (*manifest.provenance, _said(extractor))
        vectors = Manifest(rows, manifest.classes, None, {"features": array}, f"{manifest.name}-features", provenance)
        _write(vectors.with_content(), folder, record, force)
    return Features(folder, read_record(folder / RECORD, FEATURES))


def _write(vectors: Manifest, folder: Path, record: Mapping[str, Any], force: bool) -> None:
    def fill(draft: Path) -> None:
        write_files(vectors, draft, folder)
        (draft / RECORD).write_bytes(json_bytes(record))

    (replace_folder if force else whole_folder)(folder, fill)
    check_made(vectors, folder)


def _standing(folder: Path, record: Mapping[str, Any], force: bool) -> Features | None:
    """Give the features that stand in a folder, whole; None where there are none, or where they are to be replaced."""
    if not os.path.lexists(folder):
        put_back(folder)  # a replacing was killed between its two renames
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if folder.is_symlink() or not (folder / RECORD).is_file():
        raise OutputExists(f"{folder} exists and holds no features of tailwise; choose another --out")
    wrong = _wrong(folder, record)
    if wrong is None:
        if force:
            put_back(folder)  # a replacing was killed with the new folder in its place: now the old one goes
        return Features(folder, read_record(folder / RECORD, FEATURES), stood=True)
    if not force:
        raise OutputExists(f"{folder} {wrong}; choose another --out, or replace it with --force")
    check_nothing_added(folder, (RECORD,))
    return None


def _wrong(folder: Path, record: Mapping[str, Any]) -> str | None:
    """Say in what a folder of features is not the one that is wanted, whole to the bit; None where it is."""
    try:
        there = read_record(folder / RECORD, FEATURES)
        if there.get("key") != record["key"]:
            return "holds features of other images, or of another network"
        if _lasting(there) != _lasting(record):
            return f"is damaged: {folder / RECORD} has changed since it was written"
        vectors = Manifest.load(folder)
        found = vectors.rows["content"].to_list()
        is_whole = found == vectors.replace(rows=vectors.rows.drop("content")).with_content().rows["content"].to_list()
    except BadData as error:
        return f"is damaged ({error})"
    return None if is_whole else f"is damaged: features in {folder / 'features.npy'} have changed since they were written"


def _lasting(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a record says but for where the file of the weights lay."""
    return {**record, "network": str(record.get("network")).partition("@")[0]}


def _said(extractor: Extractor) -> str:
    mean, deviation = (" ".join(f"{v:g}" for v in values) for values in (extractor.normalise.mean, extractor.normalise.std))
    seen = f"{extractor.size} pixels, mean {mean}, deviation {deviation}"
    return f"features of {extractor.network}, {extractor.width} numbers an image: {seen}; weights sha256 {extractor.weights}"
