"""Adam, with weight decay in the gradient, by description."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.optim.adamw import adam_direction


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, ICLR 2015); its weight decay is an L2 factor added to the gradient, unlike `AdamW`'s.

    Args:
        rate: learning rate before the schedule.
        weight_decay: L2 factor added to the gradient.
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
            raise BadValue(f"Adam takes a weight decay from 0 and betas in [0, 1), got {said}")

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the torch optimiser for parameter groups that carry `lr` and `weight_decay`."""
        return torch.optim.Adam(groups, lr=self.rate, betas=(self.beta1, self.beta2), foreach=False)

    def ahead(self, parameter: Tensor, slope: Tensor, slots: Mapping[str, Tensor], rate: float, weight_decay: float) -> Tensor:
        """Give where a step would take a parameter, differentiable in its slope; nothing moves. As `SGD.ahead`."""
        return parameter - rate * adam_direction(slope + weight_decay * parameter, slots, self.beta1, self.beta2)
