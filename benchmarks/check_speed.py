"""What `tailwise check` costs: 35,000 JPEG files of 84 pixels beside a loop that only decodes them, and near pairs of a million hashes.

python benchmarks/check_speed.py [IMAGES] [FOLDER]

The files are written below FOLDER (a temporary one by default) and deleted in the end. A round is the plain loop (Pillow, one file
after the other, RGB pixels, nothing else), a first check with an empty store, and a second one with the store that it left; rounds
alternate so that what else the machine does falls on all three. The load is said with each, because seconds mean little without it.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tailwise.checks.nearness import near_pairs

IMAGES, SIDE, CLASSES, ROUNDS, HASHES = 35_000, 84, 100, 3, 1_000_000


def write(folder: Path, images: int) -> list[Path]:
    """Write smooth coloured pictures with some noise, which are as large as photographs' files and are all different."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(images):
        file = folder / f"class{number % CLASSES:03}" / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        noise = rng.integers(0, 24, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(np.asarray(coarse) // 4 * 3 + noise).save(file, quality=90)
        files.append(file)
    return files


def decode(files: list[Path]) -> None:
    """Decode every file, and do nothing with it."""
    for file in files:
        with Image.open(file) as image:
            image.convert("RGB").load()


def seconds(step: Callable[[], object]) -> float:
    """Give the seconds that a step takes."""
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def check_in(store: Path, folder: Path) -> None:
    """Check a folder with a store of its own, as the command does."""
    import tailwise as tw

    os.environ["TAILWISE_STORE"] = str(store)
    tw.check(folder)


def said(name: str, taken: list[float], plain: list[float]) -> str:
    """Say seconds with their spread, and the ratio to the plain loop of the same round."""
    ratios = [one / other for one, other in zip(taken, plain, strict=True)]
    spread = f"{min(taken):.1f} to {max(taken):.1f}"
    return f"{name:34} {statistics.median(taken):6.1f} s ({spread}), {statistics.median(ratios):.2f} of the plain loop"


def check_images(images: int, place: Path) -> None:
    """Print what the plain loop, a first and a second check take."""
    files = write(place / "images", images)
    megabytes = sum(file.stat().st_size for file in files) / 2**20
    print(f"{images:,} JPEG files of {SIDE} pixels, {megabytes:.0f} MB; {len(os.sched_getaffinity(0))} cores")
    plain, first, second = [], [], []
    for number in range(ROUNDS):
        store = place / f"store{number}"
        plain.append(seconds(lambda: decode(files)))
        first.append(seconds(lambda store=store: check_in(store, place / "images")))  # type: ignore[misc]
        second.append(seconds(lambda store=store: check_in(store, place / "images")))  # type: ignore[misc]
        load = os.getloadavg()[0]
        print(f"  round {number + 1}: {plain[-1]:.1f}, {first[-1]:.1f} and {second[-1]:.1f} s; load {load:.1f}", flush=True)
    for name, taken in (("decoding only", plain), ("check", first), ("check again, from the store", second)):
        print(said(name, taken, plain))


def pair_hashes(distance: int) -> None:
    """Print what the pairs of a million random hashes within a distance take."""
    hashes = np.random.default_rng(0).integers(0, 2**64, HASHES, dtype=np.uint64)
    taken = [seconds(lambda: near_pairs(hashes, distance)) for _ in range(ROUNDS)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(
        f"pairs of {HASHES:,} random hashes within {distance} bits: {statistics.median(taken):.1f} s "
        f"({min(taken):.1f} to {max(taken):.1f}); {peak:.2f} GB at most so far; load {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Print all figures."""
    from tailwise.checks.findings.near_duplicates import DISTANCE

    images = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    pair_hashes(DISTANCE)
    place = Path(tempfile.mkdtemp(dir=sys.argv[2] if len(sys.argv) > 2 else None))
    try:
        check_images(images, place)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
