"""Label-aware smoothing: the labels of frequent classes are smoothed more than those of rare ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from tailwise.counts import Counts
from tailwise.errors import BadValue
from tailwise.objective import Criterion, as_counts

Shape = Literal["concave", "convex"] | float


def label_smoothing_factors(counts: Counts | Tensor, smooth_head: float, smooth_tail: float, shape: Shape = "concave") -> Tensor:
    """Give eps a class: `tail + (head - tail) f(u)`, u = (n_k - n_min) / (n_max - n_min).

    MiSLAS (Zhong et al., CVPR 2021), section 3.3: concave f(u) = sin(pi u / 2), convex f(u) = 1 - cos(pi u / 2), and a power
    f(u) = u^p, of which 1 is the linear form. Where all classes have equally many images u = 0: as rare as the rarest. A class without
    images counts as the rarest and changes nothing for the others.

    Args:
        counts: (classes,) real training images a class, >= 0, not all 0.
        smooth_head: eps of the most frequent class, in [0, 1).
        smooth_tail: eps of the rarest class, in [0, 1).
        shape: `concave`, `convex`, or a power above 0.

    Returns:
        (classes,) float64.

    >>> label_smoothing_factors([100, 51, 2], smooth_head=0.4, smooth_tail=0.1, shape=1.0).tolist()
    [0.4, 0.25, 0.1]
    """
    n = as_counts(counts)
    lowest, highest = n[n > 0].min(), n.max()
    u = ((n - lowest) / (highest - lowest)).clamp_min(0) if highest > lowest else torch.zeros_like(n)
    if shape == "concave":
        f = torch.sin(math.pi / 2 * u)
    elif shape == "convex":
        f = 1 - torch.cos(math.pi / 2 * u)
    else:
        f = u ** float(shape)
    return smooth_tail + (smooth_head - smooth_tail) * f


@dataclass(eq=False)
class LabelAwareSmoothingLoss(Criterion):
    """Cross-entropy of smoothed labels: `-(1 - eps_y) log p_y - eps_y / (C - 1) sum_{k != y} log p_k`, eps by the class's count.

    Zhong et al., *Improving calibration for long-tailed recognition* (MiSLAS), CVPR 2021, section 3.3. The authors' code spreads eps over
    all C classes, the label's own among them: that is this loss with head and tail times (C - 1) / C. Classes without images have no part
    of eps. Published "mean" divides by the rows.

    Args:
        counts: (classes,) real training images a class, label order.
        smooth_head: eps of the most frequent class, in [0, 1); with `tail` 0 too it is cross-entropy, with `tail` equal uniform smoothing.
        smooth_tail: eps of the rarest class, in [0, 1).
        shape: of eps between the two, see `label_smoothing_factors`.
        reduction: `mean`, `sum` or `none`.

    Raises:
        BadValue: an eps outside [0, 1), another shape, or unusable counts.

    >>> loss = LabelAwareSmoothingLoss([90, 10], smooth_head=0.4, smooth_tail=0.0)
    >>> loss.smoothing.tolist()
    [0.4, 0.0]
    >>> logits = torch.tensor([[2.0, 0.0]])
    >>> [round(loss(logits, torch.tensor([y])).item(), 4) for y in (0, 1)]  # 0.6 x 0.1269 + 0.4 x 2.1269, and cross-entropy
    [0.9269, 2.1269]
    """

    counts: Counts
    smooth_head: float = 0.4
    smooth_tail: float = 0.1
    shape: Shape = "concave"
    reduction: Literal["mean", "sum", "none"] = "mean"

    smoothing: ClassVar[Tensor]
    present: ClassVar[Tensor]

    def prepare(self) -> None:
        """Compute eps in float64."""
        if not (0 <= self.smooth_head < 1 and 0 <= self.smooth_tail < 1):
            raise BadValue(f"label smoothing takes shares in [0, 1), got smooth_head={self.smooth_head} and smooth_tail={self.smooth_tail}")
        if isinstance(self.shape, str) and self.shape not in ("concave", "convex"):
            raise BadValue(f"the shape of label-aware smoothing is 'concave', 'convex' or a power, got {self.shape!r}")
        if not isinstance(self.shape, str) and not 0 < self.shape < math.inf:
            raise BadValue(f"label-aware smoothing by a power takes one above 0, got {self.shape}")
        self.register_buffer(
            "smoothing", label_smoothing_factors(self.counts, self.smooth_head, self.smooth_tail, self.shape), persistent=False
        )
        self.register_buffer("present", (as_counts(self.counts) > 0).double(), persistent=False)

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        """Give (B,) losses of (B, C) logits and (B,) int64 targets, unweighted."""
        costs = -log_softmax(logits, dim=1)
        own = costs.gather(1, targets[:, None])[:, 0]
        others = self.present.to(logits.dtype).repeat(len(logits), 1).scatter(1, targets[:, None], 0.0)
        among = others.sum(1)
        eps = self.smoothing.to(logits.dtype)[targets] * (among > 0)  # with nobody to spread it over there is none
        return (1 - eps) * own + eps * (others * costs).sum(1) / among.clamp_min(1), None
