"""A network as an ordered chain of named blocks and a head; slicing it instead of hooking into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tailwise.errors import BadValue, UnknownName
from tailwise.objective import Out


class Blocks(nn.Module):
    """Named blocks in order, then pooling: a network without its head.

    Args:
        blocks: name -> module, in order; each takes what the one before gives.
        pool: turns the last maps into (B, width) features.
        width: of the features.
    """

    def __init__(self, blocks: Mapping[str, nn.Module], pool: nn.Module, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(dict(blocks))
        self.pool = pool
        self.width = width

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the blocks, in order."""
        return tuple(self.blocks)

    def index(self, block: str) -> int:
        """Give a block's place.

        Raises:
            UnknownName: no block has this name.
        """
        if block not in self.blocks:
            raise UnknownName("block", block, self.names)
        return self.names.index(block)

    def body(self, x: Tensor, start: str | None = None, stop: str | None = None) -> Tensor:
        """Run the blocks from `start` (from the first when None) up to, not including, `stop` (to the last when None).

        `body(body(x, stop=b), start=b)` equals `body(x)`, and the rows may be changed in between.
        """
        first = 0 if start is None else self.index(start)
        last = len(self.blocks) if stop is None else self.index(stop)
        for name in self.names[first:last]:
            x = self.blocks[name](x)
        return x


class Chain(Blocks):
    """Blocks, pooling and a head.

    Args:
        blocks: name -> module, in order; each takes what the one before gives.
        pool: turns the last maps into (B, width) features.
        head: turns features into (B, classes) logits.
        width: of the features.
    """

    def __init__(self, blocks: Mapping[str, nn.Module], pool: nn.Module, head: nn.Module, width: int) -> None:
        super().__init__(blocks, pool, width)
        self.head = head

    def finish(self, maps: Tensor, start: str | None = None) -> Out:
        """Run from a block on through pooling and head; without `start`, pooling and head alone."""
        features = self.pool(maps if start is None else self.body(maps, start=start))
        return Out(self.head(features), features)

    def forward(self, images: Tensor) -> Out:
        """Give logits (B, C) and features (B, width) of images (B, channels, height, width)."""
        return self.finish(self.body(images))


@dataclass(frozen=True)
class Branches:
    """Twins of the last blocks, each with pooling and a head of its own: branches, experts. Or with one head over all of them.

    Args:
        count: number of branches.
        blocks: how many of the last blocks every branch has for itself.
        joined: whether one head sees the branches' features side by side.
        stages: where not 0, how many of the last stages a branch has in place of a number of blocks; a stage begins with a block that
            shrinks maps, and is a quarter of the blocks where none does.
        width: share of the channels that the branches' blocks have; below 1 only of the CIFAR ResNets.
    """

    count: int = 2
    blocks: int = 1
    joined: bool = False
    stages: int = 0
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.blocks < 1 or self.stages < 0:
            raise BadValue(
                f"branches need a count and a number of blocks from 1, and stages from 0, got {self.count}, {self.blocks} and {self.stages}"
            )
        if not 0.0 < self.width <= 1.0:
            raise BadValue(f"the blocks of branches have a share of the channels above 0 and up to 1, got {self.width}")

    @property
    def heads(self) -> tuple[str, ...]:
        """Patterns of the tensors of their heads."""
        return ("net.head.*",) if self.joined else tuple(f"net.branches.{k}.head.*" for k in range(self.count))


class Branched(nn.Module):
    """A trunk and branches: logits (B, branches, C), features (B, branches, width).

    Args:
        trunk: name -> module, in order.
        branches: chains that go on from the trunk's maps.
    """

    def __init__(self, trunk: Mapping[str, nn.Module], branches: Sequence[Chain]) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict(dict(trunk))
        self.branches = nn.ModuleList(branches)
        self.width = branches[0].width

    def body(self, x: Tensor) -> Tensor:
        """Run the trunk."""
        for block in self.trunk.values():
            x = block(x)
        return x

    def branch(self, which: int, maps: Tensor) -> Out:
        """Run one branch on the trunk's maps."""
        return self.branches[which](maps)

    def forward(self, images: Tensor) -> Out:
        """Run the trunk once and all branches."""
        maps = self.body(images)
        outs = [branch(maps) for branch in self.branches]
        return Out(torch.stack([o.logits for o in outs], 1), torch.stack([o.features for o in outs], 1))


class Joined(nn.Module):
    """A trunk, branches without heads, and one head over their features side by side: logits (B, C), features (B, branches x width).

    Args:
        trunk: name -> module, in order.
        branches: blocks that go on from the trunk's maps.
        head: turns the joined features into (B, classes) logits.
    """

    def __init__(self, trunk: Mapping[str, nn.Module], branches: Sequence[Blocks], head: nn.Module) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict(dict(trunk))
        self.branches = nn.ModuleList(branches)
        self.head = head
        self.width = sum(branch.width for branch in branches)

    def body(self, x: Tensor) -> Tensor:
        """Run the trunk."""
        for block in self.trunk.values():
            x = block(x)
        return x

    def branch(self, which: int, maps: Tensor) -> Tensor:
        """Give the features (B, width) of one branch on the trunk's maps."""
        branch: Any = self.branches[which]
        return branch.pool(branch.body(maps))

    def forward(self, images: Tensor) -> Out:
        """Run the trunk once and all branches, and the head on their features as they are."""
        maps = self.body(images)
        features = torch.cat([self.branch(k, maps) for k in range(len(self.branches))], 1)
        return Out(self.head(features), features)
