"""Tau-normalisation: the head's class weights are brought towards equal length; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tailwise.method import About, Card, Method, Stage, knob, method
from tailwise.methods.ce import CE
from tailwise.posthoc.tau_norm import TauNorm


@method(
    Card(
        title="Tau-normalisation of the classifier",
        family="decoupled",
        paper="Kang et al., ICLR 2020",
        arxiv="1910.09217",
        formula="z_k = h w_k / ||w_k||^tau",
        why="The lengths of a linear head's rows grow with the counts, and so do its logits. Dividing each row by a power of its length "
        "evens them out after training, at no cost.",
        avoid="On a head that is not linear, or was trained on an even prior, whose rows are of like length. Without a validation "
        "split, tau is the published one of another data set.",
        needs="a linear head; a validation split to choose tau",
        defaults="tau chosen on validation over 0, 0.1, ..., 2 as in their code; 0.7, their ImageNet-LT value, without a validation split",
        departs="none; the bias is dropped as in their code",
        cost="none beyond its base",
        aliases=("tau-normalisation", "tau-normalization"),
        presets={"imagenet-lt": {"tau": 0.7}, "inaturalist": {"tau": 0.3}},
        status="values",
    )
)
@dataclass(frozen=True)
class TauNormalisation(Method):
    """Shares the whole training with its base."""

    tau: float | Literal["val"] = knob("val", low=0.0, help="exponent of the weights' length, or val to choose it on validation")
    base: Method = knob(CE(), help="the method whose network is normalised")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the base's stages."""
        return self.base.stages(about)

    def posthoc(self, about: About) -> TauNorm:
        """Normalise the head of what the base trained."""
        return TauNorm(self.tau)
