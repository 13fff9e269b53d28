"""Balanced softmax, which is logit-adjusted cross-entropy with tau = 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tailwise.counts import SHOWN, Counts, without_prior
from tailwise.errors import BadValue
from tailwise.objective import Criterion, as_counts


@dataclass(eq=False)
class BalancedSoftmaxLoss(Criterion):
    """Cross-entropy of logits shifted by the log prior: `CE(z + tau log pi, y)`.

    Ren et al., *Balanced Meta-Softmax*, NeurIPS 2020, equation 3 (tau = 1); Menon et al., *Long-tail learning via logit adjustment*,
    ICLR 2021, equation 10. The prior is that of the stream that the loss sees. A class with a count of zero never is a target there;
    its shifted logit is left out of the softmax, and its gradient is zero. Published "mean" divides by the rows.

    Args:
        counts: (classes,) rows a class in the training stream, label order; only their proportions matter.
        tau: strength; 0 is cross-entropy.
        reduction: `mean`, `sum` or `none`.

    Raises:
        BadValue: counts that are negative, not finite, or all zero.

    >>> loss = BalancedSoftmaxLoss([30, 10])
    >>> round(loss(torch.zeros(1, 2), torch.tensor([0])).item(), 4)
    0.2877
    """

    counts: Counts = SHOWN
    tau: float = 1.0
    reduction: Literal["mean", "sum", "none"] = "mean"

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...]:
        """Give the masses over `counts**tau`: what the shift explains, the logits need not."""
        return without_prior(prior, self.counts, self.tau)

    shift: ClassVar[Tensor]

    def prepare(self) -> None:
        """Compute tau log pi in float64."""
        if self.tau < 0:
            raise BadValue(f"tau is at least 0, got {self.tau}")
        counts = as_counts(self.counts)
        shift = self.tau * torch.log(counts / counts.sum()) if self.tau else torch.zeros_like(counts)
        self.register_buffer("shift", shift, persistent=False)

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        """Give (B,) losses of (B, C) logits and (B,) int64 targets, unweighted."""
        return cross_entropy(logits + self.shift.to(logits.dtype), targets, reduction="none"), None
