"""EMA over any method: what is evaluated is an average of the weights over steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tailwise.method import About, Card, Modifier, Stage, knob, modifier, relay
from tailwise.optim.ema import EMA


@modifier(
    Card(
        title="Exponential moving average of the weights",
        family="optimisation",
        paper="Polyak and Juditsky, SIAM J. Control Optim. 1992",
        formula="w_e <- d w_e + (1 - d) w",
        needs="nothing",
        defaults="d = 0.999 with warm-up: the usual setting of image classification",
        departs="a stage that begins anew begins from the averaged weights",
    )
)
@dataclass(frozen=True)
class WithEMA(Modifier):
    """Sets the average of every stage."""

    sets = "average"

    decay: float = knob(0.999, low=0.0, high=0.9999999, help="d; 0 evaluates the live weights")
    warm_up: bool = knob(True, help="whether d starts low, so that early weights are forgotten")

    def modify(self, stages: Iterable[Stage], about: About) -> Iterable[Stage]:
        """Give the stages with the average."""
        return relay(stages, lambda stage: replace(stage, average=EMA(self.decay, self.warm_up)))
