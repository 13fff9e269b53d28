"""Pace: how long a step takes here, measured on the leg itself; nothing is stored of what it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from tailwise import processes
from tailwise.pixels.cores import cores
from tailwise.specification import key_of
from tailwise.store import Store
from tailwise.training import Leg, Root
from tailwise.training.line import make_loop
from tailwise.training.modes import plainly
from tailwise.training.streams import StreamReader, cut, read_batch

T = TypeVar("T")

FEW_PIXELS = 8 * 64 * 64
"""Pixels that a measured step sees, where one of a whole batch would take long."""

SHORT = 0.05
"""Seconds below which a step of a whole batch is measured as it is."""

CLEARLY = 0.9
"""More threads are taken where a step takes no more than this share of what fewer take: less may be chance, and cores have other work."""


def fastest_threads(root: Root, leg: Leg, store: Store, device: torch.device) -> int:
    """Give the number of torch threads that trains fastest here: measured once, and kept in the store, since it is in keys.

    Args:
        root: of a run.
        leg: that is measured, its data zeros where they are not decoded yet.
        store: keeps the number.
        device: where it trains.
    """
    numbers = [1 << bit for bit in range(cores().bit_length())]
    key = key_of(root.backbone, list(root.splits.shape), leg.recipe.batch_size, dict(root.numerics), cores(), repr(leg.stage.objective))
    kept = processes.told(lambda: store.read_json("threads", key))
    if kept is None:
        paces = {n: seconds_a_step(root, replace(leg, recipe=replace(leg.recipe, threads=n)), device) for n in numbers}
        best = numbers[0]
        for number in numbers[1:]:
            best = number if paces[number] < CLEARLY * paces[best] else best
        kept = processes.told(lambda: store.write_json("threads", key, {"threads": best}) and {"threads": best})
    return int(kept["threads"])


def seconds_a_step(root: Root, leg: Leg, device: torch.device) -> float:
    """Measure a step: reading a whole batch, and working on a few rows of it, or on all where that is soon done."""
    with plainly(leg.recipe.threads):
        loop = make_loop(root, leg, None, device)
        readers = {name: StreamReader(name, stream, root, leg, device) for name, stream in leg.stage.streams.items()}
        read_batch(readers, leg, 0, root.seed, loop.objective)  # draws the order of an epoch
        reading, (batch, now) = _timed(lambda: read_batch(readers, leg, min(1, leg.steps - 1), root.seed, loop.objective))
        rows = len(batch["main"])
        least = 2 * leg.recipe.accumulate  # batch normalisation needs two rows of every stream, in each accumulated part
        few = cut(batch, max(1, min(rows // _few_rows(root.splits.shape), *(len(rows) // least for rows in batch.values()))))[0]
        first, _ = _timed(lambda: loop.run_step(few, now))
        working = min(first, _timed(lambda: loop.run_step(few, now))[0]) * rows / len(few["main"])
        if processes.told(lambda: working < SHORT):
            working = min(_timed(lambda: loop.run_step(batch, now))[0] for _ in range(2))
    return reading + working


def _few_rows(shape: Sequence[int]) -> int:
    return 8 if len(shape) == 1 else max(2, min(8, FEW_PIXELS // (shape[0] * shape[1])))


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    begun = time.perf_counter()
    done = work()
    return time.perf_counter() - begun, done
