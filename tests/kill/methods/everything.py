"""Dropout, dropped paths, a queue, a momentum copy and two streams; then a new head with a recipe of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from objectives import Dropped, Everything

from tailwise.losses import CrossEntropyLoss
from tailwise.method import About, Card, Learn, Method, Stage, Start, Stream, method
from tailwise.samplers import ClassBalancedSampler

HEAD = "net.head.*"


@method(Card(title="All that has a state", family="decoupled"))
@dataclass(frozen=True)
class AllWithState(Method):
    """Two stages; the second begins anew."""

    def stages(self, about: About) -> Iterable[Stage]:
        streams = {"main": Stream(views=("recipe", "recipe")), "even": Stream(sampler=ClassBalancedSampler(2), batch_size=11)}
        yield Stage(objective=Everything(CrossEntropyLoss()), streams=streams)
        yield Stage(
            objective=Dropped(CrossEntropyLoss()),
            streams={"main": Stream(sampler=ClassBalancedSampler(4))},
            learn=(Learn(HEAD), Learn("objective.*", rate=0.1)),
            recipe="second",
            start=Start(clock="restart", reset=(HEAD,)),
        )
