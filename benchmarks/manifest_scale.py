"""What a manifest of ten million rows costs: opening, counting, splitting, thinning, its identity, saving and loading.

python benchmarks/manifest_scale.py [ROWS]

The rows are a list without images over 15,501 classes of very unequal size. Each step says its seconds and the peak memory so far.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from tailwise.data import Manifest, scan_manifest, split, thin

ROWS, CLASSES = 10_000_000, 15_501
Result = TypeVar("Result")


def timed(what: str, step: Callable[[], Result]) -> Result:
    """Do a step and print what it took."""
    begin = time.perf_counter()
    result = step()
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, kilobytes on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"{what:38} {time.perf_counter() - begin:7.2f} s   {peak:5.2f} GB at most so far", flush=True)
    return result


def make(rows: int) -> Manifest:
    """Make a list whose classes have from a handful to thousands of images."""
    labels = (CLASSES * np.random.default_rng(0).random(rows) ** 2).astype(np.int32)
    paths = pl.select(pl.format("images/{}/{}.jpg", pl.lit(pl.Series(labels)), pl.int_range(rows))).to_series()
    table = pl.DataFrame({"id": paths, "path": paths, "label": labels, "split": ["train"] * rows, "content": "path:" + paths})
    return Manifest(table, tuple(map(str, range(CLASSES))), name="large")


def main() -> None:
    """Print a line a step."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    manifest = timed(f"make and check {rows:,} rows", lambda: make(rows))
    timed("count", manifest.counts)
    parts = timed("split 80/10/10", lambda: split(manifest, "80/10/10"))
    timed("thin to step:5", lambda: thin(parts, "step:5"))
    timed("identity", lambda: manifest.identity)
    with tempfile.TemporaryDirectory() as place:
        folder = timed("save", lambda: manifest.save(Path(place) / "large"))
        opened = timed("open without reading", lambda: scan_manifest(folder))
        timed("count what was opened, by query", lambda: opened.rows.group_by("label", "split").len().collect())
        timed("load, with its identity checked", lambda: Manifest.load(folder))


if __name__ == "__main__":
    main()
