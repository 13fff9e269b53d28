"""BALMS: a new classifier by balanced softmax, on rows drawn by rates a class that are learnt on a balanced meta set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tailwise.errors import Clash
from tailwise.losses.balanced_softmax import BalancedSoftmaxLoss
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Learn, Method, Stage, Start, Stream, knob, leaving, method
from tailwise.methods.ce import CE
from tailwise.objective import Batch, Chosen, Clock, Criterion, Objective, Sample, Term, supervised
from tailwise.optim.adam import Adam
from tailwise.samplers.class_balanced import ClassBalancedSampler
from tailwise.samplers.learnt_rates import LearntRateSampler, chance_of_draw, first_rate_logits, straight_through

HEAD = "net.head.*"


@dataclass(eq=False)
class MetaSampled(Objective):
    """A criterion on rows that are drawn by rates a class, `sigmoid(a)`, learnt by an optimiser called `rates`.

    A step: (1) W' is one step of the real optimiser down `mean l y`, y the straight-through draws, ones that carry the gradient in a;
    (2) a steps down the plain cross-entropy of W' on the stream `meta`; (3) W steps down `mean l`. Under mixup the loss of a mixed row
    counts for the draw of its first image.

    Args:
        criterion: gives l.
        sampler: draws `main`, and says where the rates begin.
    """

    criterion: Criterion
    sampler: LearntRateSampler

    def build(self, net: nn.Module, about: About) -> None:
        """Make a, (classes,), as the sampler's power says."""
        self.rate_logits = nn.Parameter(first_rate_logits(about.counts.real, self.sampler.power).to(torch.get_default_dtype()))

    def choose(self, stream: str, rows: NDArray[np.int64], labels: NDArray[Any] | None, now: Clock) -> Chosen:
        """Draw the rows of `main` by the rates as they are now; the keys of the draw come with them."""
        if stream != "main" or labels is None:
            return rows, {}
        rates = self.rate_logits.detach().cpu().numpy()
        drawn, keys = self.sampler.draw(labels, rates, len(rows), now.rng("rows by rates"))
        return drawn, {"keys": torch.from_numpy(keys).to(self.rate_logits.dtype)}

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        """Give the loss of the drawn rows."""
        return supervised(self.criterion, net(batch["main"].images).logits, batch["main"])

    def draws(self, sample: Sample) -> Tensor:
        """Give (B,) ones that carry the gradient in a of each row's draw."""
        return straight_through(chance_of_draw(self.rate_logits, sample.extra["keys"], sample.labels))

    def step(self, loop: Any, batch: Batch, now: Clock) -> None:
        """Teach the rates by a virtual step, then make the real one."""
        main, meta = batch["main"], batch["meta"]
        term = supervised(self.criterion, loop.virtual({})(main.images).logits, main)
        inner = loop.reduce({"inner": replace(term, values=self.draws(main) * term.values)})
        ahead = loop.virtual(loop.ahead(loop.slopes(inner)))
        outer = supervised(CrossEntropyLoss(), ahead(meta.images).logits, meta)
        loop.update(loop.reduce({"outer": outer}), "rates")
        loop.descend(batch, now)

    def prior_left(self, prior: Sequence[float]) -> None:
        """Say that what learnt rates leave of a class prior is not known."""


@method(
    Card(
        title="Balanced meta-softmax",
        family="decoupled",
        paper="Ren et al., NeurIPS 2020",
        arxiv="2007.10740",
        formula="stage 2: CE(z + log n, y) on rows of class k in proportion to n_k sigmoid(a_k); a steps down CE(meta; W - lr grad)",
        why="Balanced softmax takes the class prior out of the loss. Balanced rows beside it would take it out twice, so how often "
        "a class is drawn is learnt instead, from what a step does to a balanced set.",
        avoid="With a second stage of a few dozen steps: its new head needs hundreds, and the rates hardly move in fewer. Where "
        "balanced- softmax alone does, which has one stage and no second set.",
        needs="class counts; a network with a head",
        defaults="power = 0, Adam with rate 0.01, as many meta images a step as others: CIFAR; presets: init_pow, rate and meta batch of "
        "the authors' ImageNet-LT and Places-LT; length and rate of stage 2: the recipe's `second`; stage 1 is cross-entropy, as theirs",
        departs="the class is drawn first, then its image: their draws in law with `classes` numbers a row instead of `images`, the "
        "straight-through gradient is that of the class's chance; rows are drawn by the rates of their own step, theirs were prefetched "
        "with older ones. The meta images are class-balanced training images, on any data, where their code takes the validation set but "
        "for CIFAR; a class of one image shows it each time, and trains on it as well. The resting backbone is in eval mode",
        cost="1 forward; 3 in stage 2, without backward through the backbone",
        presets={
            "imagenet-lt": {"power": 0.1, "rate": 0.001, "meta_share": 2.0},
            "places-lt": {"power": 0.3, "rate": 0.001, "meta_share": 2.0},
        },
        aliases=("balanced-meta-softmax",),
        status="values",
    )
)
@dataclass(frozen=True)
class BALMS(Method):
    """Any base, then a stage with its own recipe, a second stream and a second optimiser.

        tailwise train digits --recipe demo --method balms
        tailwise compare digits --recipe demo --methods "ce,crt,balms,balms(base=balanced-softmax)"

    Its new head sees the rows nearly as they come, so its stage takes hundreds of steps (the authors' 2,000) until it knows rare
    classes, more than cRT's on balanced rows: `--set recipe.second.epochs=40` on digits. In so few steps rates of 0.01 hardly move.
    """

    power: float = knob(0.0, low=0.0, high=10.0, help="rates begin at counts to minus this; 0 draws all images alike")
    rate: float = knob(0.01, above=0.0, help="learning rate of the rates' logits, constant")
    meta_share: float = knob(1.0, above=0.0, high=100.0, help="meta images a step, as a share of the batch")
    base: Method = knob(CE(), help="the method that trains the backbone")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the base's stages, then the classifier's.

        Raises:
            Clash: the base leaves no single head.
        """
        net = yield from leaving(self.base.stages(about))
        if not net.has_one_head:
            raise Clash(f"{self} trains one head anew, and its base leaves a head a branch; choose another base")
        sampler = LearntRateSampler(self.power)
        yield Stage(
            net=replace(net, head=None),  # a linear one: cosines without a temperature cannot outweigh the log prior
            objective=MetaSampled(BalancedSoftmaxLoss(about.counts.real), sampler),
            streams={"main": Stream(sampler=sampler), "meta": Stream(sampler=ClassBalancedSampler(1), batch_share=self.meta_share)},
            learn=(Learn("objective.rate_logits", optimiser="rates"), Learn(HEAD)),
            optimisers={"rates": Adam(self.rate)},
            recipe="second",
            start=Start(clock="restart", reset=(HEAD,), drop=(HEAD,)),
            name="classifier on learnt rates",
        )
