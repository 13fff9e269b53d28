"""Data jobs: metadata, splits, listing and the blank scan, beside what one writes first with json, pandas, pathlib and Pillow."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from PIL import Image
from readers import READERS
from rounds import Timed, race, race_fresh

from tailwise.checks.blank_scan import find_blank
from tailwise.data import Manifest
from tailwise.data.splits import split
from tailwise.data.walk import Tally, image_paths

IMAGES, CLASSES, GAPS, BYTES = 840_000, 15_501, (4_000, 8_000, 12_000, 15_000), 667_000_000
"""Of Herbarium 2022's `train_metadata.json`."""

FILES, FOLDERS = 60_000, 600
SMALL_FILES, ONE_IN = 35_000, 50


def rows(place: Path, rounds: int, smoke: bool = False) -> Iterator[Timed]:
    """Time all of them."""
    yield from reading(place, min(rounds, 3), 2_000 if smoke else IMAGES, 200_000 if smoke else BYTES)
    yield from splitting(rounds, 2_000 if smoke else IMAGES)
    yield from listing(place, rounds, 600 if smoke else FILES)
    yield from scanning(place, min(rounds, 5), 100 if smoke else SMALL_FILES)


# --- metadata ---------------------------------------------------------------------------------------------------------


def reading(place: Path, rounds: int, images: int, size: int) -> Iterator[Timed]:
    """Read Herbarium's metadata into a manifest, each in a process of its own: seconds and peak memory without imports' seconds."""
    file = place / "train_metadata.json"
    write_metadata(file, images, size)
    words = {name: [sys.executable, str(Path(__file__).with_name("readers.py")), name, str(file)] for name in READERS}
    work = f"{images:,} annotations and {file.stat().st_size / 1e6:.0f} MB of JSON to a manifest"
    yield from race_fresh(work, words, rounds, {"tailwise": (4.5, 6)}, {"tailwise": (0.45, 0.35)})


def write_metadata(file: Path, images: int, size: int) -> None:
    """Write records in the official order and shape, and as many distances between genera as make up the size."""
    ids = [number for number in range(CLASSES + len(GAPS)) if number not in GAPS][: max(2, images // 50)]
    genera = 2_564
    keys = [f"{ids[row % len(ids)]:05d}__{row // len(ids):03d}" for row in range(images)]
    with open(file, "w", encoding="utf-8") as out:
        out.write('{"annotations": ')
        _list(out, ({"genus_id": int(k[:5]) % genera, "institution_id": 37, "category_id": int(k[:5]), "image_id": k} for k in keys))
        out.write(', "images": ')
        _list(out, ({"image_id": k, "file_name": f"{k[:3]}/{k[3:5]}/{k}.jpg", "license": 1} for k in keys))
        out.write(', "categories": ')
        _list(out, (_category(class_id, genera) for class_id in ids))
        out.write(', "genera": ')
        _list(out, ({"genus_id": number, "genus": f"Genus{number}"} for number in range(genera)))
        out.write(', "institutions": [{"institution_id": 37, "collectionCode": "ny"}], "license": [{"id": 1, "name": "CC", "url": "-"}]')
        out.write(', "distances": ')
        _list(out, _distances(2 * genera, size - out.tell()))
        out.write("}")


def _category(class_id: int, genera: int) -> dict[str, object]:
    genus = f"Genus{class_id % genera}"
    names = {"scientificName": f"{genus} species{class_id} Author", "family": f"Family{class_id % 272}", "genus": genus}
    return {"category_id": class_id, **names, "species": f"species{class_id}", "authors": "Author"}


def _distances(genera: int, left: int) -> Iterable[dict[str, object]]:
    for first in range(genera):
        for second in range(first + 1, genera):
            record = {"genus_id_x": first, "genus_id_y": second, "distance": 123.456}
            left -= len(json.dumps(record)) + 2
            if left < 0:
                return
            yield record


def _list(out: IO[str], records: Iterable[dict[str, object]]) -> None:
    out.write("[")
    for number, record in enumerate(records):
        out.write((", " if number else "") + json.dumps(record))
    out.write("]")


# --- the others -------------------------------------------------------------------------------------------------------


def splitting(rounds: int, images: int) -> Iterator[Timed]:
    """Take a fifth of every class, at the long-tailed sizes of Herbarium 2022."""
    import pandas as pd

    classes = max(2, images * CLASSES // IMAGES)
    rng = np.random.default_rng(0)
    sizes = np.maximum(7, rng.pareto(1.2, classes) * 12).astype(int)
    labels = rng.permutation(np.repeat(np.arange(classes), sizes))[:images].astype(np.int32)
    ids = [f"{i:07d}" for i in range(len(labels))]
    table = pd.DataFrame({"id": ids, "y": labels})
    kept = pl.DataFrame({"id": ids, "path": [f"{i}.jpg" for i in ids], "label": labels, "split": "train"})
    manifest = Manifest(kept, tuple(f"class {c:05d}" for c in range(classes)))

    def peer(number: int) -> int:
        held = table.groupby("y").sample(frac=0.2, random_state=number)
        return len(table.drop(held.index)) + len(held)

    def ours(number: int) -> int:
        return split(manifest, "80/0/20", number).rows.height

    work = f"a fifth of each of {classes:,} classes of {len(labels):,} rows"
    yield from race(work, {"pandas groupby.sample": peer, "tailwise": ours}, rounds, {"tailwise": (7.5, 12)})


def listing(place: Path, rounds: int, files: int) -> Iterator[Timed]:
    """List image files in folders; ours is sorted, follows links, and leaves hidden files out."""
    root = place / "many"
    for number in range(files):
        folder = root / f"{number % FOLDERS:03d}"
        if number < FOLDERS:
            folder.mkdir(parents=True)
        (folder / f"{number:06d}.jpg").touch()

    def peer(number: int) -> int:
        return sum(1 for path in root.rglob("*") if path.is_file())

    def ours(number: int) -> int:
        return sum(1 for _ in image_paths(root, Tally()))

    if peer(0) != ours(0):
        raise SystemExit("the two list other files: nothing is timed")
    yield from race(f"listing {files:,} image files", {"rglob and is_file": peer, "tailwise": ours}, rounds, {"tailwise": (7, 10)})


def scanning(place: Path, rounds: int, files: int) -> Iterator[Timed]:
    """Find black images among JPEG files of 84 pixels."""
    folder = place / "small"
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for number in range(files):
        coarse = Image.fromarray(rng.integers(0, 256, (21, 21, 3), dtype=np.uint8)).resize((84, 84), Image.Resampling.BICUBIC)
        paths.append(str(folder / f"{number:05d}.jpg"))
        (Image.new("RGB", (84, 84)) if number % ONE_IN == 0 else coarse).save(paths[-1], quality=90)
    random.Random(0).shuffle(paths)

    def peer(number: int) -> list[str]:
        return [path for path in paths if np.asarray(Image.open(path).convert("RGB")).std() < 1]

    def ours(number: int) -> list[str]:
        return find_blank(paths)

    if peer(0) != ours(0):
        raise SystemExit("the two find other images: nothing is timed")
    yield from race(
        f"black ones among {files:,} JPEG files of 84 pixels", {"decoding all": peer, "tailwise": ours}, rounds, {"tailwise": (40, 80)}
    )
