"""What flows between blocks, seen as maps, and the block at which it shrinks last."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tailwise.errors import BadData
from tailwise.models.chain import Blocks


def as_maps(x: Tensor) -> Tensor:
    """See (B, N, D) tokens as (B, D, N, 1) maps, and (B, D) vectors as (B, D, 1, 1); (B, C, H, W) maps stay."""
    return x if x.ndim == 4 else (x if x.ndim == 3 else x[:, None]).transpose(1, 2)[..., None]


def like_rows(maps: Tensor, x: Tensor) -> Tensor:
    """Give what `as_maps` made, or other rows of it, the form of the rows of x again."""
    return maps if x.ndim == 4 else maps[..., 0].transpose(1, 2).reshape(-1, *x.shape[1:])


@torch.no_grad()
def find_cut(net: Blocks, shape: tuple[int, ...], cut: str = "") -> tuple[str, int]:
    """Name a block with others before it, and count the channels of the maps that come into it, by a blank row.

    Where no block is named it is the last one that shrinks maps, the first of a ResNet's last stage; where none does, as in a ViT, the
    one from which a quarter of the blocks is left.

    Args:
        net: in eval mode, so that the blank row moves no statistics.
        shape: (height, width, channels) of images, or (width,) of feature vectors.
        cut: name of a block, or empty.

    Raises:
        UnknownName: no block has this name.
        BadData: no block comes before it.
    """
    if len(net.names) < 2 or cut == net.names[0]:
        raise BadData(f"no block comes before the cut: the network has {', '.join(net.names) or 'none'}; cut before a later one")
    inputs = _inputs(net.blocks, shape)
    place = net.index(cut) if cut else stage_starts(net.blocks, shape)[-1]
    return net.names[place], as_maps(inputs[place]).shape[1]


@torch.no_grad()
def stage_starts(blocks: nn.ModuleDict, shape: tuple[int, ...]) -> list[int]:
    """Give the places of the blocks, but for the first, that shrink maps; where none does, those that leave three, two and one quarter.

    Args:
        blocks: two or more, in order, in eval mode.
        shape: (height, width, channels) of images, or (width,) of feature vectors.
    """
    positions = [as_maps(x)[0, 0].numel() for x in _inputs(blocks, shape)]
    shrinking = [place for place in range(1, len(blocks)) if positions[place + 1] < positions[place]]
    return shrinking or sorted({len(blocks) - max(1, quarters * len(blocks) // 4) for quarters in (3, 2, 1)} - {0})


def _inputs(blocks: nn.ModuleDict, shape: tuple[int, ...]) -> list[Tensor]:
    """Give what comes into each block for a blank row, and what the last one gives."""
    inputs = [torch.zeros(1, *(shape if len(shape) == 1 else (shape[-1], *shape[:2])))]
    for block in blocks.values():
        inputs.append(block(inputs[-1]))
    return inputs
