"""Small objectives, one for each place where a method bends the loop; no method of the field."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.losses.ldam import LDAMLoss
from tailwise.method import About, Best, Card, Learn, Method, Net, Stage, Start, Stream
from tailwise.models import Branches
from tailwise.objective import Batch, Clock, Criterion, Objective, Out, Scaled, Term
from tailwise.optim import AdamW
from tailwise.samplers import ClassBalancedSampler


@dataclass(frozen=True)
class Stages(Method):
    """A method made of a function from what is known of the data to stages."""

    card = Card(title="stages of a test", family="baseline")

    make: Any = None

    def stages(self, about: About) -> Iterable[Stage]:
        return self.make(about)

    def __str__(self) -> str:
        return "stages of a test"


@dataclass(frozen=True)
class ReversedSampler:
    """Rare classes first: draws with replacement, weights 1 / n**2."""

    def rows(self, labels: NDArray[np.int64], rng: np.random.Generator, epoch: int, epochs: int) -> NDArray[np.int64]:
        weights = 1.0 / np.bincount(labels)[labels].astype(np.float64) ** 2
        return rng.choice(len(labels), len(labels), p=weights / weights.sum())

    def shown(self, real: tuple[int, ...]) -> tuple[float, ...]:
        weights = [1.0 / n for n in real]
        return tuple(sum(real) * w / sum(weights) for w in weights)


@dataclass(frozen=True)
class FirstRows:
    """A sampler with epochs of its own length: the first `count` rows."""

    count: int

    def rows(self, labels: NDArray[np.int64], rng: np.random.Generator, epoch: int, epochs: int) -> NDArray[np.int64]:
        return np.arange(self.count) % len(labels)

    def shown(self, real: tuple[int, ...]) -> tuple[float, ...]:
        return tuple(float(n) for n in real)


@dataclass(eq=False)
class Growing(Objective):
    """Cut in the middle of the network; rows and labels grow by changed copies of the rows of `rare` classes."""

    criterion: Criterion
    rare: tuple[int, ...]
    grow: bool
    factor: float = 0.1
    cut: str = "stage3_1"

    def build(self, net: nn.Module, about: About) -> None:
        width = net.body(torch.zeros(1, about.shape[2], *about.shape[:2]), stop=self.cut).shape[1]
        self.change = nn.Conv2d(width, width, 3, padding=1)
        self.centres = nn.Parameter(torch.zeros(len(about.classes), width))

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> dict[str, Term]:
        labels = batch["main"].labels
        maps = net.body(batch["main"].images, stop=self.cut)
        distance = (maps.detach().mean((2, 3)) - self.centres[labels]).square().sum(1)
        terms = {"centres": Term(distance, factor=self.factor)}
        rare = torch.isin(labels, torch.tensor(self.rare)).nonzero()[:, 0]
        if self.grow and len(rare):
            maps = torch.cat([maps, self.change(maps[rare].detach())])
            labels = torch.cat([labels, labels[rare]])
        return terms | {"class": self.criterion.term(net.finish(maps, start=self.cut).logits, labels)}

    def predictor(self, net: nn.Module) -> nn.Module:
        return Scaled(net, self.criterion.logit_scale)


class MeanOfBranches(nn.Module):
    """The mean of the branches' logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Out:
        out = self.net(images)
        return Out(out.logits.mean(1), out.features.flatten(1))


@dataclass(eq=False)
class TwoStreams(Objective):
    """A branch for each of two streams, mixed by the clock."""

    criterion: Criterion

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> dict[str, Term]:
        share = 1 - now.progress**2
        rows = slice(0, len(batch["main"]))
        first = net.branch(0, net.body(batch["main"].images)).logits
        second = net.branch(1, net.body(batch["reversed"].images[rows])).logits
        logits = share * first + (1 - share) * second
        terms = {"main": (share, batch["main"].labels), "reversed": (1 - share, batch["reversed"].labels[rows])}
        made = {name: (factor, self.criterion.term(logits, labels)) for name, (factor, labels) in terms.items()}
        return {name: Term(term.values, term.weights, term.divisor, factor) for name, (factor, term) in made.items()}

    def predictor(self, net: nn.Module) -> nn.Module:
        return MeanOfBranches(net)


@dataclass(eq=False)
class Remembering(Objective):
    """A momentum copy of the network sees a second view; a queue of its features with their labels pulls equal classes together."""

    length: int = 24
    momentum: float = 0.9
    factor: float = 0.5

    def build(self, net: nn.Module, about: About) -> None:
        self.slow = copy.deepcopy(net).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(self.length, net.width))
        self.register_buffer("labels", torch.full((self.length,), -1))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> dict[str, Term]:
        main = batch["main"]
        out = net(main.views[0])
        with torch.no_grad():
            keys = normalize(self.slow(main.views[1]).features, dim=1)
        self.keep(keys=keys, labels=main.labels)
        same = (main.labels[:, None] == self.labels[None]).float()
        pulled = (same * (1 - normalize(out.features, dim=1) @ self.queue.T)).sum(1) / same.sum(1).clamp_min(1)
        return {"class": Term(cross_entropy(out.logits, main.labels, reduction="none")), "pull": Term(pulled, factor=self.factor)}

    def settle(self, net: nn.Module, kept: Mapping[str, Tensor], now: Clock) -> None:
        live = net.state_dict()
        for name, tensor in self.slow.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(live[name], 1 - self.momentum)
        places = (self.at + torch.arange(len(kept["labels"]))) % self.length
        self.queue[places] = kept["keys"]
        self.labels[places] = kept["labels"]
        self.at.copy_((self.at + len(kept["labels"])) % self.length)


