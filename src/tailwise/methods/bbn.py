"""BBN: two twin branches, one for the rows as they come and one for reversed ones; training moves from the first to the second."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Method, Net, Stage, Stream, knob, method
from tailwise.models.chain import Branches
from tailwise.objective import Batch, Clock, Criterion, Objective, Term, supervised
from tailwise.samplers.reversed import ReversedSampler

Schedule = Literal["parabolic", "linear", "cosine", "increment", "equal", "beta"]


@method(
    Card(
        title="Bilateral-branch network with cumulative learning",
        family="ensemble",
        paper="Zhou et al., CVPR 2020",
        arxiv="1912.02413",
        formula="z = W [2 a f_c ; 2 (1 - a) f_r] + b; L = a CE(z, y_c) + (1 - a) CE(z, y_r); a = 1 - (T / T_max)^2; "
        "at test z = W [f_c ; f_r] + b",
        why="Re-balanced rows help the classifier and hurt the features. One branch sees rows as they come and learns the features, "
        "its twin sees reversed ones, and training moves from the first to the second, in one stage.",
        avoid="On frozen features, which pass no branch; with classes of one or two images, which reversed rows show over and over. "
        "crt gets the same separation from two stages at about half the work.",
        needs="images, and a network of two blocks or more",
        defaults="parabolic, horizon = 1: section 4.3; the authors' CIFAR schedule is --set recipe.schedule.first=0.3333 with warmup=5, "
        "drops=(0.6, 0.8), factors=(0.01, 0.0001)",
        departs="none of the formula; the authors' code stretches T_max by 10/9 at 90 and 180 epochs, which no paper says: the preset "
        "inaturalist",
        cost="2 forwards: each stream through the trunk and one branch",
        aliases=("bilateral-branch",),
        presets={"inaturalist": {"horizon": 10 / 9}},
        status="values",
    )
)
@dataclass(frozen=True)
class BBN(Method):
    """One stage: the last block twice, one head over both.

        tailwise train digits --recipe demo --method bbn
        tailwise compare digits --recipe demo --methods "ce,crt,bbn,crt(base=bbn)"

    The network that it leaves is one with a linear head: `crt(base=bbn)`, `tau-norm(base=bbn)` and the like go on from there.
    """

    schedule: Schedule = knob("parabolic", help="of a over the epochs: a decay, `increment`, or `equal` (0.5) or `beta` (drawn) throughout")
    horizon: float = knob(1.0, above=0.0, help="T_max as a share of the training: above 1 the first branch keeps a part to the end")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage with two streams."""
        yield Stage(
            net=Net(branches=Branches(count=2, blocks=1, joined=True)),
            objective=CumulativeLearning(CrossEntropyLoss(), self.schedule, self.horizon),
            streams={"main": Stream(), "reversed": Stream(sampler=ReversedSampler())},
            name="bilateral branches",
        )


def cumulative_share(passed: float, schedule: Schedule = "parabolic") -> float:
    """Give the share a of the first branch, by those of the strategies which the paper compares that time alone decides.

    Args:
        passed: T / T_max, T the 0-based epoch; beyond 1 as at 1.
        schedule: parabolic decay `1 - t^2`, the paper's own, `linear` decay, `cosine` decay, parabolic `increment`, `equal` parts.

    Raises:
        BadValue: another schedule; that of `beta` is drawn at every step.

    >>> [round(cumulative_share(t), 2) for t in (0.0, 0.5, 0.9)]
    [1.0, 0.75, 0.19]
    """
    t = min(passed, 1.0)
    shares = {"parabolic": 1 - t * t, "linear": 1 - t, "cosine": math.cos(math.pi / 2 * t), "increment": t * t, "equal": 0.5}
    if schedule not in shares:
        raise BadValue(f"time alone decides the schedules {', '.join(shares)}, got {schedule!r}")
    return shares[schedule]


@dataclass(eq=False)
class CumulativeLearning(Objective):
    """Cross-entropy of mixed features against the labels of both streams, by shares that move over the epochs (section 4.3).

    Row i of `main` goes with row i of `reversed`: both streams have one length, also where a batch is cut.
    """

    criterion: Criterion
    schedule: Schedule = "parabolic"
    horizon: float = 1.0

    def loss(self, net: Any, batch: Batch, now: Clock) -> dict[str, Term]:
        """Mix features of the two branches, and weigh the criterion on the two labels likewise."""
        a = self.share(now)
        logits = self.logits(net, batch, a)
        conventional, rebalancing = (supervised(self.criterion, logits, batch[name]) for name in ("main", "reversed"))
        return {"conventional": replace(conventional, factor=a), "re-balancing": replace(rebalancing, factor=1 - a)}

    def logits(self, net: Any, batch: Batch, a: float) -> Tensor:
        """Give (B, C) logits of the streams' features, each through its branch; at a = 1/2 and of one image they are the network's."""
        first, second = (net.branch(k, net.body(batch[name].images)) for k, name in enumerate(("main", "reversed")))
        return net.head(torch.cat([2 * a * first, 2 * (1 - a) * second], 1))

    def share(self, now: Clock) -> float:
        """Give a: by the epoch, or drawn for the whole batch."""
        if self.schedule == "beta":
            return float(replace(now, part=0).rng("share").beta(0.2, 0.2))  # the same in all parts of the batch
        return cumulative_share(now.epoch / (now.epochs * self.horizon), self.schedule)

    def prior_left(self, prior: Any) -> None:
        """What reversed rows leave of the class prior depends on the shares over all epochs, and is not known."""
        return None
