"""Focal loss: rows that are already right count less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tailwise.errors import BadValue
from tailwise.objective import Criterion


def focal_factor(losses: Tensor, gamma: float) -> Tensor:
    """Give `(1 - p)**gamma` of losses `-log p`, finite with its gradient for p of exactly 1.

    `1 - p` is taken as `-expm1(log p)`: the difference has no digit left as p nears 1. Where p is 1 the factor is 0, and its
    derivative, infinite for gamma below 1, is left at the smallest loss instead: the derivative of factor times loss is 0 there.

    Args:
        losses: (B,) cross-entropies, >= 0.
        gamma: at least 0.
    """
    return (-torch.expm1(-losses.clamp_min(torch.finfo(losses.dtype).tiny))) ** gamma


@dataclass(eq=False)
class FocalLoss(Criterion):
    """Cross-entropy times `(1 - p)**gamma`, p the softmax probability of the target.

    Lin et al., *Focal loss for dense object detection*, ICCV 2017, equation 4, in the softmax form of this field (LDAM-DRW, LADE).
    It takes no notice of classes, so the class prior stays in the logits. Published "mean" divides by the rows.

    Args:
        gamma: focusing; 0 is cross-entropy.
        detach: whether the factor is a constant for the gradient, as in LADE's code; the definition differentiates it.
        reduction: `mean`, `sum` or `none`.

    Raises:
        BadValue: gamma below 0 or not finite.

    >>> round(FocalLoss(gamma=2.0)(torch.zeros(1, 2), torch.tensor([0])).item(), 4)  # 0.25 log 2
    0.1733
    """

    gamma: float = 2.0
    detach: bool = False
    reduction: Literal["mean", "sum", "none"] = "mean"

    def prepare(self) -> None:
        """Check gamma."""
        if not 0 <= self.gamma < float("inf"):
            raise BadValue(f"gamma is a finite number >= 0, got {self.gamma}")

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        """Give (B,) losses of (B, C) logits and (B,) int64 targets, unweighted."""
        losses = cross_entropy(logits, targets, reduction="none")
        factor = focal_factor(losses.detach() if self.detach else losses, self.gamma)
        return factor * losses, None