@dataclass(eq=False)
class Bilevel(Objective):
    """Weights of rows, learnt with an optimiser of their own through a virtual step on a balanced stream."""

    criterion: Criterion

    def build(self, net: nn.Module, about: About) -> None:
        self.weigh = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        term = self.criterion.term(net(batch["main"].images).logits, batch["main"].labels)
        return Term(term.values, self.weigh(term.values.detach()[:, None])[:, 0].detach())

    def step(self, loop: Any, batch: Batch, now: Clock) -> None:
        main, meta = batch["main"], batch["meta"]
        here = loop.parameters("main")
        values = self.criterion(loop.virtual(here)(main.images).logits, main.labels)
        weights = self.weigh(values.detach()[:, None])[:, 0]
        slopes = torch.autograd.grad((weights * values).mean(), list(here.values()), create_graph=True)
        ahead = loop.virtual({name: p - loop.rate * g for (name, p), g in zip(here.items(), slopes, strict=True)})
        loop.update(cross_entropy(ahead(meta.images).logits, meta.labels), "weigh")
        loop.descend(batch, now)


@dataclass(eq=False)
class Events(Objective):
    """Counts what it hears of, in buffers."""

    def build(self, net: nn.Module, about: About) -> None:
        for name in ("stage_start", "epoch_start", "epoch_end", "settled", "rows"):
            self.register_buffer(name, torch.zeros((), dtype=torch.long))

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        self.keep(labels=batch["main"].labels)
        return Term(cross_entropy(net(batch["main"].images).logits, batch["main"].labels, reduction="none"))

    def settle(self, net: nn.Module, kept: Mapping[str, Tensor], now: Clock) -> None:
        self.settled += 1
        self.rows += len(kept["labels"])

    def event(self, what: str, loop: Any) -> None:
        getattr(self, what).add_(1)


@dataclass(eq=False)
class Termwise(Objective):
    """Cross-entropy, and a second term: rows weighted by `weights` of their class, reduced and multiplied as the fields say."""

    weights: tuple[float, ...]
    divisor: str = "weights"
    factor: float = 1.0
    main_factor: float = 1.0

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> dict[str, Term]:
        labels = batch["main"].labels
        values = cross_entropy(net(batch["main"].images).logits, labels, reduction="none")
        weighted = values.mean() if self.divisor == "batch" else values
        weights = None if self.divisor == "batch" else torch.tensor(self.weights)[labels]
        return {"plain": Term(values, factor=self.main_factor), "weighted": Term(weighted, weights, self.divisor, self.factor)}  # type: ignore[arg-type]


@dataclass(eq=False)
class Queued(Objective):
    """A queue of a given length and nothing else."""

    length: int = 3

    def build(self, net: nn.Module, about: About) -> None:
        self.register_buffer("queue", torch.zeros(self.length))

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        return Term(cross_entropy(net(batch["main"].images).logits, batch["main"].labels, reduction="none"))

    def settle(self, net: nn.Module, kept: Mapping[str, Tensor], now: Clock) -> None:
        self.queue += 1


# --- the seams as methods ---------------------------------------------------------------------------------------------


def growing(grow_from: float = 0.6, factor: float = 0.1) -> Stages:
    def make(about: About) -> Iterable[Stage]:
        rare = tuple(sorted(range(len(about.counts.real)), key=lambda c: about.counts.real[c])[:2])
        criterion = LDAMLoss(about.counts.real)
        yield Stage(net=Net(head="normalised"), objective=Growing(criterion, rare, False, factor), until=grow_from)
        yield Stage(objective=Growing(criterion, rare, True, factor))

    return Stages(make)


def two_streams() -> Stages:
    streams = {"main": Stream(), "reversed": Stream(sampler=ReversedSampler())}
    net = Net(branches=Branches(2, 1))
    return Stages(lambda about: [Stage(net=net, objective=TwoStreams(CrossEntropyLoss()), streams=streams)])


def remembering(factor: float = 0.5) -> Stages:
    streams = {"main": Stream(views=("recipe", "recipe"))}
    return Stages(lambda about: [Stage(objective=Remembering(factor=factor), streams=streams)])


def bilevel() -> Stages:
    return Stages(
        lambda about: [
            Stage(
                objective=Bilevel(CrossEntropyLoss("none")),
                streams={"main": Stream(), "meta": Stream(sampler=ClassBalancedSampler(1), batch_size=6)},
                learn=(Learn("objective.weigh.*", optimiser="weigh"), Learn()),
                optimisers={"weigh": AdamW(1e-2)},
            )
        ]
    )


def best_then_rest() -> Stages:
    def make(about: About) -> Iterable[Stage]:
        yield Stage(criterion=CrossEntropyLoss(), until=0.6, leaves=Best())
        yield Stage(criterion=LDAMLoss(about.counts.real, 0.1, 1.0))

    return Stages(make)


def decided(enough: float) -> Stages:
    def make(about: About) -> Any:
        result = yield Stage(criterion=CrossEntropyLoss(), until=0.4)
        if result.accuracy("val") < enough:
            yield Stage(criterion=LDAMLoss(about.counts.real, 0.1, 1.0))

    return Stages(make)


def head_again() -> Stages:
    def make(about: About) -> Iterable[Stage]:
        yield Stage(objective=Remembering(), streams={"main": Stream(views=("recipe", "recipe"))})
        yield Stage(
            criterion=CrossEntropyLoss(),
            streams={"main": Stream(sampler=ClassBalancedSampler(2))},
            learn=(Learn("net.head.*"),),
            recipe="second",
            start=Start(clock="restart", reset=("net.head.*",)),
        )

    return Stages(make)
