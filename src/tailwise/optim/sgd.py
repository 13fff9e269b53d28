"""Stochastic gradient descent, by description."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from tailwise.errors import BadValue


@dataclass(frozen=True)
class SGD:
    """SGD with momentum; weight decay acts on all parameters, biases and normalisation included, as the field's code has it.

    Args:
        rate: learning rate before the schedule.
        momentum: of the heavy ball.
        weight_decay: L2 factor added to the gradient.
        nesterov: whether the look-ahead form is used.
    """

    rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf:
            raise BadValue(f"a learning rate is above 0 and finite, got {self.rate}")
        if not 0 <= self.momentum < 1 or self.weight_decay < 0 or (self.nesterov and not self.momentum):
            said = f"momentum={self.momentum}, weight_decay={self.weight_decay}, nesterov={self.nesterov}"
            raise BadValue(f"SGD takes a momentum in [0, 1), above 0 for nesterov, and a weight decay from 0, got {said}")

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the torch optimiser for parameter groups that carry `lr` and `weight_decay`."""
        return torch.optim.SGD(groups, lr=self.rate, momentum=self.momentum, nesterov=self.nesterov, foreach=False)
