"""One `build` for every network: names in, a chain of blocks out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tailwise.errors import BadData, UnknownName
from tailwise.method import Net
from tailwise.models.batch_norm import with_exact_norms
from tailwise.models.chain import Blocks, Branched, Chain, Joined
from tailwise.models.heads import HEADS
from tailwise.models.maps import stage_starts
from tailwise.models.names import find_weights, parse
from tailwise.models.networks import NETWORKS, Body, Network, find_network


def resolve(net: Net, backbone: str) -> Net:
    """Fill a description: the run's backbone where none is named, its weights by content, the head's description for its name.

    The name is taken apart: `backbone` is then the architecture alone, and `weights` says what it begins from. A description that
    has its weights stays as it is.

    Raises:
        UnknownName: no such backbone, tag or head.
        BadData: weights that are not there.
    """
    if net.weights is None:
        named = parse(net.backbone or backbone)
        net = replace(net, backbone=named.net, weights=find_weights(named))
    head = net.head or "linear"
    if isinstance(head, str):
        if head not in HEADS:
            raise UnknownName("head", head, HEADS)
        head = HEADS[head]()
    return replace(net, head=head)


def build(net: Net, shape: tuple[int, ...], classes: int) -> Chain | Branched | Joined:
    """Build a network from a resolved description.

    The body of a timm model has its values, pre-trained or drawn here from torch's generator; those of heads and of our own
    networks are whatever torch left there, and the caller initialises them.

    Args:
        net: from `resolve`.
        shape: (height, width, channels) of images, or (width,) of feature vectors.
        classes: number of classes.

    Raises:
        BadData: images for a network of features, or the reverse; images that the network cannot take; weights of another network.
    """
    made = _assemble(net, shape, classes)
    with_exact_norms(made)
    return made


def _assemble(net: Net, shape: tuple[int, ...], classes: int) -> Chain | Branched | Joined:
    """Put bodies, branches and heads together."""
    head: Any = net.head
    if net.branches is None:
        blocks, pool, width = make_body(net, shape)
        return Chain(blocks, pool, head.build(width, classes), width)
    whole = make_body(net, shape)
    names = list(whole[0])
    cut = _first_of_branches(net, whole[0], shape)
    trunk = OrderedDict((name, whole[0][name]) for name in names[:cut])
    made = [_narrowed(net, shape, names[cut]) for _ in range(net.branches.count - 1)]  # each made anew, so that random twins differ
    bodies = [whole if net.branches.width == 1.0 else _narrowed(net, shape, names[cut]), *made]
    if net.branches.joined:
        parts = [Blocks({name: blocks[name] for name in names[cut:]}, pool, width) for blocks, pool, width in bodies]
        return Joined(trunk, parts, head.build(sum(part.width for part in parts), classes))
    twins = [Chain({name: blocks[name] for name in names[cut:]}, pool, head.build(width, classes), width) for blocks, pool, width in bodies]
    return Branched(trunk, twins)


def _first_of_branches(net: Net, blocks: OrderedDict[str, nn.Module], shape: tuple[int, ...]) -> int:
    """Give the place of the block at which a network splits.

    Raises:
        BadData: nothing is left before it.
    """
    branches: Any = net.branches
    if branches.stages:
        starts = stage_starts(nn.ModuleDict(blocks).eval(), shape) if len(blocks) > 1 else []
        nn.ModuleDict(blocks).train()
        asked, there = f"{branches.stages} stages", f"{len(starts) + 1} stages"
        cut = starts[-branches.stages] if len(starts) >= branches.stages else 0
    else:
        asked, there, cut = f"{branches.blocks} blocks", f"{len(blocks)} blocks", len(blocks) - branches.blocks
    if cut < 1:
        raise BadData(f"{asked} a branch leave no trunk of {net.backbone!r}, which has {there}; give fewer, or another network")
    return cut


def _narrowed(net: Net, shape: tuple[int, ...], start: str) -> Body:
    """Make a body once more, from a block on with the channels that branches have.

    Raises:
        BadData: a network whose blocks are as they are.
    """
    branches: Any = net.branches
    if branches.width == 1.0:
        return make_body(net, shape)
    narrow = find_network(str(net.backbone)).narrow
    if narrow is None:
        raise BadData(
            f"branches of {branches.width:g} of the channels can be made of the CIFAR ResNets alone, not of {net.backbone!r}; "
            "set the method's width=1"
        )
    return narrow(shape, start, branches.width)


def make_body(net: Net, shape: tuple[int, ...]) -> Body:
    """Make blocks, pooling and width of a resolved description.

    Raises:
        BadData: as `build`.
    """
    network: Network = find_network(str(net.backbone))
    takes = "images" if len(shape) == 3 else "features"
    if network.takes != takes:
        fitting = ", ".join(name for name, other in NETWORKS.items() if other.takes == takes)
        raise BadData(f"network {net.backbone!r} takes {network.takes}, and the data are {takes}; give --net one of {fitting}")
    return network.make(shape, net.weights)


@torch.inference_mode()
def check_takes(network: nn.Module, shape: tuple[int, ...]) -> None:
    """Run one blank row through a network, so that a size that it cannot take is found before any work.

    Args:
        network: built, in any mode; it is left in eval mode.
        shape: (height, width, channels) of images, or (width,) of feature vectors.

    Raises:
        BadData: the network fails on it.
    """
    blank = torch.zeros(1, *(shape if len(shape) == 1 else (shape[-1], *shape[:2])))
    try:
        network.eval()(blank)
    except (RuntimeError, AssertionError, ValueError) as error:  # each network of timm's fails in its own way
        size = " x ".join(map(str, shape[:2]))
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadData(f"the network cannot take images of {size} pixels ({reason}); set another --set recipe.image_size=224") from None
