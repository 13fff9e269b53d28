"""CutMix: a box of each row is another row's, and the losses on their labels are averaged by area."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.errors import BadData, BadValue
from tailwise.mixing.pairs import paired
from tailwise.objective import Sample


@dataclass(frozen=True)
class CutMix:
    """Pastes a box of a partner of the batch over every row: the box has a share 1 - lam of the area, lam ~ Beta(alpha, alpha).

    Yun et al., *CutMix*, ICCV 2019, section 3.1 and algorithm 1: the box has the image's aspect, its middle is anywhere in the image, and
    what lies beyond the edge is cut off; the share of a row's own label is what is left of its area, exactly. Partners are a
    permutation. All views of a row have the same partner and the same box.

    Where rows have weights, each row's label counts by its own weight, wherever a box of the row was pasted.

    Args:
        alpha: of the Beta distribution: 1, the authors' value, draws the area uniformly; 0 leaves the batch as it is.
        per: one box a `batch`, as in the authors' code, or one a `row`.

    Raises:
        BadValue: alpha below 0 or not finite, or another word.

    >>> rows = Sample((torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]),), torch.tensor([0, 1]), torch.arange(2))
    >>> mixed = CutMix()(rows, np.random.default_rng(3))
    >>> mixed.images[0, 0].int().tolist(), mixed.extra["mixed_targets"].tolist(), mixed.extra["share"].tolist()
    ([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], [1, 0], [0.875, 0.875])
    """

    alpha: float = 1.0
    per: Literal["batch", "row"] = "batch"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < math.inf or self.per not in ("batch", "row"):
            raise BadValue(f"cutmix's alpha is a finite number >= 0, per 'batch' or 'row', got {self.alpha} and {self.per!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Give the mixed sample.

        Args:
            sample: B rows; views are (B, channels, height, width) images of one size.
            rng: of this step; drawn from for the whole batch.

        Returns:
            The sample with mixed views, the rows' own targets, and in `extra` the partners' `mixed_targets` and the (B,) `share` of
            the rows' own; the very sample when alpha is 0.

        Raises:
            BadData: rows that are no images.
        """
        if sample.images.ndim != 4:
            raise BadData(f"cutmix cuts boxes out of images (B, channels, height, width), got rows of shape {tuple(sample.images.shape)}")
        if self.alpha == 0:
            return sample
        rows, (height, width) = len(sample), sample.images.shape[2:]
        lam = rng.beta(self.alpha, self.alpha, rows if self.per == "row" else 1)
        top, bottom = _interval(rng.integers(0, height, len(lam)), lam, height)
        left, right = _interval(rng.integers(0, width, len(lam)), lam, width)
        partners = torch.from_numpy(rng.permutation(rows)).to(sample.index.device)
        inside = (_between(top, bottom, height)[:, :, None] & _between(left, right, width)[:, None, :]).to(sample.images.device)
        views = tuple(torch.where(inside[:, None], view[partners], view) for view in sample.views)
        share = torch.from_numpy(1 - (bottom - top) * (right - left) / (height * width)).to(sample.images)
        return paired(sample, views, partners, share.expand(rows).contiguous())


def _interval(middle: NDArray[np.int64], lam: NDArray[np.float64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the first pixel of each box along one side, and the first after it."""
    half = (np.sqrt(1 - lam) * size).astype(np.int64) // 2
    return (middle - half).clip(0, size), (middle + half).clip(0, size)


def _between(start: NDArray[np.int64], stop: NDArray[np.int64], size: int) -> Tensor:
    """Say of each pixel along one side whether it lies in each box, (boxes, size)."""
    places = np.arange(size)
    return torch.from_numpy((places >= start[:, None]) & (places < stop[:, None]))
