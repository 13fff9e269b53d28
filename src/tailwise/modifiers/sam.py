"""SAM over any method: every gradient is taken where the loss is locally worst."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tailwise.method import About, Card, Modifier, Stage, knob, modifier, relay
from tailwise.optim.sam import SAM


@modifier(
    Card(
        title="Sharpness-aware minimisation",
        family="optimisation",
        paper="Foret et al., ICLR 2021; for long tails Rangwani et al., NeurIPS 2022",
        arxiv="2010.01412",
        formula="g = grad L(w + rho grad L / ||grad L||)",
        needs="nothing",
        defaults="rho = 0.05: Foret et al., section 3",
        departs="normalisation statistics move in the first pass only",
        cost="2 forwards",
        status="values",
    )
)
@dataclass(frozen=True)
class WithSAM(Modifier):
    """Sets the gradient rule of every stage."""

    sets = "gradient"

    rho: float = knob(0.05, low=0.0, help="radius in weight space; 0 is the plain gradient")
    adaptive: bool = knob(False, help="whether the radius scales with the weights")

    def modify(self, stages: Iterable[Stage], about: About) -> Iterable[Stage]:
        """Give the stages with the rule."""
        return relay(stages, lambda stage: replace(stage, gradient=SAM(self.rho, self.adaptive)))
