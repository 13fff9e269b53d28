"""Sharpness-aware minimisation: the gradient is taken where the loss is locally worst."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class SAM:
    """SAM (Foret et al., ICLR 2021, equation 2; adaptive: Kwon et al., ICML 2021).

    `e = rho g / ||g||` over all learning parameters, then the gradient at `w + e` steps from w. Adaptive: the norm of `|w| g`, and
    `e = rho w**2 g / ||w g||`. Normalisation statistics move in the first pass only.

    Args:
        rho: radius; 0 is the plain gradient.
        adaptive: whether the radius scales with the weights.
    """

    passes: ClassVar[int] = 2
    """Gradients that a step takes."""

    rho: float = 0.05
    adaptive: bool = False

    def ascent(self, parameters: Mapping[str, Tensor], gradients: Gradients) -> Gradients:
        """Give the offsets e of equation 2, by name; shapes as the parameters."""
        scaled = {n: parameters[n].detach().abs() * g if self.adaptive else g for n, g in gradients.items()}
        norm = torch.stack([g.square().sum() for g in scaled.values()]).sum().sqrt() + 1e-12
        if self.adaptive:
            return {n: self.rho * parameters[n].detach().square() * g / norm for n, g in gradients.items()}
        return {n: self.rho * g / norm for n, g in gradients.items()}

    def __call__(self, compute: Callable[[bool], Gradients], parameters: Mapping[str, Tensor]) -> Gradients:
        """Give the gradient at the ascended point.

        Args:
            compute: computes the gradients of the step's loss at the current parameters; True lets normalisation statistics move.
            parameters: the learning parameters by name, restored to the bit.
        """
        first = compute(True)
        if not first:
            return first
        offsets = self.ascent(parameters, first)
        before = {name: parameters[name].detach().clone() for name in offsets}
        try:
            with torch.no_grad():
                for name, offset in offsets.items():
                    parameters[name].add_(offset)
            return compute(False)
        finally:
            with torch.no_grad():
                for name, value in before.items():
                    parameters[name].copy_(value)
