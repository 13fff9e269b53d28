"""Cross-entropy, the loss that everything else reduces to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from tailwise.objective import Criterion


@dataclass(eq=False)
class CrossEntropyLoss(Criterion):
    """Cross-entropy `-log softmax(z)_y`.

    Published "mean" divides by the rows.

    >>> import torch
    >>> round(CrossEntropyLoss()(torch.zeros(2, 4), torch.tensor([0, 3])).item(), 4)
    1.3863
    """

    reduction: Literal["mean", "sum", "none"] = "mean"

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        """Give (B,) losses of (B, C) logits and (B,) int64 targets, unweighted."""
        return cross_entropy(logits, targets, reduction="none"), None
