"""cRT: the classifier is re-trained on balanced rows, on top of a backbone that rests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Learn, Method, Stage, Start, Stream, knob, leaving, method
from tailwise.methods.ce import CE
from tailwise.samplers.class_balanced import ClassBalancedSampler


@method(
    Card(
        title="Classifier re-training",
        family="decoupled",
        paper="Kang et al., ICLR 2020",
        arxiv="1910.09217",
        formula="stage 2: CE on class-balanced rows, only the head learns, a linear one with fresh weights",
        why="Features learnt from all images as they come are good; it is the classifier on them that favours frequent classes. "
        "Training it anew on balanced rows, with the features at rest, moves the boundaries alone.",
        avoid="Over a base that is balanced already, which leaves little to gain. With classes of one or two images the new head sees "
        "these over and over; tau-norm or lws has fewer parameters to fit.",
        needs="a network with a head, or a head a branch: these are re-trained together, on the mean of their logits",
        defaults="4 images a class in a row: ClassAwareSampler.py of the authors; length and rate of stage 2: the recipe's `second`",
        departs="the resting backbone is in eval mode; in the authors' code its BatchNorm statistics drift (frozen_norm=train gives that)",
        cost="1 forward; in stage 2 without backward through the backbone",
        aliases=("classifier-retraining",),
        status="formula",
    )
)
@dataclass(frozen=True)
class CRT(Method):
    """Any base, then a stage with its own recipe."""

    per_class: int = knob(4, low=1, help="images taken in a row at a visit to a class")
    base: Method = knob(CE(), help="the method that trains the backbone")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the base's stages, then the re-training."""
        net = yield from leaving(self.base.stages(about))
        yield Stage(
            net=replace(net, head=None),  # a linear one: cosines without a temperature would learn next to nothing
            criterion=CrossEntropyLoss(),
            streams={"main": Stream(sampler=ClassBalancedSampler(self.per_class))},
            learn=tuple(map(Learn, net.heads)),
            recipe="second",
            start=Start(clock="restart", reset=net.heads, drop=net.heads),
            name="classifier re-training",
        )
