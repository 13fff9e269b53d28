"""Mixup: rows are averaged in pairs, and so are the losses on their labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.mixing.pairs import paired
from tailwise.objective import Sample


@dataclass(frozen=True)
class Mixup:
    """Mixes every row with a partner of its batch: `lam x + (1 - lam) x'`, losses likewise, lam ~ Beta(alpha, alpha).

    Zhang et al., *mixup: Beyond empirical risk minimization*, ICLR 2018, section 2; partners are a permutation, as in the authors'
    code. All views of a row are mixed with the same partner and the same lam.

    Where rows have weights, each row's label counts by its own weight, wherever the row was mixed into.

    Args:
        alpha: of the Beta distribution: towards 0 rows hardly mix, 1 draws lam uniformly; 0 leaves the batch as it is.
        per: one lam a `batch`, as in the authors' code, or one a `row`, as in the paper's equation.

    Raises:
        BadValue: alpha below 0 or not finite, or another word.

    >>> rows = Sample((torch.tensor([[0.0], [10.0]]),), torch.tensor([0, 1]), torch.arange(2))
    >>> mixed = Mixup(alpha=1.0)(rows, np.random.default_rng(0))
    >>> mixed.targets.tolist(), mixed.extra["mixed_targets"].tolist(), mixed.extra["share"].numpy().round(2)
    ([0, 1], [1, 0], array([0.7, 0.7], dtype=float32))
    >>> mixed.images.numpy().round(1).ravel()
    array([3., 7.], dtype=float32)
    """

    alpha: float = 1.0
    per: Literal["batch", "row"] = "batch"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < math.inf or self.per not in ("batch", "row"):
            raise BadValue(f"mixup's alpha is a finite number >= 0, per 'batch' or 'row', got {self.alpha} and {self.per!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Give the mixed sample.

        Args:
            sample: B rows; views are (B, channels, height, width) images or (B, D) features.
            rng: of this step; drawn from for the whole batch.

        Returns:
            The sample with mixed views, the rows' own targets, and in `extra` the partners' `mixed_targets` and the (B,) `share` of
            the rows' own; the very sample when alpha is 0.
        """
        if self.alpha == 0:
            return sample
        rows = len(sample)
        lam = rng.beta(self.alpha, self.alpha, rows) if self.per == "row" else np.full(rows, rng.beta(self.alpha, self.alpha))
        partners = torch.from_numpy(rng.permutation(rows)).to(sample.index.device)
        share = torch.from_numpy(lam).to(sample.views[0])
        views = tuple(_blend(view, view[partners], share) for view in sample.views)
        return paired(sample, views, partners, share)


def _blend(view: Tensor, other: Tensor, share: Tensor) -> Tensor:
    share = share.to(view.dtype).view(-1, *(1,) * (view.ndim - 1))
    return share * view + (1 - share) * other
