"""How fast: the loop and its parts beside what published code does, in rotated rounds of one process; writes `docs/performance.md`.

    .venv/bin/python benchmarks/speed/speed.py                  # all rows; a quarter of an hour of one free core
    .venv/bin/python benchmarks/speed/speed.py crops            # some of them
    .venv/bin/python benchmarks/speed/speed.py --smoke          # whether it runs, in seconds; writes nothing

A ratio is peer / ours of the same round, so that what else the machine does falls on both. A row is called faster only where the smallest
ratio of all rounds is above 1. Before training is timed, both sides train on the same pixels from the same weights, and their losses must
agree.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import crops
import features
import metadata
import numpy as np
import plan
import torch
from page import write_page
from PIL import Image
from rounds import Timed, machine

import tailwise  # noqa: F401 - first, since it says how torch's threads wait
import training
from training import Pixels, made_up

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "../shared/data/cifar-100-lt/cifar100_lt100.npz"
RESULTS = ROOT / "benchmarks/speed/results.jsonl"

WORKS: dict[str, Callable[[Pixels, Path, int, bool], Iterator[Timed]]] = {
    "training": training.rows,
    "features": features.rows,
    "plan": plan.rows,
    "metadata": lambda pixels, place, rounds, smoke: metadata.rows(place, rounds, smoke),
    "crops": lambda pixels, place, rounds, smoke: crops.rows(pixels, rounds, smoke),
}


def real_pixels() -> Pixels:
    """Read CIFAR-100-LT.

    Raises:
        SystemExit: it is not there.
    """
    if not SHARED.is_file():
        raise SystemExit(f"{SHARED} is not there; these figures are of real pixels")
    held = np.load(SHARED)

    def part(name: str) -> tuple[np.ndarray, np.ndarray]:
        data, offsets = held[f"{name}_webp"], held[f"{name}_offsets"].astype(int)
        pictures = [Image.open(io.BytesIO(data[a:b].tobytes())).convert("RGB") for a, b in pairwise(offsets)]
        pixels = np.concatenate([np.asarray(picture).reshape(-1, 32, 32, 3) for picture in pictures])
        return pixels, np.repeat(np.arange(len(pictures)), held[f"{name}_counts"])

    return Pixels(*part("train"), *part("test"))


def main(words: Sequence[str] | None = None) -> int:
    """Time what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", choices=[*WORKS, []], help="which; all where none is named")
    parser.add_argument("--rounds", type=int, default=7, help="that count, after one that is thrown away")
    parser.add_argument("--smoke", action="store_true", help="run everything once, as small as it can be, and write nothing")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    pixels = made_up() if asked.smoke else real_pixels()
    said = machine()
    with tempfile.TemporaryDirectory() as place:
        for work in asked.works or WORKS:
            timed = list(WORKS[work](pixels, Path(place), 1 if asked.smoke else asked.rounds, asked.smoke))
            for row in timed:
                median, least, most = row.ratio
                print(f"{row.work}: {row.variant} {median:.2f} ({least:.2f} to {most:.2f}) times {row.peer}", flush=True)
            if not asked.smoke:
                _keep(work, timed, said)
                write_page(RESULTS, ROOT / "docs/performance.md")
    return 0


def _keep(work: str, timed: Sequence[Timed], said: dict[str, object]) -> None:
    """Put a work's rows in the place of its earlier ones."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    others = [line for line in lines if json.loads(line)["name"] != work]
    mine = [json.dumps({"name": work, **json.loads(row.line(said))}, ensure_ascii=False) for row in timed]
    RESULTS.write_text("\n".join([*others, *mine]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
