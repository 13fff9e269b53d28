"""Nearest class mean: the head is left aside, and an image goes to the class whose mean feature is nearest; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tailwise.method import About, Card, Method, Stage, knob, method
from tailwise.methods.ce import CE
from tailwise.posthoc.nearest_mean import NearestMean


@method(
    Card(
        title="Nearest class mean classifier",
        family="decoupled",
        paper="Kang et al., ICLR 2020",
        arxiv="1910.09217",
        formula="argmax_k cos(h, m_k), m_k the mean feature of class k; with metric=euclidean argmin_k ||h - m_k||",
        why="A class is the mean of its features, one point however many images it has: no length and no bias that could grow with the "
        "counts.",
        avoid="Where a class has an image or two, whose mean says little, or has several modes. Where scores are to be probabilities. "
        "Where the head matters: it costs frequent classes more than other methods do.",
        needs="features",
        defaults="cosine: section 4, where it is named for evening out the lengths of frequent classes' weights",
        departs="a true cosine, their code divides the dot product by the width; means are of features as they are, their code can also "
        "normalise or centre each feature first (l2n, cl2n). Cosines as scores say nothing of confidence",
        cost="none beyond its base",
        aliases=("nearest-class-mean",),
        status="values",
    )
)
@dataclass(frozen=True)
class NCM(Method):
    """Shares the whole training with its base; no class count enters, and a class without images is never chosen."""

    metric: Literal["cosine", "euclidean"] = knob("cosine", help="how near a feature is to a mean")
    base: Method = knob(CE(), help="the method whose features are used")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the base's stages."""
        return self.base.stages(about)

    def posthoc(self, about: About) -> NearestMean:
        """Put nearest class means in the place of the head."""
        return NearestMean(self.metric)
