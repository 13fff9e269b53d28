"""SADE: three experts, each good at another class distribution, weighed by what the test images themselves show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, softmax

from tailwise.counts import SHOWN, Counts
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.losses.experts import skill_shifts
from tailwise.method import About, Card, Learn, Method, Net, Stage, Start, Stream, knob, method
from tailwise.models.chain import Branches
from tailwise.models.heads import CosineHead
from tailwise.objective import Batch, Clock, Criterion, Objective, Out, Term, supervised
from tailwise.optim.sgd import SGD
from tailwise.pixels.augment import ColourJitter, Grey

VIEWS = (("recipe", ColourJitter(), Grey()),) * 2
"""Two views of a test image, as their contrastive augmentation without its blur."""

LEAST = 0.05
"""Weight of an expert below which the weights are left as they are."""


@method(
    Card(
        title="Self-supervised aggregation of diverse experts",
        family="ensemble",
        paper="Zhang et al., NeurIPS 2022",
        arxiv="2107.09249",
        formula="L = CE(z_1, y) + CE(z_2 + log pi, y) + CE(z_3 + log pi - tau log pi_inverse, y); at test z = mean_k z_k, or sum_k "
        "softmax(a)_k z_k, a up mean cos(p(view), p(view')) over test images without labels",
        why="One set of logits is right for one class distribution. Three experts learn the training distribution, an even one and the "
        "inverse one, and what is measured may be any of them.",
        avoid="Where the test distribution is known: la or --test-prior take it out at no cost. On frozen features, which pass no blocks.",
        needs="images, class counts, and a network of several stages; for width below 1 a CIFAR ResNet",
        defaults="tau = 2, three experts from the second stage on with 3/4 of the channels, cosines times 30; aggregation by SGD at 0.1 "
        "with momentum 0.9 and decay 0.0005: the authors' CIFAR-100 script; presets: theirs",
        departs="repairs of their code: the softmax over weights has its axis; aggregation ends after an epoch that leaves a weight below "
        "0.05, where theirs asks for a rounded one; its length is that of the recipe's `second`; no blur in its views; "
        "presets keep all channels, where theirs for ImageNet-LT and iNaturalist have fewer: those of timm's networks cannot be changed",
        cost="1 forward of the trunk, and one of the last stages for each expert; when aggregating, two views of each test image",
        aliases=("tade", "test-agnostic-diverse-experts"),
        presets={
            "imagenet-lt": {"width": 1.0, "rate": 0.025},
            "places-lt": {"tau": 1.0, "width": 1.0, "rate": 0.01, "decay": 4e-4},
            "inaturalist": {"tau": 1.0, "width": 1.0, "rate": 0.2, "decay": 2e-4},
        },
        status="values",
    )
)
@dataclass(frozen=True)
class SADE(Method):
    """One stage, and one more where the test images may be used.

    tailwise train digits --recipe demo --method sade
    tailwise train digits --recipe demo --method "sade(aggregate=yes)" --allow test
    """

    tau: float = knob(2.0, low=0.0, help="how far the third expert goes beyond an even distribution; at 0 it is like the second")
    scale: float = knob(30.0, above=0.0, help="factor on the cosines of the experts' heads")
    own_stages: int = knob(2, low=1, help="how many of the last stages of the network an expert has for itself")
    width: float = knob(0.75, above=0.0, high=1.0, help="share of the channels of these stages")
    aggregate: bool = knob(False, help="whether a second stage weighs the experts on the test images, without labels: needs --allow test")
    rate: float = knob(0.1, above=0.0, help="with aggregate=yes, learning rate of the experts' weights")
    decay: float = knob(5e-4, low=0.0, help="with aggregate=yes, weight decay of the experts' weights, towards equal ones")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage or two."""
        branches = Branches(3, stages=self.own_stages, width=self.width)
        yield Stage(
            net=Net(head=CosineHead(self.scale), branches=branches),
            objective=SkilledExperts(CrossEntropyLoss(), SHOWN, self.tau),
            name="three experts",
        )
        if self.aggregate:
            yield Stage(
                objective=Aggregation(),
                streams={"main": Stream(split="test", labelled=False, views=VIEWS)},
                learn=(Learn("objective.weights", optimiser="weights"),),
                optimisers={"weights": SGD(self.rate, 0.9, self.decay, nesterov=True)},
                recipe="second",
                start=Start(clock="restart"),
                name="aggregation on test images without labels",
            )


@dataclass(eq=False)
class SkilledExperts(Objective):
    """A criterion of each of three experts, each under its own shift of the logits (equations 2 to 4).

    Args:
        criterion: cross-entropy, weighted where a modifier weights it.
        counts: (classes,) rows a class that the stage shows.
        tau: of the third expert.
    """

    criterion: Criterion
    counts: Counts = SHOWN
    tau: float = 2.0

    shifts: ClassVar[Tensor]

    def build(self, net: Any, about: About) -> None:
        """Make the (3, C) shifts."""
        self.register_buffer("shifts", skill_shifts(self.counts, self.tau), persistent=False)

    def loss(self, net: Any, batch: Batch, now: Clock) -> Term:
        """Give the experts' losses, summed."""
        rows = batch["main"]
        logits = net(rows.images).logits
        logits = logits + self.shifts.to(logits.dtype)
        each = [supervised(self.criterion, logits[:, k], rows) for k in range(len(self.shifts))]
        return replace(each[0], values=torch.stack([term.values for term in each]).sum(0))

    def prior_left(self, prior: Any) -> None:
        """Say that what the mean of three skills leaves of the class prior is not known."""


@dataclass(eq=False)
class Aggregation(Objective):
    """Weights of the experts under which two views of a row are answered alike (section 4.2); the network rests.

    `resting` is set after an epoch that leaves an expert less than its least weight: nothing moves from then on.
    """

    resting: ClassVar[Tensor]

    def build(self, net: Any, about: About) -> None:
        """Begin with equal weights."""
        count = len(net.branches)
        self.weights = nn.Parameter(torch.full((count,), 1 / count))
        self.register_buffer("resting", torch.zeros((), dtype=torch.bool))

    def loss(self, net: Any, batch: Batch, now: Clock) -> Term:
        """Give minus the cosine of the answers to two views."""
        first, second = batch["main"].views
        if self.resting:
            return Term(self.weights.new_zeros(0))
        one, other = (softmax(weighed(net(view).logits.detach(), self.weights), 1) for view in (first, second))
        return Term(-cosine_similarity(one, other, dim=1, eps=1e-6))

    def event(self, what: str, loop: Any) -> None:
        """Stop where an expert has next to no weight."""
        if what == "epoch_end":
            self.resting.logical_or_(softmax(self.weights.detach(), 0).min() < LEAST)

    def predictor(self, net: nn.Module) -> nn.Module:
        """Give the experts' weighed sum."""
        return Weighed(net, self.weights)


def weighed(logits: Tensor, weights: Tensor) -> Tensor:
    """Give `sum_k softmax(a)_k z_k`: (B, C) of (B, K, C) logits and (K,) weights a."""
    return torch.einsum("k,bkc->bc", softmax(weights, 0).to(logits.dtype), logits)


class Weighed(nn.Module):
    """Experts, their logits (B, C) summed by weights, their features side by side."""

    def __init__(self, net: nn.Module, weights: nn.Parameter) -> None:
        super().__init__()
        self.net = net
        self.weights = weights

    def forward(self, images: Tensor) -> Out:
        """Give the weighed sum, and what it is of."""
        out: Out = self.net(images)
        return Out(weighed(out.logits, self.weights), out.features.flatten(1), out.logits)
