"""What a method does on a set that everybody knows: its plan, where no data are at hand."""

from __future__ import annotations

import numpy as np

from tailwise.counts import ClassCounts
from tailwise.errors import TailwiseError
from tailwise.groups import make_groups
from tailwise.pixels import Rows
from tailwise.registry import Row, load
from tailwise.training import Root, Splits, plan_method

RECIPE = "cifar"
TRAINED_ON = "CIFAR-10-LT, ratio 100, recipe cifar"
COUNTS = tuple(int(5000 * 0.01 ** (c / 9)) for c in range(10))


def typical_plan(row: Row) -> tuple[str, ...]:
    """Give the plan of a row on CIFAR-10-LT with ratio 100, a sentence a stage; where it is refused there, why.

    No image is needed for it. Splits that only the user may allow as training rows are allowed here, since nothing is trained.
    """
    recipe = load("recipe", RECIPE)
    splits = {"train": COUNTS, "val": (20,) * 10, "test": (100,) * 10}
    blank = np.zeros((1, 32, 32, 3), np.uint8)
    rows = {name: _rows(name, counts, blank) for name, counts in splits.items()}
    classes = tuple(f"class {c}" for c in range(10))
    data = Splits(rows, classes, ClassCounts(COUNTS), make_groups(COUNTS), {name: name for name in rows}, frozenset({"val", "test"}))
    try:
        return tuple(plan_method(Root(data, recipe, recipe.net, 0, {}), row.method, row.modifiers).sentences())
    except TailwiseError as refused:
        return (f"refused: {refused}",)
    except Exception as error:  # a user's own code may run here, and its card is still to be read
        return (f"cannot be planned: {type(error).__name__}: {' '.join(str(error).split())}",)


def _rows(name: str, counts: tuple[int, ...], blank: np.ndarray) -> Rows:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return Rows(tuple(f"{name}-{i}" for i in range(len(labels))), blank, np.zeros(len(labels), np.int64), labels)
