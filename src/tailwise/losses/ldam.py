"""LDAM: a margin that grows as a class shrinks, proportional to n**(-1/4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tailwise.counts import Counts
from tailwise.objective import Criterion, as_counts


def ldam_margins(counts: Counts, max_margin: float = 0.5) -> Tensor:
    """Give the margins `m_k = max_margin (n_min / n_k)**(1/4)`: the rarest class gets `max_margin`.

    A class with a count of zero has no margin and does not set the smallest count.

    Args:
        counts: (classes,) real training images a class.
        max_margin: margin of the rarest class, in cosine units.

    Returns:
        (classes,) float64 margins.

    >>> ldam_margins([16, 1, 0], 0.5).tolist()
    [0.25, 0.5, 0.0]
    """
    n = as_counts(counts)
    n_min = n[n > 0].min()
    return torch.where(n > 0, max_margin * (n_min / n.clamp_min(1e-300)) ** 0.25, 0.0)


@dataclass(eq=False)
class LDAMLoss(Criterion):
    """Label-distribution-aware margin loss: `CE(s (u - m_y [k = y]), y)` on cosine logits u.

    Cao et al., *Learning imbalanced datasets with label-distribution-aware margin loss*, NeurIPS 2019, equations 10 to 13. Needs a
    head whose logits are cosines in [-1, 1] and not scaled: the scale belongs to the loss. Published "mean" divides by the rows;
    with class weights (the paper's DRW stage) by the sum of weights.

    Args:
        counts: (classes,) real training images a class, label order.
        max_margin: margin of the rarest class, in cosine units.
        scale: temperature s of the softmax.
        reduction: `mean`, `sum` or `none`.

    Raises:
        BadValue: counts that are negative or not finite.

    >>> loss = LDAMLoss([16, 1], max_margin=0.5, scale=1.0)
    >>> round(loss(torch.zeros(1, 2), torch.tensor([1])).item(), 4)
    0.9741
    """

    counts: Counts
    max_margin: float = 0.5
    scale: float = 30.0
    reduction: Literal["mean", "sum", "none"] = "mean"

    def prior_left(self, prior: Sequence[float]) -> tuple[float, ...]:
        """Give what is shown: a margin asks for distance from every boundary, and takes no class out of the softmax's odds."""
        return tuple(prior)

    @property
    def logit_scale(self) -> float:
        """Cosines times this are the logits of the loss's softmax."""
        return self.scale

    margins: ClassVar[Tensor]

    def prepare(self) -> None:
        """Compute the margins in float64."""
        self.register_buffer("margins", ldam_margins(self.counts, self.max_margin), persistent=False)

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        """Give (B,) losses of (B, C) cosines and (B,) int64 targets, unweighted."""
        margins = self.margins.to(logits.dtype)[targets]
        lowered = logits.scatter_add(1, targets[:, None], -margins[:, None])
        return cross_entropy(self.scale * lowered, targets, reduction="none"), None
