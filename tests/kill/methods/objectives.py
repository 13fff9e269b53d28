"""Objectives that are hard to resume: each has a state of its own, draws of its own, or a step of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torchvision.ops import StochasticDepth

from tailwise.method import About
from tailwise.objective import Batch, Clock, Criterion, Objective, Out, Term, supervised


@dataclass(eq=False)
class Dropped(Objective):
    """Dropout on the features, after a block of its own whose path is dropped for some rows."""

    criterion: Criterion
    rate: float = 0.3

    def build(self, net: nn.Module, about: About) -> None:
        self.dropout = nn.Dropout(self.rate)
        self.path = StochasticDepth(0.5, "row")
        self.block = nn.Sequential(nn.Linear(net.width, net.width), nn.LayerNorm(net.width), nn.ReLU())

    def logits(self, net: nn.Module, images: Tensor) -> Tensor:
        features = net.pool(net.body(images))
        return net.head(self.dropout(features + self.path(self.block(features))))

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Mapping[str, Term]:
        return {"class": supervised(self.criterion, self.logits(net, batch["main"].images), batch["main"])}


@dataclass(eq=False)
class Remembering(Dropped):
    """A momentum copy of the network sees a second view; a queue of its features pulls rows of equal classes together."""

    length: int = 40
    momentum: float = 0.9

    def build(self, net: nn.Module, about: About) -> None:
        super().build(net, about)
        self.slow = copy.deepcopy(net).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(self.length, net.width))
        self.register_buffer("labels", torch.full((self.length,), -1))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Mapping[str, Term]:
        main = batch["main"]
        with torch.no_grad():
            keys = normalize(self.slow(main.views[1]).features, dim=1)
        self.keep(keys=keys, labels=main.labels)
        same = (main.labels[:, None] == self.labels[None]).float()
        seen = normalize(net(main.views[0]).features, dim=1)
        pulled = (same * (1 - seen @ self.queue.T)).sum(1) / same.sum(1).clamp_min(1)
        noise = torch.from_numpy(now.rng("noise").normal(1.0, 0.1, len(pulled))).to(pulled.dtype)
        return {**super().loss(net, batch, now), "pull": Term(noise * pulled, factor=0.5)}

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
class Everything(Remembering):
    """A second stream with a sampler and a batch of its own, on top."""

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Mapping[str, Term]:
        even = batch["even"]
        values = cross_entropy(self.logits(net, even.images), even.labels, reduction="none")
        return {**super().loss(net, batch, now), "even": Term(values, factor=now.progress)}


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
    """A branch for each of two streams, which differ in sampler and batch."""

    criterion: Criterion

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Mapping[str, Term]:
        terms = {}
        for branch, (name, factor) in enumerate({"main": 1 - now.progress, "even": now.progress}.items()):
            logits = net.branch(branch, net.body(batch[name].images)).logits
            term = self.criterion.term(logits, batch[name].labels)
            terms[name] = Term(term.values, term.weights, term.divisor, factor)
        return terms

    def predictor(self, net: nn.Module) -> nn.Module:
        return MeanOfBranches(net)


@dataclass(eq=False)
class Bilevel(Objective):
    """Weights of rows, learnt with an optimiser of their own through a virtual step on a second stream."""

    criterion: Criterion

    def build(self, net: nn.Module, about: About) -> None:
        self.weigh = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        term = self.criterion.term(net(batch["main"].images).logits, batch["main"].labels)
        return Term(term.values, self.weigh(term.values.detach()[:, None])[:, 0].detach())

    def step(self, loop: Any, batch: Batch, now: Clock) -> None:
        main, even = batch["main"], batch["even"]
        here = loop.parameters("main")
        values = self.criterion(loop.virtual(here)(main.images).logits, main.labels)
        weights = self.weigh(values.detach()[:, None])[:, 0]
        slopes = torch.autograd.grad((weights * values).mean(), list(here.values()), create_graph=True)
        ahead = loop.virtual({name: p - loop.rate * g for (name, p), g in zip(here.items(), slopes, strict=True)})
        loop.update(cross_entropy(ahead(even.images).logits, even.labels), "weigh")
        loop.descend(batch, now)
