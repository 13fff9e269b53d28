"""A set, a recipe and runs for the tests of the loop."""

from __future__ import annotations

import functools
import hashlib
import random
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tailwise.counts import ClassCounts
from tailwise.groups import make_groups
from tailwise.optim import SGD, Cosine, Steps
from tailwise.pixels import Rows
from tailwise.pixels.augment import PadCrop
from tailwise.recipe import Recipe
from tailwise.registry import parse_row
from tailwise.store import Store
from tailwise.training import Outcome, Plan, Root, RunSettings, Splits, plan_method, run_method
from training import seam_objectives as seams

COUNTS = (28, 11, 6, 4)
RECIPE = Recipe(
    name="seam",
    net="resnet8",
    epochs=5,
    batch_size=16,
    optimiser=SGD(0.05, momentum=0.9, weight_decay=5e-4),
    schedule=Steps(1, (0.8,), (0.1,)),
    augment=(PadCrop(1, "edge"),),
    second=Recipe(
        name="seam, second", net="resnet8", epochs=2, batch_size=16, optimiser=SGD(0.05), schedule=Cosine(), augment=(PadCrop(1, "edge"),)
    ),
)
"""49 training rows: three full batches and one of a single row."""

STEPS = 4
CASES: dict[str, Callable[[], tuple[Any, tuple[Any, ...], Recipe]]] = {
    "rows grow in the middle": lambda: (seams.growing(), (), RECIPE),
    "two streams and branches": lambda: (seams.two_streams(), (), RECIPE),
    "momentum copy and queue": lambda: (seams.remembering(), (), RECIPE),
    "bilevel step": lambda: (seams.bilevel(), (), RECIPE),
    "best, then another stage": lambda: (seams.best_then_rest(), (), RECIPE),
    "decided by results": lambda: (seams.decided(2.0), (), RECIPE),
    "second recipe": lambda: (seams.head_again(), (), RECIPE),
    "rows grow, sam, ema and drw": lambda: (seams.growing(), parse_row("ce+drw+sam+ema(decay=0.8)").modifiers, RECIPE),
    "queue, accumulated and averaged": lambda: (
        seams.remembering(),
        parse_row("ce+ema(decay=0.8)").modifiers,
        replace(RECIPE, accumulate=3),
    ),
    "ldam-drw": lambda: (parse_row("ldam-drw").method, (), RECIPE),
}
"""Everything that is interrupted, killed and shared."""


@functools.cache
def image_splits() -> Splits:
    """Four classes of 8 x 8 grey images, a bright corner each, in noise."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.repeat(np.arange(4), COUNTS), np.tile(np.arange(4), 12)])
    images = rng.integers(0, 150, (len(labels), 8, 8, 1), dtype=np.uint8)
    for row, label in enumerate(labels):
        down, across = divmod(int(label), 2)
        images[row, 4 * down : 4 * down + 4, 4 * across : 4 * across + 4] += 60
    return _splits(images, labels)


@functools.cache
def feature_splits() -> Splits:
    """The same classes as vectors of twelve numbers."""
    labels = np.concatenate([np.repeat(np.arange(4), COUNTS), np.tile(np.arange(4), 12)])
    return _splits(
        np.random.default_rng(1).normal(size=(len(labels), 12)).astype(np.float32) + np.eye(4, 12, dtype=np.float32)[labels], labels
    )


def _splits(packed: Any, labels: Any) -> Splits:
    total = sum(COUNTS)
    bounds = {"train": (0, total), "val": (total, total + 24), "test": (total + 24, total + 48)}
    rows = {
        name: Rows(tuple(f"{name}-{i:03d}" for i in range(b - a)), packed, np.arange(a, b), labels[a:b].astype(np.int64))
        for name, (a, b) in bounds.items()
    }
    contents = {name: hashlib.sha256(packed[a:b].tobytes()).hexdigest() for name, (a, b) in bounds.items()}
    return Splits(rows, ("nw", "ne", "sw", "se"), ClassCounts(COUNTS), make_groups(COUNTS, "thirds"), contents)


def make_root(recipe: Recipe = RECIPE, splits: Splits | None = None, seed: int = 0) -> Root:
    """The root of a run: images, or features where the splits hold some."""
    splits = splits or image_splits()
    return Root(splits, recipe, recipe.net if len(splits.shape) == 3 else "features", seed, {"torch": torch.__version__})


def new_store() -> Store:
    """An empty store."""
    return Store(Path(tempfile.mkdtemp(prefix="tailwise-test-")))


def train(method: Any, modifiers: Iterable[Any] = (), store: Store | None = None, root: Root | None = None, **settings: Any) -> Outcome:
    """Run a method, or a row written as text, in a store of its own unless one is given."""
    if isinstance(method, str):
        row = parse_row(method)
        method, modifiers = row.method, row.modifiers
    return run_method(root or make_root(), method, tuple(modifiers), RunSettings(store or new_store(), **settings))[0]


def plan(method: Any, modifiers: Iterable[Any] = (), root: Root | None = None) -> Plan:
    """Plan a method, or a row written as text."""
    if isinstance(method, str):
        row = parse_row(method)
        method, modifiers = row.method, row.modifiers
    return plan_method(root or make_root(), method, tuple(modifiers))


def case(name: str, store: Store | None = None, **settings: Any) -> Outcome:
    """Run one of the cases."""
    method, modifiers, recipe = CASES[name]()
    return train(method, modifiers, store, make_root(recipe), **settings)


def interrupted_case(name: str, stops: int, seed: int) -> tuple[Outcome, int]:
    """Run a case that is interrupted after random numbers of steps, and begun again on the same store each time."""
    store, rng, made = new_store(), random.Random(seed), 0
    while True:
        left = rng.randint(1, 4) if made < stops else 10**9

        def ask() -> bool:
            nonlocal left
            left -= 1
            return left <= 0

        try:
            return case(name, store, interrupted=ask), made
        except KeyboardInterrupt:
            made += 1


def differing(one: Outcome, other: Outcome) -> list[str]:
    """Name the tensors in which two final states differ in any bit, or that only one has."""
    a, b = one.state.tensors, other.state.tensors
    names: Sequence[str] = sorted(set(a) | set(b))
    return [n for n in names if n not in a or n not in b or a[n].dtype != b[n].dtype or not torch.equal(a[n], b[n])]
