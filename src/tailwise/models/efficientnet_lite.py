"""EfficientNet-Lite0 with the weights that come in a registry package: the one pre-trained network that needs no fetching."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from tailwise.models.timm_body import keep_values, load_weights, make_model
from tailwise.models.timm_families import cut
from tailwise.models.weights import Weights, read_tensors

MODEL = "tf_efficientnet_lite0"

OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
NARROW = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
WIDE = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
"""Layers in the package's file -> in timm; a block without `_expand_conv` is narrow."""


def lite0_body(shape: tuple[int, ...], weights: Weights | None) -> tuple[OrderedDict[str, nn.Module], nn.Module, int]:
    """Make blocks, pooling and width (320) of EfficientNet-Lite0 up to its last block.

    The convolution after it, to 1280 channels, is left out: on long-tailed CIFAR-10 a linear probe of the 320 reaches 74.9 %,
    of the 1280 69.5 %.

    Args:
        shape: (height, width, channels) of the images.
        weights: of the package; None for random values.

    Raises:
        BadData: the file is not what the package had.
    """
    model = make_model(MODEL, shape)
    if weights is not None:
        load_weights(model, renamed(read_tensors(weights), [len(stage) for stage in model.blocks]), weights)
    keep_values(model)
    blocks, pool = cut(model)
    del blocks["top"]
    return blocks, pool, model.conv_head.in_channels


def renamed(tensors: dict[str, Tensor], sizes: list[int]) -> dict[str, Tensor]:
    """Give the package's tensors the names that timm uses.

    Args:
        tensors: by names such as `_blocks.3._bn1.weight`, blocks counted through.
        sizes: blocks of each stage, by which timm counts.
    """
    places = [f"blocks.{stage}.{block}" for stage, size in enumerate(sizes) for block in range(size)]
    made = {}
    for name, tensor in tensors.items():
        layer, _, rest = name.partition(".")
        if layer == "_blocks":
            number, layer, rest = rest.split(".", 2)
            layers = WIDE if f"_blocks.{number}._expand_conv.weight" in tensors else NARROW
            made[f"{places[int(number)]}.{layers[layer]}.{rest}"] = tensor
        else:
            made[f"{OUTER[layer]}.{rest}"] = tensor
    return made
