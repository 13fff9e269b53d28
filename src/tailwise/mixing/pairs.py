"""Pairs of rows: what a mixing writes down of labels and weights, whatever it does to pixels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tailwise.objective import Sample


def paired(sample: Sample, views: tuple[Tensor, ...], partners: Tensor, share: Tensor) -> Sample:
    """Give the sample with mixed views, and in `extra` the partners' `mixed_targets` and the `share` of the rows' own.

    Where rows have weights, a mixed row weighs `share w + (1 - share) w'`, and the two labels share that weight as w and w' do: each
    row's label counts by its own weight, wherever the row was mixed into. A row that weighs nothing keeps its share.

    Args:
        sample: B rows.
        views: mixed.
        partners: (B,) row numbers.
        share: (B,) of a row's own pixels.
    """
    mixed = {"share": share}
    weight = sample.extra.get("weight")
    if weight is not None:
        own = share * weight
        together = own + (1 - share) * weight[partners]
        mixed = {"weight": together, "share": torch.where(together > 0, own / together, share)}
    if sample.targets is not None:
        mixed["mixed_targets"] = sample.targets[partners]
    return replace(sample, views=views, extra={**sample.extra, **mixed})
