"""Meta-Weight-Net: a row's weight is a function of its loss, learnt so that a step on the weighted rows helps on a balanced meta set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tailwise import processes
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Learn, Method, Stage, Stream, knob, method
from tailwise.objective import Batch, Clock, Criterion, Objective, Term, supervised, weighted
from tailwise.optim.adam import Adam
from tailwise.samplers.balanced_subset import BalancedSubsetSampler


@dataclass(eq=False)
class LossWeighted(Objective):
    """Rows weighted by V(l), V a small network on their loss l, learnt by an optimiser called `meta`.

    A step, all of it over the whole batch: (1) `theta' = theta - lr grad mean V(l) l`, differentiable in V; (2) V steps down the plain
    cross-entropy of `theta'` on the stream `meta`; (3) theta steps down `mean V(l) l` with the new V. Of these only (3) moves
    normalisation statistics, and is what a gradient rule such as SAM works on.

    Args:
        criterion: gives l; where it weights rows, as deferred re-weighting does, V's weights multiply these.
        hidden: units of V.
        normalise: whether V's weights are divided by their mean over the batch.
    """

    criterion: Criterion
    hidden: int = 100
    normalise: bool = False

    def build(self, net: nn.Module, about: About) -> None:
        """Make V: 1 -> hidden -> 1, into (0, 1)."""
        self.weigh = nn.Sequential(nn.Linear(1, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1), nn.Sigmoid())

    def row_weights(self, losses: Tensor) -> Tensor:
        """Give (B,) weights in (0, 1) of (B,) losses, differentiable in V alone."""
        weights: Tensor = self.weigh(losses.detach()[:, None])[:, 0]
        return weights

    def reweight(self, term: Term, weights: Tensor) -> Term:
        """Multiply the rows of a term by (B,) weights; the divisor stays, or counts rows by these weights too."""
        return weighted(term, weights) if self.normalise else replace(term, values=weights * term.values)

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        """Give the weighted loss, V at rest."""
        term = supervised(self.criterion, net(batch["main"].images).logits, batch["main"])
        return self.reweight(term, self.row_weights(term.values).detach())

    def step(self, loop: Any, batch: Batch, now: Clock) -> None:
        """Teach V by a virtual step, then make the real one."""
        main, meta = batch["main"], batch["meta"]
        term = supervised(self.criterion, loop.virtual({})(main.images).logits, main)
        inner = self.inner_loss(loop, self.reweight(term, self.row_weights(term.values)))
        ahead = loop.virtual(loop.ahead(loop.slopes(inner), plain=True))
        outer = supervised(CrossEntropyLoss(), ahead(meta.images).logits, meta)
        loop.update(loop.reduce({"meta": outer}), "meta")
        loop.descend(batch, now)

    def inner_loss(self, loop: Any, term: Term) -> Tensor:
        """Reduce a weighted term, differentiable in the weights wherever they stand."""
        reduced: Tensor = loop.reduce({"weighted": term})
        if not self.normalise or term.weights is None:
            return reduced
        # the loop divides by a constant; V learns through the sum that it divides by, too
        total = processes.averaged({"": processes.presence() * term.weights.sum()})[""].clamp_min(torch.finfo(term.weights.dtype).tiny)
        return reduced * (total.detach() / total)

    def prior_left(self, prior: Sequence[float]) -> None:
        """Say that what learnt weights leave of a class prior is not known."""


@method(
    Card(
        title="Meta-Weight-Net",
        family="class-sensitive",
        paper="Shu et al., NeurIPS 2019",
        arxiv="1902.07379",
        formula="L = mean V(l_i) l_i; V steps down CE(meta; theta - lr grad L)",
        why="Weights a class take all its rows alike. Here a small network learns which losses to trust, from what a step on the "
        "weighted rows does to a balanced set; where rare classes' rows have large losses it learns to weigh these more.",
        avoid="On small sets and in short trainings, where the weights stay near one another and it remains near ce at four times the "
        "work; with wrong labels among the few images that the meta set is drawn from. Weights a class (class-balanced) need "
        "none of this.",
        needs="class labels; memory for a second derivative",
        defaults="100 hidden units, Adam with rate 1e-3 and weight decay 1e-4, 10 meta images a class, as many a step as of others: "
        "MW-Net.py of the authors",
        departs="the meta images are training images and are trained on as well, where the authors set them aside: a class of one image "
        "could not give it away, and every method of a comparison trains on the same images. A class with fewer than `per_class` images "
        "gives all it has, each shown more often; which ones is the same for all seeds. The virtual network's batches move no statistics",
        cost="3 forwards, and a backward through the first one's gradient",
        aliases=("mw-net", "mwn"),
        status="values",
    )
)
@dataclass(frozen=True)
class MetaWeightNet(Method):
    """One stage with a second stream and a second optimiser.

        tailwise train digits --method meta-weight-net
        tailwise compare digits --methods "ce,meta-weight-net(per_class=5),meta-weight-net+drw"

    The weights see losses alone, no classes, and in a few hundred steps V has learnt little. Where the meta set has rare classes' only
    images, the network knows them by heart, and what helps there need not help on new ones.
    """

    per_class: int = knob(10, low=1, help="meta images a class, drawn from train")
    meta_share: float = knob(1.0, above=0.0, high=100.0, help="meta images a step, as a share of the batch")
    hidden: int = knob(100, low=1, help="units of the weighting network")
    rate: float = knob(1e-3, above=0.0, help="learning rate of the weighting network, constant")
    decay: float = knob(1e-4, low=0.0, help="weight decay of the weighting network")
    normalise: bool = knob(False, help="whether weights are divided by their mean over the batch")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        yield Stage(
            objective=LossWeighted(CrossEntropyLoss(), self.hidden, self.normalise),
            streams={"main": Stream(), "meta": Stream(sampler=BalancedSubsetSampler(self.per_class), batch_share=self.meta_share)},
            learn=(Learn("objective.weigh.*", optimiser="meta"), "recipe"),
            optimisers={"meta": Adam(self.rate, self.decay)},
            name="train",
        )
