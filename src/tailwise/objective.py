"""What trains: parts, terms, samples, the clock, and the objective, the one thing that a stage optimises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tailwise import seeds
from tailwise.errors import BadValue
from tailwise.specification import awaits_shown, code_digest

if TYPE_CHECKING:
    from tailwise.method import About


@dataclass(frozen=True)
class Sample:
    """Rows of one stream, as a step sees them.

    Attributes:
        views: one tensor a view, each (B, channels, height, width) float32, channels last in memory, or (B, D) features.
        targets: (B,) int64 labels, or whatever the objective understands; None when the rows are unlabelled.
        index: (B,) int64 row numbers in the stream's split.
        extra: further tensors with one row a sample: `weight` of the manifest, `mixed_targets` and `share` of a mixing.
    """

    views: tuple[Tensor, ...]
    targets: Tensor | None
    index: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def images(self) -> Tensor:
        """The first view."""
        return self.views[0]

    @property
    def labels(self) -> Tensor:
        """The targets, when there must be some.

        Raises:
            BadValue: the rows of this stream are unlabelled.
        """
        if self.targets is None:
            raise BadValue("this stream's rows are unlabelled; its objective asked for labels")
        return self.targets

    def __len__(self) -> int:
        return len(self.index)


Batch = Mapping[str, Sample]
"""Named streams of samples; `main` is always there."""

Chosen = tuple[NDArray[np.int64], Mapping[str, Tensor]]
"""Rows of a stream, and further tensors with one row a sample that belong to them."""


@dataclass(frozen=True)
class Out:
    """What a network returns.

    Attributes:
        logits: (B, C), or (B, experts, C) of a network with branches.
        features: (B, D) pooled features, what the head saw; (B, experts, D) of a network with branches.
        experts: (B, experts, C) logits of branches, where `logits` are already their sum under weights; else None.
    """

    logits: Tensor
    features: Tensor
    experts: Tensor | None = None


@dataclass(frozen=True)
class Clock:
    """Where training stands. It shows the recipe's length, never the stage's, and carries no name of a stage.

    Attributes:
        epoch: 0-based, counted on by stages that continue.
        epochs: length of the recipe that the stage follows.
        step: step within the epoch, 0-based.
        steps: steps an epoch.
        total: steps since the root of the chain of stages; what draws are made from.
        seed: of the run.
        part: which part of the batch, 0-based, counted over processes and what each accumulates.
        rows: rows of `main` in the whole batch, over all processes.
        stands_in: whether the batch has fewer rows than there are processes, and this one repeats the rows of the first, uncounted.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    total: int
    seed: int
    part: int = 0
    rows: int = 0
    stands_in: bool = False

    @property
    def progress(self) -> float:
        """Share of the recipe that is done, in [0, 1)."""
        return (self.epoch + self.step / self.steps) / self.epochs

    def rng(self, purpose: str) -> np.random.Generator:
        """Give the generator for one purpose at this step: the only source of randomness in an objective.

        Draw for the whole batch; the same purpose at the same step gives the same numbers again.
        """
        return seeds.generator(self.seed, "objective", purpose, self.total, self.part)


@dataclass(frozen=True)
class Term:
    """A part of a loss, not reduced: only the loop reduces, over parts and processes, once.

    Attributes:
        values: (rows,) losses, or a scalar when the divisor is `batch`.
        weights: (rows,) weights of the rows; all ones when None.
        divisor: what the weighted sum is divided by: the number of `rows`, the sum of `weights`, both over the whole batch, or
            `batch`: a scalar that has already gathered and reduced what it needs.
        factor: what the reduced term is multiplied by in the total.
    """

    values: Tensor
    weights: Tensor | None = None
    divisor: Literal["rows", "weights", "batch"] = "rows"
    factor: float = 1.0

    def numerator(self) -> Tensor:
        """Weighted sum of the values; differentiable."""
        return self.values.sum() if self.weights is None else (self.weights * self.values).sum()

    def denominator(self) -> Tensor:
        """What this part of the batch adds to the divisor; a constant."""
        if self.divisor == "batch":
            return self.values.new_ones(())
        if self.divisor == "rows" or self.weights is None:
            return self.values.new_full((), float(self.values.numel()))  # filled on the device: a copy would make the host wait
        return self.weights.detach().sum()

    def __post_init__(self) -> None:
        wanted = 0 if self.divisor == "batch" else 1
        if self.values.ndim != wanted or (self.weights is not None and self.weights.shape != self.values.shape):
            shapes = [tuple(t.shape) for t in (self.values, self.weights) if t is not None]
            raise BadValue(f"a term has one value and one weight a row, or is a scalar of the whole batch; got shapes {shapes}")


Terms = Mapping[str, Term]


