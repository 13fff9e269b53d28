"""Rows weighted by what is learnt in a step of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from objectives import Bilevel

from tailwise.losses import CrossEntropyLoss
from tailwise.method import About, Card, Learn, Method, Stage, Stream, method
from tailwise.optim import AdamW
from tailwise.samplers import ClassBalancedSampler


@method(Card(title="Weights by a virtual step", family="class-sensitive"))
@dataclass(frozen=True)
class VirtualStep(Method):
    """One stage with two optimisers."""

    def stages(self, about: About) -> Iterable[Stage]:
        yield Stage(
            objective=Bilevel(CrossEntropyLoss("none")),
            streams={"main": Stream(), "even": Stream(sampler=ClassBalancedSampler(1), batch_size=6)},
            learn=(Learn("objective.weigh.*", optimiser="weigh"), Learn()),
            optimisers={"weigh": AdamW(1e-2)},
        )
