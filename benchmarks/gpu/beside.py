"""The parts in which the published loop takes part: the gate, and its own epochs."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from cifar100 import Pixels
from gate import GATE, GATE_STEPS, GENTLE, gap
from ours import Line, Sayings, Steps, Work
from peer import TRAIN, Pictures, ResNet32, optimiser, test_pass, train_step
from torch.utils.data import DataLoader

from tailwise.training.modes import plainly
from tailwise.training.replay import WARM_UP, Replayed

GATED = 350
"""About how many rows the gate trains on: three steps an epoch, the last one short, so that both shapes are recorded within its steps."""


def gate(work: Work) -> Iterator[Line]:
    """Hold our losses against the peer's on the same images, in float32 without TF32, plain and replayed; then look for hidden waits.

    The gate is open where plain steps agree; steps are replayed from here on where replayed ones agree too.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    said = Sayings()
    steps, rows = (4, 80) if work.smoke else (GATE_STEPS, GATED)
    gentle = replace(work.recipe, optimiser=replace(work.recipe.optimiser, rate=GENTLE))

    def gaps(replay: bool) -> dict[str, Any]:
        free, together = (Steps(work.root(recipe=recipe, rows=rows), work.device, replay) for recipe in (gentle, None))
        with plainly(1):
            found: dict[str, Any] = {"free": gap(free, steps, False), "together": gap(together, steps, True)}
        worst, shapes = max(found.values()), [recorded(one) for one in (free, together)]
        return {**found, "shapes": min(shapes), "agree": worst <= GATE}

    plain = gaps(False)
    held: Line = {"plain": plain, "waits": waiting(Steps(work.root(rows=rows), work.device, False))}
    if plain["agree"]:
        try:
            held |= {"replayed": gaps(True), "replayed_waits": waiting(Steps(work.root(rows=rows), work.device, True))}
        except RuntimeError as error:
            held |= {"replayed": {"error": str(error).partition("\n")[0]}}
    replayed = held.get("replayed", {})
    verdict = {"open": plain["agree"], "replay": bool(replayed.get("agree") and replayed["shapes"])}
    yield {"part": "gate", **verdict, **held, "allowed": GATE, "steps": steps, "said": said.sentences, "machine": machine(work.device)}


def recorded(ours: Steps) -> int:
    """Count the shapes of batches whose steps were recorded."""
    compute = ours.loop.compute
    return len(compute.recorded) if isinstance(compute, Replayed) else 0


def waiting(ours: Steps) -> str | None:
    """Say what makes the host wait in a step, once everything that is done once is done; None where nothing does, or there is no GPU."""
    if ours.loop.device.type != "cuda":
        return None
    with plainly(1):
        for _ in range(ours.leg.steps * (WARM_UP + 1)):
            ours.step()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(2 * ours.leg.steps):
                ours.step()
        except RuntimeError as error:
            return str(error).partition("\n")[0]
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return None


def machine(device: torch.device) -> Line:
    """Say what was measured on."""
    said: Line = {"device": device.type, "torch": torch.__version__, "python": sys.version.partition(" ")[0]}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        said |= {"name": properties.name, "gigabytes": round(properties.total_memory / 2**30, 1), "cuda": torch.version.cuda}
        said |= {"cudnn": torch.backends.cudnn.version()}
    return said


def peer(work: Work) -> Iterator[Line]:
    """Time epochs of the published loop: workers that start anew each epoch, pinned batches, values read at each step."""
    torch.backends.cudnn.benchmark = True  # as published
    torch.manual_seed(0)
    epochs, workers = (1, 0) if work.smoke else (10, 4)
    pixels = Pixels(*(part[:64] for part in vars(work.pixels).values())) if work.smoke else work.pixels
    net = ResNet32().to(work.device).train()
    sgd = optimiser(net)
    pinned = work.device.type == "cuda"
    loader = DataLoader(Pictures(pixels.train, pixels.train_labels, TRAIN), 128, shuffle=True, num_workers=workers, pin_memory=pinned)
    trained, tested = [], []
    for epoch in range(epochs + 1):  # the first one chooses kernels
        start = time.perf_counter()
        for images, labels in loader:
            train_step(net, sgd, images.to(work.device, non_blocking=True), labels.to(work.device, non_blocking=True))
        middle = time.perf_counter()
        test_pass(net, pixels.test, pixels.test_labels)
        if epoch:
            trained.append(middle - start)
            tested.append(time.perf_counter() - start)
        if trained and 2 * tested[-1] > work.left:
            break
    yield {"part": "peer", "epochs": len(trained), "workers": workers, "epoch": spread(trained), "tested": spread(tested)}


def spread(seconds: Sequence[float]) -> list[float]:
    """Give median, least and most."""
    return [statistics.median(seconds), min(seconds), max(seconds)]
