"""Class weights over any criterion: what all have in common, and weights by the effective number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tailwise.counts import Counts
from tailwise.errors import BadValue
from tailwise.objective import Criterion, as_counts


def effective_number_weights(counts: Counts, beta: float = 0.9999) -> Tensor:
    """Give class weights `w_k = (1 - beta) / (1 - beta**n_k)`, rescaled to sum to the number of classes.

    Cui et al., *Class-balanced loss based on effective number of samples*, CVPR 2019, equation 2, with the normalisation of their
    section 5. Computed as `log1p(-beta) - log(-expm1(n log beta))`: the plain form loses all digits as beta nears 1. A class with a
    count of zero gets weight 0 and is not counted in the sum.

    Args:
        counts: (classes,) real training images a class.
        beta: in [0, 1): 0 gives ones; towards 1 the weights become inverse frequencies.

    Returns:
        (classes,) float64 weights.

    >>> [round(w, 3) for w in effective_number_weights([10, 10]).tolist()]
    [1.0, 1.0]
    """
    if not 0 <= beta < 1:
        raise BadValue(f"beta is at least 0 and below 1, got {beta}")
    n = as_counts(counts)
    if beta == 0:
        weights = (n > 0).to(n.dtype)
    else:
        log_beta = torch.log(torch.tensor(beta, dtype=n.dtype))
        log_weights = torch.log1p(torch.tensor(-beta, dtype=n.dtype)) - torch.log(-torch.expm1(n.clamp_min(1e-9) * log_beta))
        weights = torch.where(n > 0, log_weights.exp(), 0.0)
    return weights * int((n > 0).sum()) / weights.sum()


@dataclass(eq=False)
class WeightedByClass(Criterion):
    """A criterion whose rows are weighted by their class; a subclass gives the rule of the weights.

    Two published means: the weighted sum over the sum of weights is what `torch.nn.functional.cross_entropy(weight=...)` computes; a
    batch of one class is then unweighted, and a rescaling of all weights changes nothing. The weighted sum over the number of rows
    is what the class-balanced loss was published with; there the weights sum to the number of classes.

    Args:
        criterion: what gives the losses.
        counts: (classes,) real training images a class, label order.
        divisor: what the weighted sum of a `mean` is divided by: the sum of `weights`, or the number of `rows`.
        reduction: `mean`, `sum` or `none`.

    Raises:
        BadValue: counts that are negative, not finite or all zero, another divisor, a rule out of its range.
    """

    criterion: Criterion
    counts: Counts
    _: KW_ONLY
    divisor: Literal["weights", "rows"] = "weights"  # type: ignore[misc]  # a constant of the class elsewhere, a choice here
    reduction: Literal["mean", "sum", "none"] = "mean"

    @property
    def logit_scale(self) -> float:
        """That of the criterion underneath."""
        return self.criterion.logit_scale

    class_weights: ClassVar[Tensor]

    def weigh(self) -> Tensor:
        """Give the (classes,) float64 weights, rescaled to sum to the number of classes that have images."""
        raise NotImplementedError

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...]:
        """Give the masses times the weights: a row that counts twice is shown twice."""
        return tuple(mass * weight for mass, weight in zip(prior, self.weigh().tolist(), strict=True))

    def prepare(self) -> None:
        """Compute the weights in float64."""
        if self.divisor not in ("weights", "rows"):
            raise BadValue(f"{type(self).__name__}.divisor is 'weights' or 'rows', got {self.divisor!r}")
        self.register_buffer("class_weights", self.weigh(), persistent=False)

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Give (B,) losses of the criterion and (B,) weights, times its own where it has some."""
        values, weights = self.criterion.rows(logits, targets)
        own = self.class_weights.to(logits.dtype)[targets]
        return values, own if weights is None else own * weights


@dataclass(eq=False)
class ClassWeighted(WeightedByClass):
    """Rows weighted by the effective number of their class, see `effective_number_weights`.

    Cui et al.'s code (`cifar_main.py`) divides by the rows; LDAM-DRW's, with the same weights, by their sum.

    Args:
        criterion: what gives the losses.
        counts: (classes,) real training images a class, label order.
        beta: of the effective number; 0 leaves the criterion.
        divisor: `weights` or `rows`.
        reduction: `mean`, `sum` or `none`.

    >>> from tailwise.losses import CrossEntropyLoss
    >>> logits, targets = torch.zeros(4, 2), torch.tensor([0, 0, 0, 1])
    >>> published = ClassWeighted(CrossEntropyLoss(), [30, 10], beta=0.999, divisor="rows")
    >>> [round(w, 4) for w in published.class_weights.tolist()]
    [0.5037, 1.4963]
    >>> round(published(logits, targets).item(), 4)  # (3 x 0.5037 + 1.4963) / 4 x log 2
    0.5212
    """

    beta: float = 0.9999

    def weigh(self) -> Tensor:
        """Give the weights of the effective number."""
        return effective_number_weights(self.counts, self.beta)
