"""LDAM-DRW: margins throughout, class-balanced weights for the last fifth of training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.method import About, Card, Method, Stage, knob, method
from tailwise.methods.ldam import LDAM
from tailwise.modifiers.drw import DRW


@method(
    Card(
        title="LDAM with deferred re-weighting",
        family="class-sensitive",
        paper="Cao et al., NeurIPS 2019",
        arxiv="1906.07413",
        formula="LDAM; from `start` on sum w_y LDAM / sum w_y",
        why="Margins keep boundaries away from rare classes while features are learnt; late weights then move the boundaries towards "
        "frequent ones.",
        avoid="On frozen features with its default margin, which is meant for networks that can move them apart. Under la, tau-norm or "
        "lws: the prior is corrected already, and its head is normalised.",
        needs="class counts; a normalised head",
        defaults="m_max = 0.5, s = 30, start = 0.8, beta = 0.9999: cifar_train.py of the authors",
        presets={
            "imagenet-lt": {"max_margin": 0.3, "scale": 30.0},
            "places-lt": {"max_margin": 0.2, "scale": 50.0},
            "inaturalist": {"max_margin": 0.1, "scale": 50.0},
        },
        status="values",
    )
)
@dataclass(frozen=True)
class LDAMDRW(Method):
    """Its first part is LDAM's line."""

    max_margin: float = knob(0.5, low=0.0, help="margin of the rarest class, in cosine units")
    scale: float = knob(30.0, above=0.0, help="temperature of the normalised head")
    start: float = knob(0.8, above=0.0, high=1.0, help="share of training after which rows are weighted")
    beta: float = knob(0.9999, low=0.0, high=0.999999999, help="of the effective number of samples; 0 leaves all weights 1")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield two stages."""
        return DRW(self.start, self.beta).modify(LDAM(self.max_margin, self.scale).stages(about), about)
