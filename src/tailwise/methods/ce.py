"""Cross-entropy on all images as they come: the baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Method, Stage, method


@method(
    Card(
        title="Cross-entropy",
        family="baseline",
        formula="L = -log softmax(z)_y",
        needs="nothing",
        aliases=("cross-entropy",),
        status="values",
    )
)
@dataclass(frozen=True)
class CE(Method):
    """Plain training; what every other method is measured against."""

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        yield Stage(criterion=CrossEntropyLoss(), name="train")
