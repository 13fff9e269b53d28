"""Mixup: rows are averaged in pairs, and so are the losses on their labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.objective import Sample


@dataclass(frozen=True)
class Mixup:
    """Mixes every row with a partner of its batch: `lam x + (1 - lam) x'`, losses likewise, lam ~ Beta(alpha, alpha) once a batch.

    Zhang et al., *mixup: Beyond empirical risk minimization*, ICLR 2018, section 2; partners are a permutation, as in the authors'
    code. All views of a row are mixed with the same partner and the same lam.

    Where rows have weights, a mixed row weighs `lam w + (1 - lam) w'`, and the two labels share that weight as w and w' do: each row's
    label counts by its own weight, wherever the row was mixed into.

    Args:
        alpha: of the Beta distribution: towards 0 rows hardly mix, 1 draws lam uniformly; 0 leaves the batch as it is.

    Raises:
        BadValue: alpha below 0 or not finite.

    >>> rows = Sample((torch.tensor([[0.0], [10.0]]),), torch.tensor([0, 1]), torch.arange(2))
    >>> mixed = Mixup(alpha=1.0)(rows, np.random.default_rng(0))
    >>> mixed.targets.tolist(), mixed.extra["mixed_targets"].tolist(), mixed.extra["share"].numpy().round(2)
    ([0, 1], [1, 0], array([0.7, 0.7], dtype=float32))
    >>> mixed.images.numpy().round(1).ravel()
    array([3., 7.], dtype=float32)
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < math.inf:
            raise BadValue(f"mixup's alpha is a finite number >= 0, got {self.alpha}")

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
        lam = float(rng.beta(self.alpha, self.alpha))
        partners = torch.from_numpy(rng.permutation(len(sample))).to(sample.index.device)
        views = tuple(lam * view + (1 - lam) * view[partners] for view in sample.views)
        share = torch.full_like(sample.index, lam, dtype=views[0].dtype)
        mixed = {"share": share, **_mixed_weights(sample.extra.get("weight"), partners, share)}
        if sample.targets is not None:
            mixed["mixed_targets"] = sample.targets[partners]
        return replace(sample, views=views, extra={**sample.extra, **mixed})


def _mixed_weights(weight: Tensor | None, partners: Tensor, share: Tensor) -> dict[str, Tensor]:
    """Give the mixed rows' weights, and the shares of the two labels in them; a row that weighs nothing keeps its share."""
    if weight is None:
        return {}
    own = share * weight
    together = own + (1 - share) * weight[partners]
    return {"weight": together, "share": torch.where(together > 0, own / together, share)}