class Part(nn.Module):
    """A module described by its dataclass fields: `@dataclass(eq=False)` on the class, buffers and layers made from the fields.

    The digest of its code is taken when the class is defined, see `tailwise.specification`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Part:
        """Prepare the module before the dataclass assigns its fields, so that fields may be modules."""
        made = super().__new__(cls)
        nn.Module.__init__(made)
        return made

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Remember the code as it is now."""
        super().__init_subclass__(**kwargs)
        code_digest(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; a part in it is found although the field's default, as in `teacher: Part | None = None`, stands on the class."""
        super().__setattr__(name, value)
        if isinstance(value, nn.Module) and hasattr(type(self), name):
            self.__dict__[name] = value


class Criterion(Part):
    """A loss on logits and targets: per-row values and weights underneath, ordinary torch on top.

    A subclass is a `@dataclass(eq=False)` with its constants as fields; it makes buffers in `prepare` and writes `rows`. Fields that
    say `SHOWN` are filled by the planner before `prepare` runs.
    """

    divisor: ClassVar[Literal["rows", "weights"]] = "rows"

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...]:
        """Give the class prior that this leaves in the logits where rows come with `prior`: masses a class, up to a factor.

        What takes no notice of classes leaves what it is shown. A criterion over another one gives its own effect alone.
        """
        return tuple(prior)

    @property
    def logit_scale(self) -> float:
        """Logits times this are those of the loss's softmax."""
        return 1.0

    def __post_init__(self) -> None:
        if getattr(self, "reduction", "mean") not in ("mean", "sum", "none"):
            raise BadValue(f"{type(self).__name__}.reduction is 'mean', 'sum' or 'none', got {getattr(self, 'reduction', None)!r}")
        if not awaits_shown(self):
            self.prepare()

    def prepare(self) -> None:
        """Check the fields and register constants as non-persistent buffers."""

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give (B,) losses and (B,) weights, None for ones, of (B, C) logits and (B,) int64 targets."""
        raise NotImplementedError

    def term(self, logits: Tensor, targets: Tensor) -> Term:
        """Give the loss of these rows as a term for the loop to reduce.

        Half precision is taken as float32: beside a logit of 1,000 it keeps no log prior, and 30 times a cosine's error is no logit.
        """
        if awaits_shown(self):
            raise BadValue(f"{type(self).__name__} needs class counts: give one number a class instead of SHOWN")
        values, weights = self.rows(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets)
        return Term(values, weights, self.divisor)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Reduce as the published `mean` does: the weighted sum over rows, or over the sum of weights, as `divisor` says.

        Args:
            logits: (B, C) floating point.
            targets: (B,) int64 labels.

        Returns:
            A scalar, or (B,) weighted losses when the field `reduction` is `none`, or their sum when it is `sum`; in the dtype of the
            logits, float32 for half precision.
        """
        term = self.term(logits, targets)
        reduction = getattr(self, "reduction", "mean")
        if reduction == "none":
            return term.values if term.weights is None else term.weights * term.values
        return term.numerator() if reduction == "sum" else term.numerator() / term.denominator()


class Objective(Part):
    """What a stage optimises, with its own state: queues, centres, experts, momentum copies as buffers and submodules.

    Only `loss` must be written. An objective never stores the network, and nothing of it is exported unless its predictor holds it.

    Attributes:
        compares_rows: whether rows of a batch are compared with each other, so that a batch cannot be cut into parts.
        descends: whether `step` ends in `loop.descend`, so that a gradient rule such as SAM takes effect.
        replays: whether a step makes the same calls on the same tensors whatever the clock shows and the batch holds, so that a device
            may record it once and repeat it.
    """

    compares_rows: ClassVar[bool] = False
    descends: ClassVar[bool] = True
    replays: ClassVar[bool] = False

    def build(self, net: nn.Module, about: About) -> None:
        """Make modules and buffers that need the network's widths. Runs once, seeded, with the network in eval mode."""

    def choose(self, stream: str, rows: NDArray[np.int64], labels: NDArray[Any] | None, now: Clock) -> Chosen:
        """Choose the rows that a stream shows at this step, where what is learnt decides; by default those that its sampler drew.

        Called before the step, in every process for the whole batch, so that all choose alike; draws come from `now.rng` alone.

        Args:
            stream: its name.
            rows: (B,) rows that its sampler drew, positions in its split.
            labels: (N,) labels of the split, or None where they are not shown.
            now: the clock; how many rows a process has is not settled yet.

        Returns:
            (B,) rows, and tensors with one row a sample, which come with them in `Sample.extra`.
        """
        return rows, {}

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term | Terms:
        """Give the loss as terms, the same names for every batch; a term without rows has values of shape (0,).

        Pure but for BatchNorm statistics: it may run twice in a step; it may `keep` rows.
        """
        raise NotImplementedError

    def settle(self, net: nn.Module, kept: Mapping[str, Tensor], now: Clock) -> None:
        """Change state once a step, after the update; `kept` has the rows of the whole batch, in batch order."""

    def step(self, loop: Any, batch: Batch, now: Clock) -> None:
        """Make one step. Only methods whose step is not "loss, backward, update" write it."""
        loop.descend(batch, now)

    def event(self, what: str, loop: Any) -> None:
        """Hear of `stage_start`, `epoch_start` and `epoch_end`; `loop.now` is the clock.

        What it changes must be state, or a resumed run would differ.
        """

    def predictor(self, net: nn.Module) -> nn.Module:
        """Give the module that is evaluated and exported; its logits are on the scale of the loss's softmax."""
        return net

    def keep(self, **rows: Tensor) -> None:
        """Hand rows of this step, detached, to `settle`: the same names at every step, with no rows where there are none."""
        kept = self.__dict__.setdefault("_kept", {})
        for name, tensor in rows.items():
            kept.setdefault(name, []).append(tensor.detach())

    def take_kept(self) -> dict[str, Tensor]:
        """Return what was kept since the last call, parts of the batch joined in order."""
        kept = self.__dict__.pop("_kept", {})
        return {name: torch.cat(parts) for name, parts in kept.items()}


