"""The field's CIFAR ResNets: 16/32/64 channels or half as many, option-A shortcuts, depth 6n + 2 (He et al., CVPR 2016, section 4.2)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

WIDTH = 16
"""Channels of the first of three stages, as published; each stage has twice as many as the one before."""


class _Conv(nn.Conv2d):
    """A 3x3 convolution without bias, Kaiming-normal with fan-in, as LDAM-DRW's code initialises it."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride=stride, padding=1, bias=False)

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.weight)


class _Stem(nn.Module):
    """First convolution, normalisation and rectifier."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = _Conv(channels, width)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, images: Tensor) -> Tensor:
        return relu(self.norm(self.conv(images)), inplace=True)


class _Block(nn.Module):
    """Two convolutions and a shortcut; option A: every second pixel, new channels filled with zeros on both sides."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _Conv(inputs, outputs, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = _Conv(outputs, outputs)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.added = outputs - inputs

    def forward(self, maps: Tensor) -> Tensor:
        inner = relu(self.norm1(self.conv1(maps)), inplace=True)  # in place: maps are read again by nobody, and memory is what is short
        inner = self.norm2(self.conv2(inner))
        if self.added or self.stride > 1:
            s = self.stride
            maps = pad(maps[:, :, ::s, ::s], (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return relu(inner.add_(maps), inplace=True)


class GlobalPool(nn.Module):
    """Mean over positions: (B, C, H, W) -> (B, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Average the maps."""
        return torch.flatten(maps.mean((2, 3)), 1)


def cifar_resnet(
    depth: int, channels: int, width: int = WIDTH, narrow: tuple[str, float] | None = None
) -> tuple[OrderedDict[str, nn.Module], nn.Module, int]:
    """Make blocks, pooling and width of the features of a ResNet of depth 8, 20, 32, 44 or 56.

    Blocks are called `stem`, `stage1_1`, `stage1_2` ... `stage3_n`. Depth 32 has 0.46 M parameters with ten classes.

    Args:
        depth: 6n + 2, n blocks a stage.
        channels: of the images.
        width: channels of the first stage.
        narrow: a block, and the share of their channels that it and those after it have.
    """
    start, share = narrow or ("", 1.0)
    blocks: OrderedDict[str, nn.Module] = OrderedDict(stem=_Stem(channels, width))
    inputs = width
    for stage, outputs in enumerate((width, 2 * width, 4 * width), start=1):
        for block in range(1, (depth - 2) // 6 + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            narrowed = start in blocks or start == f"stage{stage}_{block}"
            made = max(1, round(share * outputs)) if narrowed else outputs
            blocks[f"stage{stage}_{block}"] = _Block(inputs, made, stride)
            inputs = made
    return blocks, GlobalPool(), inputs
