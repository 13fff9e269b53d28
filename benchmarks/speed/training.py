"""Training: a step and an epoch of CIFAR-100-LT beside the peer, after both have been found to do the same mathematics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cifar100 import Pixels
from gate import GATE, GATE_STEPS, GENTLE, gap
from numpy.typing import NDArray
from peer import ResNet32, endless, optimiser, test_pass, train_step
from rounds import Timed, race
from torch import Tensor
from torch.nn import functional

from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study.numerics import check_precision
from tailwise.study.setup import Setup, make_setup
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training.line import make_loop
from tailwise.training.speed import COMPILED, FAST, PLAIN, compile_network
from tailwise.training.streams import StreamReader, read_batch
from tailwise.training.sweep import sweep

CPU = torch.device("cpu")
STEP_GFLOP = 3 * 2 * 68.87e6 * 128 / 1e9
"""Of a step of ResNet-32 on 128 images: three times the forward's multiply-adds."""


class Ours:
    """The workbench's own loop and sweep, step by step."""

    def __init__(self, data: Path, store: Store, precision: Any = "fp32", rate: float | None = None, speed: Any = "fast") -> None:
        settings = () if rate is None else (f"recipe.optimiser.rate={rate}",)
        words = TrainingWords(recipe="cifar", precision=precision, threads=torch.get_num_threads(), settings=settings, speed=speed)
        setup: Setup = make_setup(data, parse_rows("ce"), DataWords(), words, store=store).ready()
        self.root = setup.root(0)
        self.leg = setup.plan(setup.rows[0], 0).legs[0]
        self.loop = make_loop(self.root, self.leg, None, CPU)
        self.readers = {name: StreamReader(name, stream, self.root, self.leg, CPU) for name, stream in self.leg.stage.streams.items()}
        self.done = 0
        self.setup: float | None = None
        if speed == COMPILED:
            self.setup = compile_network(self.loop, [read_batch(self.readers, self.leg, 0, 0)])

    def step(self) -> Tensor:
        """Make the next step, with the question whether its loss was finite, and give the images that it saw."""
        batch, now = read_batch(self.readers, self.leg, self.done, self.root.seed, self.loop.objective)
        self.loop.run_step(batch, now)
        _ = self.loop.stray
        self.done += 1
        return batch["main"].images

    def test(self, images: int) -> NDArray[np.float32]:
        """Give logits of the first test images."""
        rows = self.root.splits.rows["test"]
        rows = replace(rows, ids=rows.ids[:images], positions=rows.positions[:images], targets=rows.labels[:images])
        predictor = self.loop.objective.predictor(self.loop.net).eval()
        found = sweep(predictor, rows, self.leg.recipe.normalise, CPU, self.root.numerics["precision"]).logits
        predictor.train()
        return found


def check_same_mathematics(data: Path, store: Store, speeds: Sequence[str], steps: int = GATE_STEPS) -> dict[str, float]:
    """Train the peer's network on the very images that ours sees, from the same weights, and hold the losses against each other.

    Once both run freely, at a rate so small that a difference of rounding stays one. At the recipe's own rate the first steps multiply it,
    whoever makes them, by three to five each, in float64 too; so there the peer is given our weights before each step.

    Args:
        data: what is trained on.
        store: for its pixels.
        speeds: of our loop.
        steps: to hold against each other.

    Returns:
        Largest relative difference of a step's losses, for each of both.

    Raises:
        SystemExit: one is above the gate: nothing is timed then.
    """
    found = {
        f"{speed}, {name}": gap(Ours(data, store, rate=rate, speed=speed), steps, together)
        for speed in speeds
        for name, rate, together in (("free", GENTLE, False), ("together", None, True))
    }
    if not max(found.values()) <= GATE:
        raise SystemExit(f"the losses of {steps} steps differ by {found} from the peer's, allowed are {GATE:g}: nothing is timed")
    return found


class Published:
    """The peer's loop, step by step."""

    def __init__(self, pixels: Pixels, workers: int = 0) -> None:
        torch.manual_seed(0)
        self.net = ResNet32().train()
        self.sgd = optimiser(self.net)
        self.pixels = pixels
        self.batches = endless(pixels.train, pixels.train_labels, workers)

    def step(self) -> None:
        """Make the next step."""
        train_step(self.net, self.sgd, *next(self.batches))

    def test(self, images: int) -> None:
        """Measure the first test images."""
        test_pass(self.net, self.pixels.test[:images], self.pixels.test_labels[:images])


