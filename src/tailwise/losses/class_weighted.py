"""Class weights over any criterion, by the effective number of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tailwise.counts import Counts, is_uneven
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
class ClassWeighted(Criterion):
    """A criterion whose rows are weighted by their class; the sum is divided by the sum of weights.

    That divisor is what `torch.nn.functional.cross_entropy(weight=...)` and LDAM-DRW's code use; a batch of one class is then
    unweighted. Any rescaling of the weights leaves it unchanged.

    Args:
        criterion: what gives the losses.
        counts: (classes,) real training images a class, label order.
        beta: of the effective number, see `effective_number_weights`.
        reduction: `mean`, `sum` or `none`.
    """

    criterion: Criterion
    counts: Counts
    beta: float = 0.9999
    reduction: Literal["mean", "sum", "none"] = "mean"

    divisor = "weights"

    @property
    def removes_prior(self) -> bool:
        """Whether the weights differ."""
        return self.beta > 0 and is_uneven(self.counts)

    @property
    def logit_scale(self) -> float:
        """That of the criterion underneath."""
        return self.criterion.logit_scale

    class_weights: ClassVar[Tensor]

    def prepare(self) -> None:
        """Compute the weights in float64."""
        self.register_buffer("class_weights", effective_number_weights(self.counts, self.beta), persistent=False)

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Give (B,) losses of the criterion and (B,) weights, times its own where it has some."""
        values, weights = self.criterion.rows(logits, targets)
        own = self.class_weights.to(logits.dtype)[targets]
        return values, own if weights is None else own * weights
