"""One `build` for every network: names in, a chain of blocks out."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from tailwise.errors import BadData, UnknownName
from tailwise.method import Net
from tailwise.models.chain import Branched, Chain
from tailwise.models.cifar_resnet import cifar_resnet
from tailwise.models.heads import HEADS

Body = tuple[OrderedDict[str, nn.Module], nn.Module, int]


@dataclass(frozen=True)
class Network:
    """A backbone that can be named.

    Attributes:
        title: one line for people.
        make: (channels, width of the input for features) -> blocks, pooling, width of the features.
        takes: `images` or `features`.
    """

    title: str
    make: Callable[[int], Body]
    takes: str = "images"


def _features(width: int) -> Body:
    return OrderedDict(), nn.Identity(), width


NETWORKS: dict[str, Network] = {
    **{
        f"resnet{depth}": Network(f"CIFAR ResNet-{depth}, 16/32/64 channels, option A", partial(cifar_resnet, depth))
        for depth in (8, 20, 32, 44, 56)
    },
    "features": Network("no backbone: a head on feature vectors", _features, takes="features"),
}
"""Backbones by name."""


def resolve(net: Net, backbone: str) -> Net:
    """Fill a description: the run's backbone where none is named, the head's description for its name.

    Raises:
        UnknownName: no such backbone or head.
    """
    name = net.backbone or backbone
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    head = net.head or "linear"
    if isinstance(head, str):
        if head not in HEADS:
            raise UnknownName("head", head, HEADS)
        head = HEADS[head]()
    return replace(net, backbone=name, head=head)


def build(net: Net, shape: tuple[int, ...], classes: int) -> Chain | Branched:
    """Build a network from a resolved description; values are whatever torch left there, the caller initialises them.

    Args:
        net: from `resolve`.
        shape: (height, width, channels) of images, or (width,) of feature vectors.
        classes: number of classes.

    Raises:
        BadData: images for a network of features, or the reverse.
    """
    network = NETWORKS[str(net.backbone)]
    takes = "images" if len(shape) == 3 else "features"
    if network.takes != takes:
        fitting = ", ".join(name for name, other in NETWORKS.items() if other.takes == takes)
        raise BadData(f"network {net.backbone!r} takes {network.takes}, and the data are {takes}; give --net one of {fitting}")
    blocks, pool, width = network.make(shape[-1])
    head: Any = net.head
    if net.branches is None:
        return Chain(blocks, pool, head.build(width, classes), width)
    if net.branches.blocks >= len(blocks):
        raise BadData(f"{net.branches.blocks} blocks a branch leave no trunk of {net.backbone!r}, which has {len(blocks)} blocks")
    cut = len(blocks) - net.branches.blocks
    names = list(blocks)
    trunk = OrderedDict((name, blocks[name]) for name in names[:cut])
    twins = [
        Chain({name: copy.deepcopy(blocks[name]) for name in names[cut:]}, copy.deepcopy(pool), head.build(width, classes), width)
        for _ in range(net.branches.count)
    ]
    return Branched(trunk, twins)


def describe(name: str, classes: int = 10) -> dict[str, Any]:
    """Describe a backbone for `tailwise show`: title, what it takes, blocks, width and parameters on 32 x 32 colour images."""
    resolved = resolve(Net(), name)
    network = NETWORKS[name]
    shape = (32, 32, 3) if network.takes == "images" else (64,)
    made = build(resolved, shape, classes)
    return {
        "name": name,
        "title": network.title,
        "takes": network.takes,
        "blocks": list(made.names) if isinstance(made, Chain) else [],
        "width": made.width,
        "parameters": sum(p.numel() for p in made.parameters()),
    }
