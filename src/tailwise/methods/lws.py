"""LWS: one scale a class is learnt on balanced rows, on top of a network that rests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tailwise.errors import Clash
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Learn, Method, Net, Stage, Start, Stream, knob, leaving, method
from tailwise.methods.ce import CE
from tailwise.models.heads import LinearHead, ScaledLinearHead
from tailwise.samplers.class_balanced import ClassBalancedSampler

SCALE = "net.head.scale"


@method(
    Card(
        title="Learnable weight scaling",
        family="decoupled",
        paper="Kang et al., ICLR 2020",
        arxiv="1910.09217",
        formula="stage 2: CE of s_k (w_k h + b_k) on class-balanced rows, only s learns, from 1",
        why="The lengths of a linear head's rows grow with the counts, and so do its logits. One scale a class, learnt on balanced "
        "rows, evens them out, and is too little to be learnt by heart.",
        avoid="Where a rare class's row points the wrong way, which a scale cannot turn: crt can. Over a base that is balanced already, "
        "or a head that is not linear.",
        needs="a linear head",
        defaults="4 images a class in a row: ClassAwareSampler.py of the authors; length and rate of stage 2: the recipe's `second`",
        departs="none of the formula: the bias is scaled too and weight decay draws s to 0, as in the authors' code, where the paper "
        "scales w_k alone; the resting backbone is in eval mode, in their code its BatchNorm statistics drift",
        cost="1 forward; in stage 2 without backward through the backbone",
        aliases=("learnable-weight-scaling",),
        status="formula",
    )
)
@dataclass(frozen=True)
class LWS(Method):
    """Any base with a linear head, then a stage with its own recipe."""

    per_class: int = knob(4, low=1, help="images taken in a row at a visit to a class")
    base: Method = knob(CE(), help="the method that trains the network")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the base's stages, then the scaling.

        Raises:
            Clash: the base leaves no single linear head.
        """
        net = yield from leaving(self.base.stages(about))
        yield Stage(
            criterion=CrossEntropyLoss(),
            net=scaled(net, self),
            streams={"main": Stream(sampler=ClassBalancedSampler(self.per_class))},
            learn=(Learn(SCALE),),
            recipe="second",
            start=Start(clock="restart", reset=(SCALE,)),
            name="weight scaling",
        )


def scaled(net: Net, method: Method) -> Net:
    """Give the base's network with one scale per class.

    Raises:
        Clash: it has no single linear head.
    """
    if net.head not in (None, "linear", LinearHead()) or not net.has_one_head:
        left = net.head if isinstance(net.head, str) else type(net.head).__name__
        left = left if net.has_one_head else "a head a branch"
        raise Clash(f"{method} scales one linear head, and its base leaves {left}; choose another base")
    return replace(net, head=ScaledLinearHead())
