"""Two streams with samplers and batches of their own, a branch for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from objectives import TwoStreams

from tailwise.losses import CrossEntropyLoss
from tailwise.method import About, Card, Method, Net, Stage, Stream, method
from tailwise.models import Branches
from tailwise.samplers import ClassBalancedSampler, PowerSampler


@method(Card(title="Two streams", family="ensemble"))
@dataclass(frozen=True)
class TwoBranches(Method):
    """One stage; the second stream ends its passes in the middle of epochs."""

    def stages(self, about: About) -> Iterable[Stage]:
        streams = {"main": Stream(sampler=PowerSampler(0.5)), "even": Stream(sampler=ClassBalancedSampler(2), batch_size=11)}
        yield Stage(net=Net(branches=Branches(2, 1)), objective=TwoStreams(CrossEntropyLoss()), streams=streams)
