"""Bilevel steps by hand: a loop over a stage of a method, on a small linear network in float64, without data or store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tailwise.counts import ClassCounts
from tailwise.groups import thirds
from tailwise.method import About, Learn, Method, Net
from tailwise.models.heads import LinearHead
from tailwise.objective import Clock, Out, Sample, Supervised
from tailwise.optim import SGD, Constant
from tailwise.recipe import Recipe
from tailwise.specification import fresh
from tailwise.training.joint import Joint, forked
from tailwise.training.loop import Gradients, Loop
from tailwise.training.plan import Leg

COUNTS = (6, 3, 1)


class HeadAlone(nn.Module):
    """A linear head on vectors of three numbers."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.head = LinearHead().build(3, classes).double()

    def forward(self, rows: Tensor) -> Out:
        return Out(self.head(rows), rows)


class Watched(Loop):
    """The loop, which remembers what the second optimiser stepped along and where the virtual step went."""

    def apply(self, gradients: Gradients, only: str | None = None) -> None:
        if only is not None:
            self.outer = gradients
        super().apply(gradients, only)

    def ahead(self, *words: Any, **named: Any) -> dict[str, Tensor]:
        self.went = super().ahead(*words, **named)
        return self.went


def about(counts: tuple[int, ...] = COUNTS) -> About:
    return About(ClassCounts(counts), thirds(counts), tuple(map(str, counts)), 1, (3,))


def make_loop(method: Method, net: nn.Module | None = None, optimiser: Any = None, clip: float | None = None, **fields: Any) -> Watched:
    """A loop over the last stage of a method; `fields` replace those of its objective."""
    known = about()
    recipe = Recipe("test", "", epochs=1, batch_size=1, optimiser=optimiser or SGD(0.5, 0.0), schedule=Constant(), clip=clip)
    stage = list(method.stages(known))[-1]
    learn = tuple(entry if isinstance(entry, Learn) else Learn() for entry in stage.learn or ("recipe",))
    with forked(0, "test"):
        net = net or HeadAlone()
        objective = fresh(stage.objective or Supervised(stage.criterion), **fields)
        objective.build(net, known)
    leg = Leg(replace(stage, learn=learn), Net(), recipe, "", None, 0, 9, 1, 9, 0, 0, 0, ())
    return Watched(Joint(net, objective.double()), leg, 0, torch.device("cpu"))


def sample(rows: int, labels: list[int], seed: int, extra: Mapping[str, Tensor] | None = None) -> Sample:
    images = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Sample((images,), torch.tensor(labels), torch.arange(rows), extra or {})


def clock(step: int = 1, rows: int = 1) -> Clock:
    return Clock(0, 1, step, 9, step, 0, rows=rows)
