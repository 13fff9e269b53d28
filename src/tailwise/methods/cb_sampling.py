"""Class-balanced sampling: every class is shown as often as every other, from the first epoch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Method, Stage, Stream, knob, method
from tailwise.samplers.class_balanced import ClassBalancedSampler


@method(
    Card(
        title="Class-balanced sampling",
        family="re-sampling",
        paper="Shen et al., ECCV 2016; Kang et al., ICLR 2020",
        arxiv="1910.09217",
        formula="CE on rows drawn with p_k = 1 / C",
        why="Every class is shown equally often, so a rare class moves the network as much as a frequent one, and the logits hold an "
        "even prior.",
        avoid="Where a class has a handful of images and training is long: the same few are shown again and again and learnt by heart, "
        "while frequent classes are seen less; then sqrt-sampling, or crt, which balances the head alone. Not under a second correction "
        "of the prior.",
        defaults="4 images a class in a row: ClassAwareSampler.py of Kang et al.",
        departs="an epoch has as many rows as there are images, where Kang et al.'s trainer stops too; their sampler is n_max C long",
        aliases=("class-balanced-sampling", "class-aware-sampling"),
        status="formula",
    )
)
@dataclass(frozen=True)
class CBSampling(Method):
    """Balanced rows throughout; `crt` balances only after the backbone is trained."""

    per_class: int = knob(4, low=1, help="images taken in a row at a visit to a class")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        balanced = Stream(sampler=ClassBalancedSampler(self.per_class))
        yield Stage(criterion=CrossEntropyLoss(), streams={"main": balanced}, name="train")
