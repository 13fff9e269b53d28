"""Herbarium 2022's metadata, made up at its real size: what reading them costs, beside plain json and dictionaries in the same run.

python benchmarks/metadata_scale.py [ROUNDS]

840,000 annotations and images, 15,501 classes with four gaps, and as many distances between genera as make 667 MB. Each reading is a
process of its own; seconds and peak memory are printed for each round, then the ratio and its spread.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

IMAGES, CLASSES, GAPS, BYTES = 840_000, 15_501, (4_000, 8_000, 12_000, 15_000), 667_000_000
SELF = Path(__file__)


def write(file: Path) -> None:
    """Write the metadata, records in the official order and shape."""
    ids = [number for number in range(CLASSES + len(GAPS)) if number not in GAPS]
    genera = 2_564
    pairs = ((ids[row % CLASSES], row // CLASSES) for row in range(IMAGES))
    keys = [f"{class_id:05d}__{number:03d}" for class_id, number in pairs]
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
        _list(out, _distances(2 * genera, BYTES - out.tell()))
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


def read_ours(file: str) -> str:
    """Read the file into a manifest."""
    from tailwise.data import read

    return repr(read(file))


def read_plain(file: str) -> str:
    """Read the file with json, and join by id through dictionaries, or tables of pandas where it is installed."""
    with open(file, encoding="utf-8") as stream:
        table = json.load(stream)
    try:
        import pandas as pd
    except ImportError:
        of_image = {one["image_id"]: one["category_id"] for one in table["annotations"]}
        of_class = {one["category_id"]: one for one in table["categories"]}
        rows = [(one["image_id"], one["file_name"], of_class[of_image[one["image_id"]]]) for one in table["images"]]
        return f"{len(rows):,} rows, json and dictionaries"
    joined = pd.DataFrame(table["annotations"]).merge(pd.DataFrame(table["images"]), on="image_id")
    joined = joined.merge(pd.DataFrame(table["categories"]), on="category_id")
    return f"{len(joined):,} rows, json and pandas"


def main() -> None:
    """Write, read in turn, print."""
    if len(sys.argv) == 3:
        begin = time.perf_counter()
        said = {"ours": read_ours, "plain": read_plain}[sys.argv[1]](sys.argv[2])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(json.dumps({"seconds": time.perf_counter() - begin, "bytes": peak, "said": said}))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "train_metadata.json"
        write(file)
        print(f"{file.stat().st_size / 1e6:.0f} MB, {IMAGES:,} images, {CLASSES:,} classes")
        ratios = []
        for number in range(rounds):
            found = {}
            for kind in ("ours", "plain"):
                done = subprocess.run([sys.executable, SELF, kind, file], check=True, capture_output=True, text=True)
                found[kind] = json.loads(done.stdout)
                seconds, peak = found[kind]["seconds"], found[kind]["bytes"] / 2**30
                print(f"round {number + 1}, {kind}: {seconds:.1f} s, {peak:.2f} GB; {found[kind]['said']}", flush=True)
            ratios.append(found["plain"]["seconds"] / found["ours"]["seconds"])
        print(f"ours is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f} over {rounds} rounds)")


if __name__ == "__main__":
    main()