class Tuned(Published):
    """The peer with channels_last and torch.compile, reading its loss at the end alone."""

    def __init__(self, pixels: Pixels) -> None:
        super().__init__(pixels)
        self.net = self.net.to(memory_format=torch.channels_last)
        self.loss = torch.compile(lambda images, labels: functional.cross_entropy(self.net(images), labels))

    def step(self) -> None:
        """Make the next step."""
        images, labels = next(self.batches)
        while len(images) < 128:  # a short batch would be compiled anew
            images, labels = next(self.batches)
        loss = self.loss(images.contiguous(memory_format=torch.channels_last), labels)
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()


def precisions() -> tuple[str, ...]:
    """Give what this machine can compute in."""
    try:
        check_precision("bf16", CPU)
    except Exception:
        return ("fp32",)
    return ("fp32", "bf16")


def gemm_gflops() -> float:
    """Give the rate of a large float32 product, the yardstick of this process."""
    import time

    a = torch.randn(1536, 1536)
    _ = a @ a
    begin = time.perf_counter()
    for _ in range(5):
        _ = a @ a
    return 5 * 2 * 1536**3 / (time.perf_counter() - begin) / 1e9


def rows(pixels: Pixels, place: Path, rounds: int, smoke: bool = False) -> Iterator[Timed]:
    """Time a step and a part of an epoch.

    Args:
        pixels: the data.
        place: a folder for the store.
        rounds: that count.
        smoke: whether all is as small as it can be, to see that it runs: figures mean nothing then.
    """
    data, store = pixels.save(place / "data.npz"), Store(place / "store")
    speeds = (PLAIN, FAST) if smoke else (PLAIN, FAST, COMPILED)
    gate = check_same_mathematics(data, store, speeds, 2 if smoke else GATE_STEPS)
    steps, tested = (1, 20) if smoke else (3, 700)
    ours = {
        f"tailwise, {precision}" + (f", {speed}" if speed != FAST else ""): Ours(data, store, precision, speed=speed)
        for speed in speeds[1:]
        for precision in precisions()[: 1 if smoke else None]
    }
    published = Published(pixels)
    peers: dict[str, Any] = {"published loop": published} | ({} if smoke else {"tuned: channels_last, compile": Tuned(pixels)})
    gemm = gemm_gflops()

    def more(name: str, wall: float) -> Mapping[str, Any]:
        gflops = steps * STEP_GFLOP / wall
        return {
            "gflops": round(gflops, 1),
            "of_gemm": round(gflops / gemm, 2),
            "gate": {name: float(f"{gap:.1e}") for name, gap in gate.items()},
        }

    def stepping(one: Any) -> Any:
        return lambda number: [one.step() for _ in range(steps)]

    bars = {"tailwise, fp32": (1.2, 1.45), "tailwise, bf16": (1.8, 2.3)}
    bars |= {f"{name}, {COMPILED}": bar for name, bar in bars.items()}
    work, before = "training step, ResNet-32, batch 128", {name: one.setup for name, one in ours.items() if one.setup}
    timed = race(work, {n: stepping(one) for n, one in {**peers, **ours}.items()}, rounds, bars, more, before)
    yield from (_paying(row, timed, steps) for row in timed)

    def epoch(one: Any) -> Any:
        def run(number: int) -> None:
            for _ in range(1 if smoke else 6):
                one.step()
            one.test(tested)

        return run

    bars = {"tailwise, fp32": (1.2, 1.5), "tailwise, bf16": (2.1, 2.6)}
    bars |= {f"{name}, {COMPILED}": bar for name, bar in bars.items()}
    work = "epoch with its test pass (6 of 85 steps, 700 of 10,000 test images)"
    yield from race(work, {n: epoch(one) for n, one in {"published loop": published, **ours}.items()}, rounds, bars)


def _paying(row: Timed, timed: Sequence[Timed], steps: int) -> Timed:
    """Add to what was compiled after how many steps it has paid its set-up, beside the same loop eager."""
    eager = next((one.wall for one in timed if f"{one.variant}, {COMPILED}" == row.variant), None)
    if eager is None or eager <= row.wall:
        return row
    return replace(row, more={**(row.more or {}), "pays_after": round(row.setup * steps / (eager - row.wall))})