class Scaled(nn.Module):
    """A network whose logits are multiplied by a constant: the predictor of losses that hold the softmax's temperature."""

    def __init__(self, net: nn.Module, scale: float) -> None:
        super().__init__()
        self.net = net
        self.scale = scale

    def forward(self, images: Tensor) -> Out:
        """Give the network's output with scaled logits."""
        out = self.net(images)
        return Out(self.scale * out.logits, out.features)


@dataclass(eq=False)
class Supervised(Objective):
    """The ready-made objective: a criterion on the labels of `main`, with mixed labels and row weights when the batch has them."""

    replays: ClassVar[bool] = True

    criterion: Criterion

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        """Apply the criterion to the logits; to the mean over branches where the network has some, as predictions do."""
        logits = net(batch["main"].images).logits
        return supervised(self.criterion, logits.mean(1) if logits.ndim == 3 else logits, batch["main"])

    def predictor(self, net: nn.Module) -> nn.Module:
        """Give the network, its logits times the criterion's scale."""
        scale = self.criterion.logit_scale
        return net if scale == 1.0 else Scaled(net, scale)


def supervised(criterion: Criterion, logits: Tensor, sample: Sample) -> Term:
    """Apply a criterion to the labels of a sample, with all that the sample says of them.

    Where rows were mixed, to both labels by their shares (Zhang et al., ICLR 2018, section 2); where rows have weights, with these.
    An objective of one's own that calls this keeps mixing, weights and deferred re-weighting working.

    Args:
        criterion: the loss.
        logits: (B, C).
        sample: the rows.
    """
    term = criterion.term(logits, sample.labels)
    if "mixed_targets" in sample.extra:
        term = mixed(term, criterion.term(logits, sample.extra["mixed_targets"]), sample.extra["share"])
    return weighted(term, sample.extra.get("weight"))


def mixed(first: Term, second: Term, share: Tensor) -> Term:
    """Mix two terms of the same rows: `share` of the first, the rest of the second, weights included."""
    if first.weights is None and second.weights is None:
        return Term(share * first.values + (1 - share) * second.values, None, first.divisor, first.factor)
    ones = torch.ones_like(first.values)
    w1 = ones if first.weights is None else first.weights
    w2 = ones if second.weights is None else second.weights
    weights = share * w1 + (1 - share) * w2
    values = (share * w1 * first.values + (1 - share) * w2 * second.values) / weights.clamp_min(torch.finfo(weights.dtype).tiny)
    return Term(values, weights, first.divisor, first.factor)


def weighted(term: Term, row_weights: Tensor | None) -> Term:
    """Multiply a term's weights by those of its rows; the divisor counts rows by their weight too."""
    if row_weights is None:
        return term
    if term.divisor == "weights" and term.weights is not None:
        return Term(term.values, row_weights * term.weights, "weights", term.factor)
    values = term.values if term.weights is None else term.weights * term.values
    return Term(values, row_weights, "weights", term.factor)


def as_counts(counts: Any) -> Tensor:
    """Turn class counts, one number a class, into a (classes,) float64 tensor; constants of formulas are computed and kept in it.

    Raises:
        BadValue: counts that are no flat list of non-negative numbers, or all zero.
    """
    if not isinstance(counts, Tensor | np.ndarray | Sequence):
        raise BadValue(f"class counts are one number a class, got {counts!r}")
    tensor = torch.as_tensor(np.asarray(counts, dtype=np.float64))
    if tensor.ndim != 1 or bool((tensor < 0).any()) or not bool(torch.isfinite(tensor).all()) or not bool(tensor.any()):
        raise BadValue(f"class counts are one finite number >= 0 a class in label order, not all 0, got shape {tuple(tensor.shape)}")
    return tensor
