"""Stages decided by results: margins as long as validation is not good enough, which it never is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tailwise.losses import CrossEntropyLoss, LDAMLoss
from tailwise.method import About, Card, Method, Stage, method


@method(Card(title="Decided by results", family="baseline"))
@dataclass(frozen=True)
class Decided(Method):
    """Looks at validation twice."""

    def stages(self, about: About) -> Any:
        result = yield Stage(criterion=CrossEntropyLoss(), until=0.4)
        for until, margin in ((0.7, 0.1), (1.0, 0.2)):
            margin += result.accuracy("val") / 100  # whatever was measured must be measured again
            result = yield Stage(criterion=LDAMLoss(about.counts.real, margin, 1.0), until=until)
