"""CE-DRW: cross-entropy, with class-balanced weights for the last fifth of training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.method import About, Card, Method, Stage, knob, method
from tailwise.methods.ce import CE
from tailwise.modifiers.drw import DRW


@method(
    Card(
        title="Cross-entropy with deferred re-weighting",
        family="class-sensitive",
        paper="Cao et al., NeurIPS 2019",
        arxiv="1906.07413",
        formula="CE; from `start` on sum w_y CE / sum w_y",
        why="The network first learns features from all images alike; weights come late, at a small rate, and shift the boundaries "
        "towards rare classes without disturbing what was learnt.",
        avoid="With a schedule whose rate does not drop at about `start`: deferring gains little there. Not with a second correction of "
        "the prior.",
        defaults="start = 0.8, beta = 0.9999: cifar_train.py of the authors",
        status="values",
    )
)
@dataclass(frozen=True)
class CEDRW(Method):
    """Its first part is cross-entropy's line."""

    start: float = knob(0.8, above=0.0, high=1.0, help="share of training after which rows are weighted")
    beta: float = knob(0.9999, low=0.0, high=0.999999999, help="of the effective number of samples; 0 leaves all weights 1")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield two stages."""
        return DRW(self.start, self.beta).modify(CE().stages(about), about)
