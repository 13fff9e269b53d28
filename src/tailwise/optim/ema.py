"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class EMA:
    """Average of weights over steps: `w_e <- d w_e + (1 - d) w`; float buffers are averaged too, integers copied.

    Args:
        decay: d; 0 keeps the live weights.
        warm_up: whether d starts at `(1 + t) / (10 + t)`, t the 0-based step, so that early weights are forgotten.
    """

    decay: float = 0.999
    warm_up: bool = True

    def decay_at(self, step: int) -> float:
        """Give d at the 0-based step of the average.

        >>> EMA(0.5).decay_at(0), EMA(0.5).decay_at(100)
        (0.1, 0.5)
        """
        return min(self.decay, (1 + step) / (10 + step)) if self.warm_up else self.decay

    @torch.no_grad()
    def update(self, averaged: Mapping[str, Tensor], live: Mapping[str, Tensor], step: int) -> None:
        """Move the averaged tensors towards the live ones, in place."""
        decay = self.decay_at(step)
        for name, tensor in live.items():
            if tensor.is_floating_point():
                averaged[name].mul_(decay).add_(tensor.detach(), alpha=1 - decay)
            else:
                averaged[name].copy_(tensor)
