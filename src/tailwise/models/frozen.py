"""A pre-trained body that only looks: features of images, nothing learns."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from tailwise.method import Net
from tailwise.models.build import make_body, resolve
from tailwise.models.chain import Blocks
from tailwise.models.names import parse, pretrained_name
from tailwise.models.networks import Body
from tailwise.models.weights import Weights


class FrozenBody(Blocks):
    """Blocks and pooling with pre-trained values, in eval mode for good.

    Attributes:
        width: of the features.
        weights: where the values come from; None for a body that is still to be filled.
    """

    def __init__(self, body: Body, weights: Weights | None = None) -> None:
        super().__init__(*body)
        self.weights = weights
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever is asked."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Give features (B, width) of normalised images (B, channels, height, width)."""
        return self.pool(self.body(images))


def frozen_body(name: str, shape: tuple[int, ...]) -> FrozenBody:
    """Make a frozen body with pre-trained weights; `preprocessing(name)` says how images are normalised for it.

    Args:
        name: as in `--net`; a bare timm name gets timm's default weights.
        shape: (height, width, channels) of the images.

    Raises:
        UnknownName: no such network or tag.
        BadValue: a network without pre-trained weights.
        BadData: weights that are not there or belong to another network, or images that it cannot take.
    """
    net = resolve(Net(), pretrained_name(name))
    return FrozenBody(_made(net, shape), net.weights)


def empty_body(name: str, shape: tuple[int, ...]) -> FrozenBody:
    """Make the same body to be filled with the stored `state_dict()` of one; no file of weights is needed.

    Args:
        name: as in `--net`.
        shape: (height, width, channels) of the images.

    Raises:
        UnknownName, BadValue, BadData: as `frozen_body`, but for weights.
    """
    return FrozenBody(_made(Net(parse(name).net), shape))


def _made(net: Net, shape: tuple[int, ...]) -> Body:
    """Make a body all of whose values come from elsewhere: what timm draws first is drawn under a fork of torch's generator."""
    with torch.random.fork_rng(devices=[]):
        return make_body(net, shape)
