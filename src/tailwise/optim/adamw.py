"""Adam with decoupled weight decay, by description."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tailwise.errors import BadValue


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov and Hutter, ICLR 2019).

    Args:
        rate: learning rate before the schedule.
        weight_decay: decoupled decay, multiplied by the rate.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
    """

    rate: float
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf:
            raise BadValue(f"a learning rate is above 0 and finite, got {self.rate}")
        if self.weight_decay < 0 or not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            said = f"weight_decay={self.weight_decay}, betas {self.beta1} and {self.beta2}"
            raise BadValue(f"AdamW takes a weight decay from 0 and betas in [0, 1), got {said}")

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the torch optimiser for parameter groups that carry `lr` and `weight_decay`."""
        return torch.optim.AdamW(groups, lr=self.rate, betas=(self.beta1, self.beta2), foreach=False)

    def ahead(self, parameter: Tensor, slope: Tensor, slots: Mapping[str, Tensor], rate: float, weight_decay: float) -> Tensor:
        """Give where a step would take a parameter, differentiable in its slope; nothing moves. As `SGD.ahead`."""
        decayed = parameter * (1 - rate * weight_decay)
        return decayed - rate * adam_direction(slope, slots, self.beta1, self.beta2)


def adam_direction(slope: Tensor, slots: Mapping[str, Tensor], beta1: float, beta2: float) -> Tensor:
    """Give Adam's `m / (sqrt(v) + 1e-8)` after one more slope, both corrected for their start at zero; differentiable in the slope.

    Args:
        slope: gradient of a parameter.
        slots: `step`, `exp_avg` and `exp_avg_sq`, as torch's optimisers hold them; empty before the first step.
        beta1: decay of m.
        beta2: decay of v.
    """
    step = float(slots["step"]) + 1 if "step" in slots else 1.0
    m = (1 - beta1) * slope + beta1 * slots.get("exp_avg", torch.zeros_like(slope))
    v = (1 - beta2) * slope.square() + beta2 * slots.get("exp_avg_sq", torch.zeros_like(slope))
    moves = v > 0  # a root has no slope at zero
    root = torch.where(moves, torch.where(moves, v, 1.0).sqrt(), 0.0) / math.sqrt(1 - beta2**step)
    return m / (1 - beta1**step) / (root + 1e-8)
