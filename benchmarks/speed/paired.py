"""What bfloat16 costs: the same networks trained in float32 and in bfloat16, and their difference on the same test images.

    .venv/bin/python benchmarks/speed/paired.py                    # half an hour of a core
    .venv/bin/python benchmarks/speed/paired.py --epochs 200       # the published length

Writes a paragraph into `docs/performance.md`. What is trained is kept in `tailwise-out/paired`, so it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from cifar100 import real_pixels

from speed import ROOT
from tailwise.evaluation import Measured, summarise
from tailwise.study.compare import Study

PAGE, OUT = ROOT / "docs/performance.md", ROOT / "tailwise-out/paired"
BEGIN, END = "<!-- paired: made by benchmarks/speed/paired.py -->", "<!-- end of paired -->"
METHODS, SEEDS = "ce", 3
PRECISIONS = ("fp32", "bf16")


def main() -> int:
    """Train both, hold them against each other, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = real_pixels().save(Path(place) / "cifar100-lt.npz")
        running = [subprocess.Popen(_words(data, precision, asked.epochs)) for precision in PRECISIONS]
        if any(one.wait() for one in running):
            return 1
    studies = {precision: Study.load(OUT / f"{precision}-{asked.epochs}") for precision in PRECISIONS}
    said = []
    for method in METHODS.split(","):
        rows = [Measured(f"{method}, {p}", [run.evaluate("test") for run in study.runs[method]]) for p, study in studies.items()]
        summary = summarise(rows, against=rows[0].name)
        cells = "; ".join(f"{row.name}: {row.cells['macro']} macro, {row.cells['few']} few" for row in summary.rows)
        said.append(f"- {cells}. {summary.differences[0].words}")
    held = f"{SEEDS} seeds, 10,000 test images, both precisions from the same draws"
    head = f"CIFAR-100-LT at ratio 100, recipe `cifar` cut to {asked.epochs} epochs, {held}:"
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{head}\n\n" + "\n".join(said) + f"\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(head, *said, sep="\n")
    return 0


def _words(data: Path, precision: str, epochs: int) -> list[str]:
    words = ["compare", str(data), "--recipe", "cifar", "--methods", METHODS, "--seeds", str(SEEDS)]
    settings = ["--set", f"recipe.epochs={epochs}", "--threads", "1", "--precision", precision]
    return [sys.executable, "-m", "tailwise", *words, *settings, "--out", str(OUT / f"{precision}-{epochs}")]


if __name__ == "__main__":
    sys.exit(main())
