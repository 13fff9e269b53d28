"""Heads: from features to logits. A head is chosen by name or by description, and built for a width and a number of classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class _Linear(nn.Module):
    """`W h + b`, Kaiming-normal like the field's CIFAR networks."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        self.bias = nn.Parameter(torch.empty(classes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.weight)
        bound = 1 / math.sqrt(self.weight.shape[1])
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, features: Tensor) -> Tensor:
        return linear(features, self.weight, self.bias)


class _ScaledLinear(_Linear):
    """`s_k (W_k h + b_k)`, every scale started at one, whatever weight and bias start from."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, classes)
        self.scale = nn.Parameter(torch.ones(classes))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * super().forward(features)


class _Cosine(nn.Module):
    """`s cos(h, W_k)`, rows of W started uniform and scaled to unit length."""

    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        self.scale = scale
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            nn.init.uniform_(self.weight, -1, 1)
            self.weight.copy_(normalize(self.weight, dim=1))

    def forward(self, features: Tensor) -> Tensor:
        cosines = linear(normalize(features, dim=1), normalize(self.weight, dim=1))
        return cosines if self.scale == 1.0 else self.scale * cosines


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier with bias: its logits are `W h + b`."""

    def build(self, width: int, classes: int) -> nn.Module:
        """Make the module."""
        return _Linear(width, classes)


@dataclass(frozen=True)
class ScaledLinearHead(LinearHead):
    """A linear classifier with one scale a class, `s_k (W_k h + b_k)`: the head of learnable weight scaling (Kang et al., ICLR 2020).

    Its `weight` and `bias` go by the names that they have in a linear head, so that they are carried over; `scale` (classes,) is new.
    """

    def build(self, width: int, classes: int) -> nn.Module:
        """Make the module."""
        return _ScaledLinear(width, classes)


@dataclass(frozen=True)
class NormalisedHead:
    """Cosines between feature and class weight, in [-1, 1], no bias, no scale: LDAM's head (Cao et al., NeurIPS 2019)."""

    def build(self, width: int, classes: int) -> nn.Module:
        """Make the module."""
        return _Cosine(width, classes, 1.0)


@dataclass(frozen=True)
class CosineHead:
    """Cosines times a constant scale.

    Args:
        scale: s of the softmax's temperature.
    """

    scale: float = 16.0

    def build(self, width: int, classes: int) -> nn.Module:
        """Make the module."""
        return _Cosine(width, classes, self.scale)


HEADS: dict[str, Callable[[], Any]] = {"linear": LinearHead, "normalised": NormalisedHead, "cosine": CosineHead}
"""Names of heads -> their descriptions."""


def linear_weights(head: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Give W (C, width) and b (C,) of a linear head, with its scales multiplied in, None of any other: only there logits are `W h + b`."""
    if isinstance(head, _ScaledLinear):
        return head.scale[:, None] * head.weight, head.scale * head.bias
    return (head.weight, head.bias) if isinstance(head, _Linear) else None
