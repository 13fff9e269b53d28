"""The gate before any timing: our loop and the peer's network do the same mathematics on the same images, on the CPU or a GPU."""

from __future__ import annotations

from typing import Any, Protocol

from peer import ResNet32, optimiser
from torch.nn import functional

from tailwise.training.streams import read_batch

GATE_STEPS, GATE, GENTLE = 20, 1e-4, 1e-3
"""Steps of the gate, by how much a loss may differ from the peer's, relative, and the rate at which both run freely."""


class Stepping(Protocol):
    """Our loop before its first step."""

    root: Any
    leg: Any
    loop: Any
    readers: Any


def gap(ours: Stepping, steps: int, together: bool) -> float:
    """Give the largest relative difference of the losses of some steps; `together`: each step begins from our weights."""
    net, worst = ResNet32().to(ours.loop.device), 0.0
    sgd = optimiser(net)
    for step in range(steps):
        if together or not step:
            weights = ours.loop.net.state_dict().values()
            net.load_state_dict(dict(zip(net.state_dict(), weights, strict=True)))
        batch, now = read_batch(ours.readers, ours.leg, step, ours.root.seed, ours.loop.objective)
        ours.loop.meter = {}
        ours.loop.run_step(batch, now)
        loss = functional.cross_entropy(net(batch["main"].images.contiguous()), batch["main"].targets)
        for group in sgd.param_groups:
            group["lr"] = ours.loop.rate
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        mine = float(ours.loop.meter["loss"] / ours.loop.meter["rows"])
        worst = max(worst, abs(mine - loss.item()) / abs(loss.item()))
    return worst
