"""How long the statistics of a large study take: 12 methods, 3 seeds, 10,000 images, 100 classes.

python benchmarks/statistics_speed.py

Predictions are random; evaluation, intervals, redraws for macro-F1 and differences from `ce` are what `tailwise report` computes.
"""

from __future__ import annotations

import time

import numpy as np

from tailwise.counts import ClassCounts
from tailwise.evaluation import Measured, Predictions, SplitPredictions, evaluate, summarise
from tailwise.groups import make_groups

METHODS, SEEDS, CLASSES, IMAGES = 12, 3, 100, 10_000


def predictions(skill: float, generator: np.random.Generator) -> Predictions:
    """Make the logits of one network that leans towards the truth."""
    labels = np.arange(IMAGES) % CLASSES
    logits = generator.standard_normal((IMAGES, CLASSES), dtype=np.float32)
    logits[np.arange(IMAGES), labels] += np.float32(skill)
    counts = ClassCounts(tuple(int(500 * 0.01 ** (label / (CLASSES - 1))) for label in range(CLASSES)))
    test = SplitPredictions(tuple(f"image-{row:05}" for row in range(IMAGES)), labels, logits)
    return Predictions({"test": test}, tuple(f"class {label}" for label in range(CLASSES)), counts, make_groups(counts.real), "")


def main() -> None:
    """Print seconds and what was said."""
    generator = np.random.default_rng(0)
    skills = {"ce" if method == 0 else f"method-{method}": 2 + 0.05 * method for method in range(METHODS)}
    networks = {name: [predictions(skill, generator) for _ in range(SEEDS)] for name, skill in skills.items()}
    begin = time.perf_counter()
    rows = [Measured(name, [evaluate(network, "test") for network in of_method]) for name, of_method in networks.items()]
    evaluated = time.perf_counter()
    summary = summarise(rows, against="ce")
    done = time.perf_counter()
    print(f"{METHODS} methods x {SEEDS} seeds x {IMAGES:,} images x {CLASSES} classes")
    print(f"evaluate {evaluated - begin:.2f} s, summarise {done - evaluated:.2f} s, together {done - begin:.2f} s")
    print(summary.differences[-1].words)


if __name__ == "__main__":
    main()
