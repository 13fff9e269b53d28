"""Our loop on arrays, as the script drives it: no tables, no study, the same lines, states and steps as behind `tailwise train`."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cifar100 import CLASSES, Pixels

from tailwise.counts import ClassCounts
from tailwise.groups import make_groups
from tailwise.pixels import Rows
from tailwise.recipe import Recipe
from tailwise.recipes.cifar import RECIPE
from tailwise.registry import parse_row
from tailwise.training import Root, Splits, plan_method
from tailwise.training.line import make_loop
from tailwise.training.precision import BFLOAT16, FLOAT32
from tailwise.training.replay import replay_steps
from tailwise.training.streams import StreamReader, read_batch

Line = dict[str, Any]
"""A line of results."""

METHOD = parse_row("ce").method
PRECISIONS = {"fp32": FLOAT32, "bf16": BFLOAT16}


@dataclass(frozen=True)
class Work:
    """What every part is given.

    Attributes:
        place: the unpacked pixels.
        out: a folder for what is no line of results.
        device: where to compute.
        end: when a part tells what it has, on this process's clock.
        smoke: whether all is as small as it can be.
        replay: whether steps are replayed, as the gate has found.
    """

    place: Path
    out: Path
    device: torch.device
    end: float
    smoke: bool
    replay: bool

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.perf_counter()

    @cached_property
    def pixels(self) -> Pixels:
        """The data, mapped."""
        return Pixels(*(np.load(self.place / f"{name}.npy", mmap_mode="r") for name in ("train", "train_labels", "test", "test_labels")))

    @property
    def recipe(self) -> Recipe:
        """The published recipe, or one that ends at once."""
        return replace(RECIPE, epochs=1, batch_size=32) if self.smoke else RECIPE

    def root(self, precision: str = "fp32", seed: int = 0, recipe: Recipe | None = None, rows: int | None = None) -> Root:
        """Give the root of a run.

        Args:
            precision: `fp32` or `bf16`.
            seed: of the run.
            recipe: instead of the published one.
            rows: about how many training rows, spread over the classes; all where nothing is said.
        """
        numerics = {"device": self.device.type, "precision": PRECISIONS[precision]}
        return Root(splits_of(self.pixels, rows), recipe or self.recipe, "resnet32", seed, numerics)


def splits_of(pixels: Pixels, rows: int | None = None) -> Splits:
    """Give the data as training sees it."""
    every = slice(None, None, 1 if rows is None else max(1, len(pixels.train) // rows))
    parts = {"train": (pixels.train[every], pixels.train_labels[every]), "test": (pixels.test, pixels.test_labels)}
    held = {name: Rows(tuple(map(str, range(len(y)))), x, np.arange(len(y)), np.array(y)) for name, (x, y) in parts.items()}
    counts = tuple(np.bincount(held["train"].labels, minlength=CLASSES).tolist())
    contents = {name: hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest() for name, (x, _) in parts.items()}
    return Splits(held, tuple(map(str, range(CLASSES))), ClassCounts(counts), make_groups(counts), contents)


class Steps:
    """Our loop, step by step, from its beginning."""

    def __init__(self, root: Root, device: torch.device, replay: bool) -> None:
        self.root = root
        self.leg = plan_method(root, METHOD).legs[0]
        self.loop = make_loop(root, self.leg, None, device)
        self.readers = {name: StreamReader(name, stream, root, self.leg, device) for name, stream in self.leg.stage.streams.items()}
        self.done = 0
        if replay:
            replay_steps(self.loop)

    def step(self) -> None:
        """Make the next step."""
        batch, now = read_batch(self.readers, self.leg, self.done, self.root.seed, self.loop.objective)
        self.loop.run_step(batch, now)
        self.done += 1


class Sayings(logging.Handler):
    """Keeps what the package says, such as that steps are not replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []
        logging.getLogger("tailwise").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a sentence."""
        self.sentences.append(record.getMessage())
