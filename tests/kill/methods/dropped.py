"""Dropout and dropped paths, then other margins from the middle on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from objectives import Dropped

from tailwise.losses import CrossEntropyLoss, LDAMLoss
from tailwise.method import About, Card, Method, Stage, method


@method(Card(title="Dropout and dropped paths", family="baseline"))
@dataclass(frozen=True)
class DroppedPaths(Method):
    """Two stages on one clock."""

    def stages(self, about: About) -> Iterable[Stage]:
        yield Stage(objective=Dropped(CrossEntropyLoss()), until=0.5, name="first half")
        yield Stage(objective=Dropped(LDAMLoss(about.counts.real, 0.1, 1.0)), name="second half")
