"""A tiny long-tailed set of four quarters of an image, and runs on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tailwise.counts import ClassCounts
from tailwise.groups import thirds
from tailwise.knobs import with_knobs
from tailwise.pixels import Rows
from tailwise.recipe import Recipe
from tailwise.registry import Row, load, parse_row
from tailwise.store import Store
from tailwise.study.runs import apply_posthoc
from tailwise.training import Outcome, Root, RunSettings, Splits, run_method

COUNTS = (13, 6, 3, 1)  # a class of one image; 23 rows, so that a batch of 5 leaves an odd one of 3


def toy_rows(counts: tuple[int, ...], seed: int, prefix: str) -> Rows:
    """Each class is a bright quarter of an 8 x 8 image, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = rng.integers(0, 90, (len(labels), 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[top : top + 4, left : left + 4] += 120
    ids = tuple(f"{prefix}{i:03d}" for i in range(len(labels)))
    return Rows(ids, images.astype(np.uint8), np.arange(len(labels)), labels.astype(np.int64))


def toy_splits(counts: tuple[int, ...] = COUNTS) -> Splits:
    rows = {
        "train": toy_rows(counts, 0, "train"),
        "val": toy_rows((3,) * len(counts), 1, "val"),
        "test": toy_rows((5,) * len(counts), 2, "test"),
    }
    names = tuple(f"class {c}" for c in range(len(counts)))
    return Splits(rows, names, ClassCounts(counts), thirds(counts), {name: name for name in rows})


def toy_recipe(**fields: object) -> Recipe:
    recipe = load("recipe", "demo")
    settings = {"epochs": 5, "batch_size": 5, "second.epochs": 1, "second.batch_size": 5, "optimiser.rate": 0.05}
    return with_knobs(recipe, settings | fields, "recipe")


Runner = Callable[..., tuple[Outcome, np.ndarray]]


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """Run a row on the tiny set; returns what it left and its corrected test logits."""

    def make(
        row: Row | str, store: str = "store", splits: Splits | None = None, seed: int = 0, recipe: Recipe | None = None, **settings: object
    ):
        row = parse_row(row) if isinstance(row, str) else row
        recipe = recipe or toy_recipe()
        root = Root(splits or toy_splits(), recipe, recipe.net, seed, {"test": "yes"})
        outcome, posthoc = run_method(root, row.method, row.modifiers, RunSettings(Store(tmp_path / store), **settings))
        predictions, _, _ = apply_posthoc(outcome.predictions(), posthoc)
        return outcome, np.asarray(predictions.splits["test"].logits)

    return make
