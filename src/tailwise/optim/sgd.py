"""Stochastic gradient descent, by description."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
        """Make the torch optimiser for parameter groups that carry `lr` and `weight_decay`; on CUDA it updates all in one kernel."""
        fused = all(parameter.is_cuda for group in groups for parameter in group["params"])
        return torch.optim.SGD(groups, lr=self.rate, momentum=self.momentum, nesterov=self.nesterov, foreach=False, fused=fused)

    def ahead(self, parameter: Tensor, slope: Tensor, slots: Mapping[str, Tensor], rate: float, weight_decay: float) -> Tensor:
        """Give where a step would take a parameter, differentiable in its slope; nothing moves.

        Args:
            parameter: as it is.
            slope: its gradient, of the same shape.
            slots: what torch's optimiser holds for it; empty before the first step.
            rate: learning rate of this step.
            weight_decay: of the parameter's group.
        """
        slope = slope + weight_decay * parameter
        if self.momentum:
            held = slots.get("momentum_buffer")
            pace = slope if held is None else self.momentum * held + slope
            slope = slope + self.momentum * pace if self.nesterov else pace
        return parameter - rate * slope
