"""RIDE: experts that share a trunk and are pushed apart, a router that asks as many as a row needs, a larger family as teacher."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize, relu

from tailwise.errors import Clash
from tailwise.losses.class_weighted import WeightedByClass
from tailwise.losses.experts import class_temperatures, divergences, diversity
from tailwise.method import About, Card, Learn, Method, Net, Stage, Start, knob, method, relay
from tailwise.methods.ldam_drw import LDAMDRW
from tailwise.models.chain import Branched, Branches
from tailwise.objective import Batch, Clock, Criterion, Objective, Supervised, Term, supervised, weighted

DISTILLED = 1.5
"""Temperature at which a teacher is learnt from: the authors' CIFAR configuration."""

HELPED = 20.0
"""Weight of the rows that a further expert would help, in the router's loss: the default of the authors' code."""

HIDDEN = 16
"""Numbers to which the router reduces an expert's features: the authors'."""

TOP = 5
"""Logits that the router looks at, the largest."""


@method(
    Card(
        title="Routing diverse distribution-aware experts",
        family="ensemble",
        paper="Wang et al., ICLR 2021",
        arxiv="2010.01809",
        formula="L = sum_k [ LDAM(z_k, y) - lambda mean(t)^2 KL(softmax(z / t) || softmax(z_k / t)) ], z = mean_k z_k; with a teacher "
        "+ T^2 sum_k KL(softmax(z_T / T) || softmax(z_k / T)); router: BCE of whether a further expert helps",
        why="One network varies most on rare classes, whose few images say little. Experts that are pushed apart err differently, and "
        "their mean varies less, most of all where each alone is unsure.",
        avoid="On frozen features, which pass no blocks, and where a prediction may not cost more than a network's. Under a few epochs "
        "three experts learn less each than one network does in the same time.",
        needs="images, and a network of several stages; for width below 1 a CIFAR ResNet",
        defaults="three experts from the second stage on with 3/4 of the channels, lambda = 0.45, spread 0.05, LDAM-DRW: the authors' "
        "CIFAR-100 script; teacher's temperature 1.5 likewise; presets: lambda and spread of theirs",
        departs="repairs of their code: with a teacher each term is counted once, where theirs takes the whole loss K times and distils "
        "the mean; rows that a further expert helps weigh 20 in the router's loss, their default, where their configurations say 100; "
        "length and rate of the router's stage are those of the recipe's `second`, theirs 5 epochs from 0.01; presets keep all channels, "
        "where theirs have 3/4, since those of timm's networks cannot be changed",
        cost="1 forward of the trunk, and one of the last stages for each expert; with a teacher its training, and its forward beside",
        aliases=("diverse-experts",),
        presets={
            "imagenet-lt": {"diversity": 0.2, "spread": 0.02, "width": 1.0},
            "inaturalist": {"diversity": 0.2, "spread": 0.015, "width": 1.0},
        },
        status="values",
    )
)
@dataclass(frozen=True)
class RIDE(Method):
    """Any base whose stages have a criterion; the classes' temperatures begin when rows are weighted by class.

    tailwise train digits --recipe demo --method ride
    tailwise compare digits --recipe demo --methods "ldam-drw,ride,ride(router=yes),ride(experts=2,teacher=4)"
    """

    experts: int = knob(3, low=1, high=16, help="number of experts")
    diversity: float = knob(0.45, low=0.0, help="lambda, by which experts are pushed from their mean; at 0 they learn by the loss of it")
    spread: float = knob(0.05, low=0.0, high=1.0, help="of the classes' temperatures; 0 for one temperature")
    own_stages: int = knob(2, low=1, help="how many of the last stages of the network an expert has for itself")
    width: float = knob(0.75, above=0.0, high=1.0, help="share of the channels of these stages")
    router: bool = knob(False, help="whether a second stage learns when to ask a further expert, so that most rows ask one")
    teacher: int = knob(0, low=0, high=16, help="experts of a teacher that is trained before; 0 for none")
    base: Method = knob(LDAMDRW(), help="the method whose criterion every expert has")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the teacher's stages, the base's, and the router's.

        Raises:
            Clash: the base has an objective of its own, or branches, or a stage for its head alone; a router has one expert to ask.
        """
        if self.router and self.experts < 2:
            raise Clash(f"{self} has no second expert for its router to ask; give it experts=2 or more, or router=no")
        if self.teacher:
            yield from replace(self, experts=self.teacher, teacher=0, router=False).stages(about)
        criteria: list[Criterion] = []

        def over(stage: Stage) -> Stage:
            made = self._over(stage, first=not criteria)
            criteria.append(made.objective.criterion)
            return made

        yield from relay(self.base.stages(about), over)
        if self.router:
            yield Stage(
                objective=Router(criteria[-1].logit_scale),
                learn=(Learn("objective.*"),),
                recipe="second",
                start=Start(clock="restart"),
                name="router",
            )

    def _over(self, stage: Stage, first: bool) -> Stage:
        if stage.criterion is None or (stage.net is not None and stage.net.branches is not None):
            what = "branches" if stage.criterion is not None else f"{type(stage.objective).__name__}, an objective of its own"
            raise Clash(f"ride gives each expert a criterion, and its base {self.base} has {what}")
        if not first and (stage.net is not None or stage.learn):
            raise Clash(
                f"ride's experts stay what they are, and stage {stage.name!r} of its base {self.base} changes or trains a head alone"
            )
        objective = DiverseExperts(stage.criterion, self.diversity, self.spread, self.teacher)
        if not first:
            return replace(stage, criterion=None, objective=objective)
        net = replace(stage.net or Net(), branches=Branches(self.experts, stages=self.own_stages, width=self.width))
        start = stage.start
        if self.teacher:
            beyond = tuple(f"net.branches.{k}.*" for k in range(self.experts, self.teacher))
            start = Start(clock="restart", reset=("net.*",), drop=beyond, carry=(("net.", "objective.teacher_net."),))
        return replace(stage, criterion=None, objective=objective, net=net, start=start, name=stage.name or f"{self.experts} experts")


@dataclass(eq=False)
class DiverseExperts(Objective):
    """A criterion for each expert, and the distance of all from their mean, which grows (equation 4, with the code's divergence).

    Args:
        criterion: of the base.
        diversity: lambda.
        spread: of the classes' temperatures, where the criterion weights rows by class.
        teacher: experts of the teacher; 0 for none.
    """

    criterion: Criterion
    diversity: float
    spread: float
    teacher: int

    temperatures: ClassVar[Tensor]

    def build(self, net: Any, about: About) -> None:
        """Make the temperatures, and a resting teacher of the experts' own form."""
        deferred = isinstance(self.criterion, WeightedByClass)
        temperatures = class_temperatures(about.counts.real, self.spread if deferred else 0.0)
        self.register_buffer("temperatures", temperatures, persistent=False)
        if self.teacher:
            branches = [deepcopy(net.branches[0]) for _ in range(self.teacher)]
            self.teacher_net = Branched(deepcopy(dict(net.trunk)), branches).requires_grad_(False)

    def loss(self, net: Any, batch: Batch, now: Clock) -> dict[str, Term]:
        """Give the experts' losses, summed, their distance from their mean, and from the teacher."""
        rows = batch["main"]
        logits = net(rows.images).logits
        if not self.diversity:
            logits = logits.mean(1, keepdim=True).expand_as(logits)
        each = [supervised(self.criterion, logits[:, k], rows) for k in range(logits.shape[1])]
        terms = {"class": replace(each[0], values=torch.stack([term.values for term in each]).sum(0))}
        logits, weight = self.criterion.logit_scale * logits, rows.extra.get("weight")
        terms["diversity"] = weighted(Term(diversity(logits, self.temperatures), factor=-self.diversity), weight)
        if self.teacher:
            with torch.no_grad():
                aims = self.criterion.logit_scale * self.teacher_net(rows.images).logits.mean(1)
            distances = divergences(aims / DISTILLED, logits / DISTILLED)
            terms["teacher"] = weighted(Term(distances, factor=DISTILLED**2), weight)
        return terms

    def predictor(self, net: nn.Module) -> nn.Module:
        """Give the experts, whose mean is the prediction."""
        return Supervised(self.criterion).predictor(net)


@dataclass(eq=False)
class Router(Objective):
    """Learns, for each expert but the last, whether a further one would turn a wrong mean into a right one (section 3.3).

    It looks at the largest logits of the mean so far and at the expert's own features. The network rests.

    Args:
        scale: of the experts' logits.
    """

    scale: float

    def build(self, net: Any, about: About) -> None:
        """Make what asks."""
        self.asking = Asking(len(net.branches), net.width, len(about.classes))

    def loss(self, net: Any, batch: Batch, now: Clock) -> Term:
        """Ask after each expert but the last, and compare with what further experts would change."""
        rows = batch["main"]
        out = net(rows.images)
        means = running_means(self.scale * out.logits)
        asked = torch.stack([self.asking(k, means[:, k], out.features[:, k]) for k in range(means.shape[1] - 1)], 1)
        helped = helps(means, rows.labels).to(asked.dtype)
        losses = binary_cross_entropy_with_logits(asked, helped, pos_weight=asked.new_tensor(HELPED), reduction="none")
        return weighted(Term(losses.mean(1)), rows.extra.get("weight"))

    def predictor(self, net: nn.Module) -> nn.Module:
        """Give the experts with the router before each further one."""
        return Routed(net, self.asking, self.scale)


class Asking(nn.Module):
    """Logits of asking a further expert, by a layer for each expert but the last, and one that they share.

    Args:
        experts: their number.
        width: of their features.
        classes: number of classes.
    """

    def __init__(self, experts: int, width: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(width, HIDDEN) for _ in range(experts - 1))
        self.last = nn.Linear(min(TOP, classes) + HIDDEN, 1)

    def forward(self, k: int, mean: Tensor, features: Tensor) -> Tensor:
        """Give (B,) logits after expert k, by the mean of the logits so far (B, C) and the expert's features (B, D)."""
        largest = mean.topk(min(TOP, mean.shape[1]), 1).values
        return self.last(torch.cat([largest, relu(self.hidden[k](normalize(features, dim=1)))], 1))[:, 0]


def running_means(logits: Tensor) -> Tensor:
    """Give the means of the first 1, 2, ... K experts' logits: (B, K, C) of (B, K, C)."""
    return logits.cumsum(1) / torch.arange(1, logits.shape[1] + 1, device=logits.device)[:, None]


def helps(means: Tensor, labels: Tensor) -> Tensor:
    """Say whether the mean so far is wrong and that of some more experts right: (B, K - 1) of (B, K, C) means and (B,) labels."""
    right = means.argmax(2) == labels[:, None]
    later = right.flip(1).cummax(1).values.flip(1)[:, 1:]
    return ~right[:, :-1] & later


class Routed(nn.Module):
    """Logits (B, C) of as many experts as the router asks for each row: their mean."""

    def __init__(self, net: Any, asking: Asking, scale: float) -> None:
        super().__init__()
        self.net = net
        self.asking = asking
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        """Run the first expert on all rows, and each further one on those that need it."""
        return self.route(images)[0]

    def route(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits (B, C), and how many experts each row took (B,)."""
        maps = self.net.body(images)
        out = self.net.branch(0, maps)
        total, features = self.scale * out.logits, out.features
        used = torch.ones(len(images), dtype=torch.long, device=images.device)
        going = torch.arange(len(images), device=images.device)
        for k in range(len(self.asking.hidden)):
            asks = self.asking(k, total[going] / (k + 1), features) > 0  # a chance above a half
            going = going[asks]
            if not len(going):
                break
            out = self.net.branch(k + 1, maps[going])
            total = total.index_add(0, going, self.scale * out.logits)
            features = out.features
            used[going] += 1
        return total / used[:, None], used
