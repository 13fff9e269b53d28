"""Focal loss: rows that are already right count less."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.losses.focal import FocalLoss
from tailwise.method import About, Card, Method, Stage, knob, method


@method(
    Card(
        title="Focal loss",
        family="class-sensitive",
        paper="Lin et al., ICCV 2017",
        arxiv="1708.02002",
        formula="L = -(1 - p)^gamma log p, p = softmax(z)_y",
        why="It weighs rows by how wrong they are, and rows of rare classes often are. Of class counts it knows nothing, so it helps "
        "the tail only as far as its rows are the hard ones.",
        avoid="As the only remedy for a long tail: in our tables it moves nothing clear of noise to the few. With noisy labels, whose "
        "rows are hard because they are wrong.",
        needs="nothing",
        defaults="gamma = 2: Lin et al., section 3.2, and LADE's code; LDAM-DRW's code has 1",
        departs="the softmax form of long-tailed classification, without alpha; the paper's is a sigmoid a class, for detectors",
        aliases=("focal-loss",),
        status="values",
    )
)
@dataclass(frozen=True)
class Focal(Method):
    """Takes no notice of classes; rows of rare classes count more because they are wrong more often."""

    gamma: float = knob(2.0, low=0.0, help="focusing; 0 is cross-entropy")
    detach: bool = knob(False, help="whether the factor is a constant for the gradient, as in LADE's code")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        yield Stage(criterion=FocalLoss(self.gamma, self.detach), name="train")
