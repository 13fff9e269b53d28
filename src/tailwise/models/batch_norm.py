"""Batch normalisation of channels-last maps on a CPU: torch's formulas, with sums that are exact to rounding, and faster.

torch adds up the positions of channels-last maps one after another in float32: over 131,072 of them (a batch of 128 at 32 x 32) means and
variances come out with relative errors of 1e-5, where those of NCHW maps are of 5e-8. Networks learn by it all the same, but
after few steps they no longer equal their NCHW selves. Here many positions stand side by side as if they were channels: torch's own kernels
then make many short sums, which are put together at the end, and fill the vector unit better than sixteen channels do.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

LINE = 1024
"""Numbers that stand side by side, about: more no longer fit into a core's nearest cache."""


PIECE = 256
"""Lines that are written at a time, and are still in the cache when they are read again."""


class BatchNorm2d(nn.BatchNorm2d):
    """torch's module in all but the arithmetic of channels-last float32 maps on a CPU while it trains."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (B, C, H, W) maps, and move the running statistics where it trains."""
        if not self._is_ours(maps):
            return super().forward(maps)
        out, mean, variance = cast(tuple[Tensor, Tensor, Tensor], _Normalised.apply(maps, self.weight, self.bias, self.eps))
        with torch.no_grad():
            rows = maps.numel() // maps.shape[1]
            kept: Any = self
            kept.num_batches_tracked.add_(1)
            kept.running_mean.lerp_(mean, self.momentum)
            kept.running_var.lerp_(variance * (rows / (rows - 1)), self.momentum)  # the unbiased one, as torch does
        return out

    def _is_ours(self, maps: Tensor) -> bool:
        usual = self.training and self.affine and self.track_running_stats and self.momentum is not None
        if torch.compiler.is_compiling():  # compiled code sums in an order of its own, which is exact too
            return False
        if not usual or maps.device.type != "cpu" or maps.dtype not in (torch.float32, torch.float64) or maps.dtype != self.weight.dtype:
            return False
        return maps.ndim == 4 and maps.numel() > maps.shape[1] and maps.is_contiguous(memory_format=torch.channels_last)


def with_exact_norms(network: nn.Module) -> nn.Module:
    """Turn torch's own batch normalisations inside a network into these, parameters and statistics as they are, and give the network."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:  # others of this kind do more
            module.__class__ = BatchNorm2d
    return network


class _Normalised(torch.autograd.Function):
    """`weight (x - mean) / sqrt(var + eps) + bias` over a batch; mean and biased variance beside it."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        side = _side(maps)
        means, variances = torch.batch_norm_update_stats(_beside(maps, side), None, None, 0.0)
        means, variances = means.view(side, -1), variances.view(side, -1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)  # within the short sums, and between them
        scale = weight / (variance + eps).sqrt()
        summand, factor = torch.stack([bias - mean * scale, scale]).repeat(1, side)
        out = torch.empty_like(maps)
        torch.addcmul(summand, _lines(maps, side), factor, out=_lines(out, side))
        ctx.save_for_backward(maps, weight, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, mean, variance = ctx.saved_tensors
        slope = slopes[0]
        if torch.is_grad_enabled():  # somebody differentiates once more: statistics are functions of the maps then
            return *_slopes(maps, weight, slope, ctx.eps), None
        slope = slope.contiguous(memory_format=torch.channels_last)
        side, rows = _side(maps), maps.numel() // maps.shape[1]
        along, total = _sums(maps, slope, mean, variance, ctx.eps, side)
        # dx = w s (dy - mean(dy) - x^ mean(dy x^)), x^ = (x - mean) s: a summand and two factors a channel
        deviation = (variance + ctx.eps).rsqrt()
        of_slope = weight * deviation
        of_maps = -of_slope * deviation * along / rows
        numbers = torch.stack([-of_slope * total / rows - of_maps * mean, of_maps, of_slope]).repeat(1, side)
        out = torch.empty_like(maps)
        for made, x, dy in zip(*(_lines(whole, side).split(PIECE) for whole in (out, maps, slope)), strict=True):
            torch.addcmul(numbers[0], x, numbers[1], out=made).addcmul_(dy, numbers[2])
        return out, along, total, None


def _sums(maps: Tensor, slope: Tensor, mean: Tensor, variance: Tensor, eps: float, side: int) -> tuple[Tensor, Tensor]:
    """Give the sums of dy x^ and of dy, (C,) each: what a normalisation by stored statistics gives as slopes of its weight and bias."""
    stored = torch.stack([mean, variance]).repeat(1, side)
    _, along, total = torch.ops.aten.native_batch_norm_backward(
        _beside(slope, side), _beside(maps, side), None, *stored, None, None, False, eps, [False, True, True]
    )
    return along.view(side, -1).sum(0), total.view(side, -1).sum(0)


def _slopes(maps: Tensor, weight: Tensor, slope: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Give the slopes in maps, weight and bias by operations that can be differentiated again."""
    over = (0, 2, 3)
    centred = maps - maps.mean(over, keepdim=True)
    deviation = (centred.square().mean(over, keepdim=True) + eps).rsqrt()
    normal = centred * deviation
    along = (slope * normal).mean(over, keepdim=True)
    of_maps = weight[:, None, None] * deviation * (slope - slope.mean(over, keepdim=True) - normal * along)
    return of_maps, (slope * normal).sum(over), slope.sum(over)


def _side(maps: Tensor) -> int:
    """Choose how many positions stand side by side: a power of two that divides their number."""
    channels = maps.shape[1]
    return math.gcd(maps.numel() // channels, 1 << max(0, (LINE // channels).bit_length() - 1))


def _lines(maps: Tensor, side: int) -> Tensor:
    """See channels-last maps as lines of several positions' channels: (rows / side, side C), a view."""
    return maps.permute(0, 2, 3, 1).view(-1, side * maps.shape[1])


def _beside(maps: Tensor, side: int) -> Tensor:
    """See them as channels-last maps with so many times the channels: (1, side C, 1, rows / side), a view."""
    return _lines(maps, side).t()[None, :, None]
