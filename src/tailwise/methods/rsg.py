"""RSG: what varies within frequent classes is learnt, and added to maps of rare classes inside the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, relu, softmax

from tailwise.errors import Clash
from tailwise.losses.transfer import centre_distances, vector_errors
from tailwise.method import About, Card, Method, Stage, Start, advance, knob, method
from tailwise.methods.ldam_drw import LDAMDRW
from tailwise.mixing.transfer import head_classes, pair_with_tail
from tailwise.models.maps import as_maps, find_cut, like_rows
from tailwise.objective import Batch, Clock, Criterion, Objective, Sample, Supervised, Term, supervised

MOST = 1.0
"""Weight of the centre loss times positions of a map times the share of its class in the batch, at most. A step moves a centre by
twice the rate times this of its way. At the authors' rate and momentum a class in every batch overshoots for good from 19 on, one in
every tenth batch from 2 on, and a lone appearance, as of one row in a short last batch, from 1 on: here none does."""


@method(
    Card(
        title="Rare-class sample generator",
        family="information augmentation",
        paper="Wang et al., CVPR 2021",
        arxiv="2106.09859",
        formula="G = F_t + T(F_h - c_h), with the label of the rare row t; L = L_cls(real and G) + 0.1 L_centre + 0.01 L_vector",
        why="What varies within a class (pose, light, background) is seen in frequent classes and hardly in rare ones. It is learnt "
        "as the difference of a frequent class's map from its centre, and added to maps of rare classes, so that the layers "
        "above see more of them.",
        avoid="On frozen features, or on top of a base that does well on the tail already: over three seeds on digits it was within "
        "noise of its base, ldam-drw. Generated rows double the batch above the cut, and the judge's network costs more than a "
        "small backbone.",
        needs="images and a network of several blocks",
        defaults="K = 15, head ratio 0.2, strength 1, weights 0.1 and 0.01, width 256: RSG.py and the authors' models; threshold 0.8 "
        "(160 of 200 epochs) with LDAM-DRW: their CIFAR scripts; presets: their scripts, whose effective-number sampler is DRW here",
        departs="repairs of their code: positions are not mixed (memory_chunks=yes gives that), the judge is frozen on any number of "
        "devices, the direction term has no offset, odd batches pair all but one row, no more segments than rows, head classes by count "
        "and at least one, a class that fills large maps or much of a batch counts less in the centre loss, which would diverge. "
        "The prior of later parts counts no generated rows. "
        "Under mixup a row is of the class with the larger share",
        cost="1 forward; above the cut, once rows are generated, up to twice the rows",
        processes="pairs and transfers are formed among the rows of one process",
        aliases=("rare-class-sample-generator",),
        presets={
            "imagenet-lt": {"base": "ldam-drw(imagenet-lt)"},
            "places-lt": {"base": "ldam-drw(max_margin=0.2,scale=50,start=0.33334)", "threshold": 0.33334},
            "inaturalist": {"base": "ldam-drw(max_margin=0.1,scale=50,start=0.77778)", "threshold": 0.77778},
        },
        status="values",
    )
)
@dataclass(frozen=True)
class RSG(Method):
    """Any base whose stages have a criterion; from `threshold` on, batches grow inside the network. A second recipe stays as it is.

    tailwise train digits --split 50/10/40 --tail exponential:50 --recipe demo --method rsg
    tailwise compare digits --split 50/10/40 --tail exponential:50 --recipe demo --methods "ldam-drw,rsg,rsg(base=ce)"
    """

    threshold: float = knob(0.8, low=0.0, high=1.0, help="share of training at which generation begins; 1 for never")
    cut: str = knob("", help="name of the block before which rows are generated; empty for the last that shrinks maps")
    head_ratio: float = knob(0.2, above=0.0, high=0.999, help="share of the classes, the largest, whose variation is transferred")
    strength: float = knob(1.0, above=0.0, high=1.0, help="share of the larger of both groups of a batch that is paired")
    centres: int = knob(15, low=1, help="centres a class")
    centre_weight: float = knob(
        0.1, low=0.0, help="of the loss that learns centres and judge; it sums over positions: small maps want more"
    )
    vector_weight: float = knob(0.01, low=0.0, help="of the loss that learns the transformation")
    width: int = knob(256, low=1, help="channels of the judge, which tells whether two maps are of one class")
    memory_chunks: bool = knob(False, help="whether vectors are runs of memory with positions mixed, as in the authors' code")
    base: Method = knob(LDAMDRW(), help="the method whose criteria see real and generated rows")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the base's stages, the one in which `threshold` lies cut in two.

        Raises:
            Clash: data without maps, a base with branches or with an objective of its own.
        """
        if len(about.shape) == 1:
            raise Clash("rsg generates rows between the blocks of a network, and feature vectors pass none; give images, or another method")
        generation = Generation(self.head_ratio, self.strength, self.vector_weight, self.memory_chunks)
        made, result, begun = iter(self.base.stages(about)), None, 0.0
        while (stage := advance(made, result)) is not None:
            if stage.recipe is None:
                begun = 0.0 if stage.start.clock == "restart" else begun
                if begun < self.threshold < stage.until:
                    yield self._over(replace(stage, until=self.threshold, leaves="last"), None)
                    stage, begun = replace(stage, net=None, start=Start()), self.threshold
                begun, stage = stage.until, self._over(stage, None if begun < self.threshold else generation)
            result = yield stage

    def _over(self, stage: Stage, generation: Generation | None) -> Stage:
        if stage.criterion is None or (stage.net is not None and stage.net.branches is not None):
            what = "branches" if stage.criterion is not None else f"{type(stage.objective).__name__}, an objective of its own"
            raise Clash(f"rsg puts its rows before a criterion on one chain of blocks, and its base {self.base} has {what}")
        objective = TransferToRare(stage.criterion, self.cut, self.centres, self.centre_weight, self.width, generation)
        doing = "learning centres" if generation is None else "generating rows"
        return replace(stage, criterion=None, objective=objective, name=", ".join(filter(None, (stage.name, doing))))


