"""LDAM: a margin that grows as a class shrinks, proportional to n**(-1/4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.losses.ldam import LDAMLoss
from tailwise.method import About, Card, Method, Net, Stage, knob, method


@method(
    Card(
        title="Label-distribution-aware margin loss",
        family="class-sensitive",
        paper="Cao et al., NeurIPS 2019",
        arxiv="1906.07413",
        formula="L = CE(s (u - m_y [k = y]), y), m_k = m_max (n_min / n_k)^(1/4)",
        why="The fewer images a class has, the less they say where it ends: its boundary is kept further from them, by a margin that a "
        "bound on the balanced error makes proportional to n^(-1/4).",
        avoid="Alone it leaves the prior in the logits and lifts the tail little: ldam-drw is the method. On frozen features, 0.5 is "
        "too large a margin. Its normalised head suits no tau-norm and no lws.",
        needs="class counts; a normalised head",
        defaults="m_max = 0.5, s = 30: cifar_train.py of the authors, for networks trained from scratch; a head on frozen features cannot "
        "move them apart, and wants less (TrashNet, macro accuracy: 74.8 with 0.5, 78.7 with 0.01, cross-entropy 77.6)",
        departs="predictions are s times the cosines, on the scale of the loss; the order of classes is that of the cosines",
        presets={
            "imagenet-lt": {"max_margin": 0.3, "scale": 30.0},
            "places-lt": {"max_margin": 0.2, "scale": 50.0},
            "inaturalist": {"max_margin": 0.1, "scale": 50.0},
        },
        status="values",
    )
)
@dataclass(frozen=True)
class LDAM(Method):
    """One stage with margins; `ldam-drw` adds the deferred weights that the paper recommends."""

    max_margin: float = knob(0.5, low=0.0, help="margin of the rarest class, in cosine units")
    scale: float = knob(30.0, above=0.0, help="temperature of the normalised head")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        criterion = LDAMLoss(about.counts.real, self.max_margin, self.scale)
        yield Stage(net=Net(head="normalised"), criterion=criterion, name="train")
