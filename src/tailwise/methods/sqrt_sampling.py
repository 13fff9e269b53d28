"""Square-root sampling: classes are drawn by the square root of their counts, half-way between images and classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Method, Stage, Stream, knob, method
from tailwise.samplers.power import PowerSampler


@method(
    Card(
        title="Square-root sampling",
        family="re-sampling",
        paper="Kang et al., ICLR 2020",
        arxiv="1910.09217",
        formula="CE on rows drawn with p_k = n_k^q / sum_j n_j^q, q = 1/2",
        why="Halfway between showing images alike and showing classes alike: rare classes come more often, and their images are "
        "repeated less than under class-balanced sampling.",
        avoid="As the only remedy for an extreme tail: half of the log prior is left in the logits, which la takes off "
        "(`la(base=sqrt-sampling)`).",
        defaults="q = 1/2: section 3, equation 1",
        departs="none: classes drawn independently, images in their class's own cycles, as in ClassPrioritySampler.py of the authors",
        aliases=("square-root-sampling",),
        presets={"reverse": {"power": -1.0}},
        status="values",
    )
)
@dataclass(frozen=True)
class SqrtSampling(Method):
    """Any power of the counts: 1 is instance-balanced, 0 class-balanced, -1 the reversed sampler of BBN (Zhou et al., CVPR 2020)."""

    power: float = knob(0.5, help="q: exponent of the class counts")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        yield Stage(criterion=CrossEntropyLoss(), streams={"main": Stream(sampler=PowerSampler(self.power))}, name="train")
