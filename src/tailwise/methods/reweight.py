"""Re-weighting: cross-entropy whose rows are weighted by the inverse frequency of their class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.losses.frequency_weighted import FrequencyWeighted
from tailwise.method import About, Card, Method, Stage, knob, method


@method(
    Card(
        title="Re-weighting by inverse frequency, or cost-sensitive cross-entropy",
        family="class-sensitive",
        paper="Japkowicz and Stephen, Intelligent Data Analysis 2002; Zhang et al. (DisAlign), CVPR 2021; Zhang et al., TPAMI 2023",
        arxiv="2103.16370",
        formula="L = sum w_y CE / sum w_y, w_k = (1 / n_k)^power; with rule=log w_k = 1 + log(n_max / n_k)",
        why="With power = 1 every class has the same weight in the loss, however few its images; smaller powers go part of the way.",
        avoid="Where the ratio is extreme, a rare image outweighs hundreds of others from the first step on: gradients are noisy and "
        "the head pays; take a smaller power, or defer the weights with +drw. Not with a second correction of the prior.",
        defaults="power = 1, inverse, over the sum of weights: cost-sensitive CE of BagofTricks-LT; "
        "imagenet-lt: rho = 1.2 of DisAlign's generalised re-weighting; weighted-softmax: the survey's code",
        departs="weights sum to the number of classes whatever the rule, which only divisor=rows can tell; an empty class weighs 0",
        aliases=("re-weighting", "inverse-frequency", "cost-sensitive", "grw"),
        presets={"imagenet-lt": {"power": 1.2}, "weighted-softmax": {"rule": "log"}},
        status="values",
    )
)
@dataclass(frozen=True)
class Reweight(Method):
    """Weights from the first epoch; `ce-drw` defers them."""

    power: float = knob(1.0, low=0.0, help="exponent of the weights; 0 is cross-entropy")
    rule: Literal["inverse", "log"] = knob("inverse", help="whether weights grow with n_max / n_k, or with 1 + log(n_max / n_k)")
    divisor: Literal["weights", "rows"] = knob("weights", help="what the weighted sum is divided by: the sum of weights, or the rows")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        criterion = FrequencyWeighted(CrossEntropyLoss(), about.counts.real, self.power, self.rule, divisor=self.divisor)
        yield Stage(criterion=criterion, name="train")
