"""PaCo: each row against class centres, the batch and a queue of earlier rows, in one softmax with the prior taken out."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from tailwise import processes
from tailwise.counts import SHOWN, Counts, without_prior
from tailwise.errors import Clash
from tailwise.losses.paco import paco_losses
from tailwise.method import About, Card, Method, Stage, Stream, knob, method
from tailwise.models.chain import Blocks
from tailwise.objective import Batch, Clock, Objective, Term, as_counts
from tailwise.optim.ema import EMA
from tailwise.pixels.augment import ColourJitter, Grey

VIEWS = ("recipe", ("recipe", ColourJitter(), Grey()))


class Projection(nn.Module):
    """From pooled features to unit vectors that are compared: Linear, BatchNorm, ReLU, Linear; one row takes the stored statistics."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, features)
        self.norm = nn.BatchNorm1d(features)
        self.last = nn.Linear(features, width)

    def forward(self, features: Tensor) -> Tensor:
        """Give (B, width) rows of length one."""
        self.norm.training = self.training and len(features) > 1
        return normalize(self.last(self.norm(self.first(features)).relu()), dim=1)


@dataclass(eq=False)
class ParametricContrast(Objective):
    """The loss over two views, with a projection that learns, a momentum copy that does not, and a queue of the copy's answers.

    The copy's normalisation goes by averaged statistics, as its weights do (EMAN, Cai et al., CVPR 2021): so a key tells nothing of
    the batch that it came in, which is what shuffling rows among devices is for in the authors' code.

    Args:
        alpha, gamma, temperature, smoothing: of `paco_losses`.
        momentum: of the copy.
        length: places of the queue.
        width: of the vectors that are compared.
        tau: strength of the prior that is taken out of the logits.
        generalised: whether there is no copy, and both views are anchors.
        counts: rows a class that the stage shows.
    """

    compares_rows = True

    alpha: float
    gamma: float
    temperature: float
    smoothing: float
    momentum: float
    length: int
    width: int
    tau: float
    generalised: bool
    counts: Counts = SHOWN

    queue: ClassVar[Tensor]
    labels: ClassVar[Tensor]
    at: ClassVar[Tensor]
    shift: ClassVar[Tensor]

    def build(self, net: Any, about: About) -> None:
        """Make the projection, the resting copy of network and projection, the empty queue, and the log prior."""
        self.projection = Projection(net.width, self.width)
        if not self.generalised:
            blocks = Blocks(copy.deepcopy(dict(net.blocks.items())), copy.deepcopy(net.pool), net.width)
            self.copy = nn.ModuleDict({"net": blocks, "projection": copy.deepcopy(self.projection)}).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(self.length, self.width))
        self.register_buffer("labels", torch.full((self.length,), -1))
        self.register_buffer("at", torch.zeros((), dtype=torch.int64))
        counts = as_counts(self.counts)
        shift = self.tau * torch.log(counts / counts.sum()) if self.tau else torch.zeros_like(counts)
        self.register_buffer("shift", shift, persistent=False)

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        """Compare the anchors of the whole batch, over all processes, with each other, the keys and the queue."""
        main = batch["main"]
        first, second = main.views
        if self.generalised:
            out = net(torch.cat([first, second]))
            anchors, scores = self.projection(out.features).chunk(2), out.logits.chunk(2)
            keys, compared = anchors[1], []
        else:
            out = net(first)
            anchors, scores = (self.projection(out.features),), (out.logits,)
            keys = self._keys(second)
            compared = [processes.gathered(keys)]
        self.keep(keys=keys, labels=main.labels)
        labels = processes.gathered(main.labels)
        values = paco_losses(
            torch.cat([processes.gathered(logits) for logits in scores]) + self.shift.to(out.logits.dtype),
            labels.repeat(len(anchors)),
            torch.cat([processes.gathered(rows) for rows in anchors]),
            torch.cat([*compared, self.queue]),
            torch.cat([*(labels for _ in compared), self.labels]),
            alpha=self.alpha,
            gamma=self.gamma,
            temperature=self.temperature,
            smoothing=self.smoothing,
        )
        if "weight" in main.extra:
            weights = processes.gathered(main.extra["weight"]).repeat(len(anchors))
            return Term((weights * values).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny), divisor="batch")
        return Term(values.mean(), divisor="batch")

    def _keys(self, images: Tensor) -> Tensor:
        """Give the copy's answers; nothing of it learns, so no gradient is kept."""
        blocks: Any = self.copy["net"]
        rows: Tensor = self.copy["projection"](blocks.pool(blocks.body(images)))
        return rows

    def settle(self, net: nn.Module, kept: Mapping[str, Tensor], now: Clock) -> None:
        """Move the copy towards the network, and put the batch's keys over the oldest of the queue."""
        if not self.generalised:
            live = {f"net.{name}": t for name, t in net.state_dict().items()}
            live |= {f"projection.{name}": t for name, t in self.projection.state_dict().items()}
            mine = self.copy.state_dict()
            EMA(self.momentum, warm_up=False).update(mine, {name: live[name] for name in mine}, step=now.total)
        labels = kept["labels"][-self.length :]
        places = (self.at + torch.arange(len(labels), device=labels.device)) % self.length
        self.queue[places] = kept["keys"][-self.length :].to(self.queue.dtype)
        self.labels[places] = labels
        self.at.copy_((self.at + len(labels)) % self.length)

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...]:
        """Give the masses over `counts**tau`: what the shift explains, the logits need not."""
        return without_prior(prior, self.counts, self.tau)


