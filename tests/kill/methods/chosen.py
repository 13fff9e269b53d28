"""The best epoch on validation, and a second stage on top of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.losses import CrossEntropyLoss
from tailwise.method import About, Best, Card, Learn, Method, Stage, Start, Stream, method
from tailwise.samplers import ClassBalancedSampler

HEAD = "net.head.*"


@method(Card(title="The best epoch, then a new head", family="decoupled"))
@dataclass(frozen=True)
class Chosen(Method):
    """Both stages leave their best epoch."""

    def stages(self, about: About) -> Iterable[Stage]:
        yield Stage(criterion=CrossEntropyLoss(), leaves=Best())
        yield Stage(
            criterion=CrossEntropyLoss(),
            streams={"main": Stream(sampler=ClassBalancedSampler(2))},
            learn=(Learn(HEAD),),
            recipe="second",
            start=Start(clock="restart", reset=(HEAD,)),
            leaves=Best("accuracy"),
        )