@dataclass(frozen=True)
class Generation:
    """How rows are generated: the fields of `RSG` that the time before does not depend on, so that it is shared."""

    head_ratio: float
    strength: float
    weight: float
    memory_chunks: bool


@dataclass(eq=False)
class TransferToRare(Objective):
    """A criterion on real and generated rows, with the losses of what generates them.

    Args:
        criterion: of the base.
        cut: name of a block, or empty.
        per_class: centres a class.
        weight: of the centre loss.
        width: channels of the judge.
        generation: how rows are generated; None while the judge is still learning.
    """

    criterion: Criterion
    cut: str
    per_class: int
    weight: float
    width: int
    generation: Generation | None

    compares_rows = True
    is_head: ClassVar[Tensor]

    def build(self, net: Any, about: About) -> None:
        """Make what learns, for the maps of a blank row at the cut."""
        self.block, channels = find_cut(net, about.shape, self.cut)
        classes = len(about.classes)
        self.assignment = nn.Parameter(torch.randn(classes, channels, self.per_class))
        self.bias = nn.Parameter(torch.ones(classes, self.per_class))
        self.centres = nn.Parameter(torch.zeros(classes, self.per_class, channels))
        self.transformation = _convolution(channels, channels, 3)
        self.judge = Judge(channels, self.width)
        if self.generation is not None:
            self.register_buffer("is_head", head_classes(about.counts.real, self.generation.head_ratio), persistent=False)

    def loss(self, net: Any, batch: Batch, now: Clock) -> dict[str, Term]:
        """Give the base's loss, the centre loss, and that of the judge before generation, of the transformation after it."""
        rows = batch["main"]
        maps = net.body(rows.images, stop=self.block)
        seen, labels = as_maps(maps.detach()), _dominant(rows)
        shares = softmax(torch.einsum("bc,bck->bk", seen.mean((2, 3)), self.assignment[labels]) + self.bias[labels], 1)
        reach = self.weight * seen[0, 0].numel() * labels.bincount()[labels].to(seen.dtype) / len(labels)
        distances = (MOST / reach).clamp(max=1) * centre_distances(seen, shares, self.centres[labels])
        terms = {"centres": Term(distances, factor=self.weight)}
        if self.generation is None:
            terms["judge"] = Term(self._contrast(seen, labels), factor=self.weight)
        else:
            heads, tails = pair_with_tail(self.is_head[labels], self.generation.strength)
            centred = seen - self.centres.detach()[labels, shares.argmax(1)][:, :, None, None]
            errors = seen.new_zeros(0)
            if len(tails):  # else the transformation rests, its weight decay too
                moved = self.transformation(centred[heads])
                lengths, directions = vector_errors(centred[heads], moved, centred[tails], self.generation.memory_chunks)
                errors = self.unlike(seen[heads], moved) + lengths + directions
                maps, rows = torch.cat([maps, like_rows(seen[tails] + moved, maps)]), _extended(rows, tails)
            terms["vectors"] = Term(errors, factor=self.generation.weight)
        return {"class": supervised(self.criterion, net.finish(maps, start=self.block).logits, rows), **terms}

    def _contrast(self, seen: Tensor, labels: Tensor) -> Tensor:
        """Ask the judge of pairs, one row of each half of the batch; an odd row has no partner, and one alone leaves the judge at rest."""
        half = len(seen) // 2
        if not half:
            return seen.new_zeros(0)
        same = (labels[:half] == labels[half : 2 * half]).long()
        return cross_entropy(self.judge(seen[:half], seen[half : 2 * half]), same, reduction="none")

    def unlike(self, maps: Tensor, moved: Tensor) -> Tensor:
        """Ask the judge, which rests, to take maps and their own moved variation for two classes."""
        resting = {name: parameter.detach() for name, parameter in self.judge.named_parameters()}
        judged = functional_call(self.judge, resting, (maps, moved))
        return cross_entropy(judged, judged.new_zeros(len(judged), dtype=torch.long), reduction="none")

    def predictor(self, net: nn.Module) -> nn.Module:
        """Give the base's predictor."""
        return Supervised(self.criterion).predictor(net)


class Judge(nn.Module):
    """Logits (m, 2) of two maps (m, C, H, W) being of different classes, and of the same one."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = _convolution(2 * channels, width, 1)
        self.second = _convolution(width, width, 3)
        self.last = nn.Linear(width, 2)
        nn.init.normal_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Look at both maps, one on the other."""
        return self.last(self.second(relu(self.first(torch.cat([one, other], 1)))).mean((2, 3)))


def _convolution(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    made = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    nn.init.kaiming_normal_(made.weight)
    nn.init.zeros_(made.get_parameter("bias"))
    return made


def _dominant(rows: Sample) -> Tensor:
    """Give the label of each row, of a mixed one that with the larger share."""
    if "mixed_targets" not in rows.extra:
        return rows.labels
    return torch.where(rows.extra["share"] >= 0.5, rows.labels, rows.extra["mixed_targets"])


def _extended(rows: Sample, tails: Tensor) -> Sample:
    """Let a generated row have all that is said of its tail row; images there are none."""
    chosen = torch.cat([torch.arange(len(rows), device=tails.device), tails])
    extra = {name: tensor[chosen] for name, tensor in rows.extra.items()}
    return Sample((), rows.labels[chosen], rows.index[chosen], extra)