@method(
    Card(
        title="Parametric contrastive learning",
        family="representation",
        paper="Cui et al., ICCV 2021; generalised by Cui et al., TPAMI 2023",
        arxiv="2107.12028",
        formula="L_i = sum_j w_ij (log Z_i - s_ij) / sum_j w_ij over classes, s = z + tau log pi, and features, s = q_i . f / T; "
        "w = 1 on the own class, alpha on features of it; Z_i = sum_classes e^s + gamma sum_features e^s",
        why="In supervised contrast a frequent class has many positives in the batch and the queue, a rare one hardly any. A learnable "
        "centre for every class, in the same softmax, is a positive that a rare class always has; and the more features of its own an "
        "anchor meets, the less it is drawn to its centre, so heads do not own the classifier. The log prior evens the rest out.",
        avoid="Frozen features, which cannot be shaped; short trainings, since the copy, the queue and the projection take a while; "
        "where two views and two networks a step are too dear: balanced softmax takes the same prior out at half the cost.",
        needs="images, for two views that differ; class counts; a network with a head",
        defaults="alpha = 0.01, T = 0.05, 1,024 places, 32 dimensions, momentum 0.999, gamma = 1: the authors' CIFAR-100-LT script; "
        "imagenet-lt and inaturalist: alpha = 0.05, T = 0.2, 8,192 places, 128 dimensions; gpaco: T = 0.07, and gpaco-imagenet-lt: "
        "alpha = 0.045, T = 0.2, neither with a copy; all of their scripts",
        departs="views: the recipe's, and the recipe's with colour jitter 0.4 and grey for a fifth, where theirs are RandAugment or "
        "AutoAugment and SimAugment; the copy normalises by averaged statistics (theirs: of its batch, rows shuffled among devices); the "
        "queue begins empty (theirs: random rows with random labels); an anchor's score with itself is in no maximum, and no 1e-12 in the "
        "logarithm; rows of all processes are compared, not of each alone",
        cost="2 forwards, one of them without backward; 2 with backward when generalised",
        aliases=("parametric-contrastive",),
        presets={
            "imagenet-lt": {"alpha": 0.05, "temperature": 0.2, "queue": 8192, "width": 128},
            "inaturalist": {"alpha": 0.05, "temperature": 0.2, "queue": 8192, "width": 128},
            "gpaco": {"generalised": True, "temperature": 0.07},
            "gpaco-imagenet-lt": {"generalised": True, "alpha": 0.045, "temperature": 0.2, "queue": 8192, "width": 128},
        },
        status="values",
    )
)
@dataclass(frozen=True)
class PaCo(Method):
    """One stage on two views of each row; what it leaves is the network with its linear head, free of the prior.

    tailwise train digits --method paco --recipe demo
    tailwise compare DATA --methods "ce,balanced-softmax,paco,paco(gpaco)"
    """

    alpha: float = knob(0.01, low=0.0, help="weight of each row of the same class, beside 1 for the class's centre")
    gamma: float = knob(1.0, low=0.0, help="of the rows in the softmax's sum; with alpha = 0 and this 0 it is balanced softmax")
    temperature: float = knob(0.05, above=0.0, help="of the rows' cosines; the centres have none")
    queue: int = knob(1024, low=1, help="places for keys of earlier batches")
    momentum: float = knob(0.999, low=0.0, high=1.0, help="of the copy that makes the keys; when generalised there is none")
    width: int = knob(32, low=1, help="dimensions in which rows are compared")
    tau: float = knob(1.0, low=0.0, help="strength of the prior that is taken out of the logits")
    smoothing: float = knob(0.0, low=0.0, high=0.999, help="share of the centre's weight that is spread over the other centres")
    generalised: bool = knob(False, help="whether both views are anchors, and no copy is kept: GPaCo")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage.

        Raises:
            Clash: the data are feature vectors.
        """
        if len(about.shape) == 1:
            raise Clash(f"{self} learns features by comparing two views of an image, and these rows are features already; give it images")
        objective = ParametricContrast(
            *(self.alpha, self.gamma, self.temperature, self.smoothing, self.momentum),
            *(self.queue, self.width, self.tau, self.generalised),
        )
        yield Stage(objective=objective, streams={"main": Stream(views=VIEWS)}, name="train")
