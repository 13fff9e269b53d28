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
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import crops
import features
import metadata
import plan
import torch
from cifar100 import Pixels, made_up, real_pixels
from page import write_page
from rounds import Timed, machine

import tailwise  # noqa: F401 - first, since it says how torch's threads wait
import training

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/speed/results.jsonl"

WORKS: dict[str, Callable[[Pixels, Path, int, bool], Iterator[Timed]]] = {
    "training": training.rows,
    "features": features.rows,
    "plan": plan.rows,
    "metadata": lambda pixels, place, rounds, smoke: metadata.rows(place, rounds, smoke),
    "crops": lambda pixels, place, rounds, smoke: crops.rows(pixels, rounds, smoke),
}


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
