"""How timm's models are cut into named blocks: ResNet, EfficientNet, MobileNet and ViT at every block, others not at all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from timm.layers import global_pool_nlc
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

Cut = tuple[OrderedDict[str, nn.Module], nn.Module]
"""Blocks, and the pooling that gives timm's own features before the classifier."""

Model = Any
"""A timm model; nn.Module says of its children no more than that they are tensors or modules."""


def cut(model: Model) -> Cut:
    """Cut a timm model into blocks and pooling; the model itself is used up.

    Args:
        model: made without a classifier.
    """
    return FAMILIES.get(type(model), _whole)(model)


def _stages(stages: Iterable[nn.Sequential]) -> Iterable[tuple[str, nn.Module]]:
    for number, stage in enumerate(stages, start=1):
        for place, block in enumerate(stage, start=1):
            yield f"stage{number}_{place}", block


def _resnet(model: Model) -> Cut:
    stem = nn.Sequential(OrderedDict(conv=model.conv1, norm=model.bn1, act=model.act1, pool=model.maxpool))
    stages = _stages((model.layer1, model.layer2, model.layer3, model.layer4))
    return OrderedDict([("stem", stem), *stages]), model.global_pool


def _efficientnet(model: Model) -> Cut:
    """Cut an EfficientNet or MobileNetV2: `stem`, `stage1_1` ..., and `top`, the convolution that widens before pooling."""
    stem = nn.Sequential(OrderedDict(conv=model.conv_stem, norm=model.bn1))
    top = nn.Sequential(OrderedDict(conv=model.conv_head, norm=model.bn2))
    return OrderedDict([("stem", stem), *_stages(model.blocks), ("top", top)]), model.global_pool


def _mobilenetv3(model: Model) -> Cut:
    """MobileNetV3 widens after pooling."""
    stem = nn.Sequential(OrderedDict(conv=model.conv_stem, norm=model.bn1))
    widen = OrderedDict(conv=model.conv_head, norm=model.norm_head, act=model.act2, flatten=model.flatten)
    return OrderedDict([("stem", stem), *_stages(model.blocks)]), nn.Sequential(OrderedDict(mean=model.global_pool, **widen))


class _Tokens(nn.Module):
    """A ViT's pooling: its class token, the mean of its tokens, or attention over them, then a norm where it has one."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.attention = model.attn_pool
        self.norm = model.fc_norm
        self.kind = model.global_pool
        self.prefix = model.num_prefix_tokens
        self.prefix_counts = model.pool_include_prefix

    def forward(self, tokens: Tensor) -> Tensor:
        if self.attention is not None:
            return self.norm(self.attention(tokens if self.prefix_counts else tokens[:, self.prefix :]))
        return self.norm(global_pool_nlc(tokens, self.kind, self.prefix, self.prefix_counts))


class _Features(nn.Module):
    """A timm model up to its features, before pooling."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.forward_features(images)


def _vit(model: Model) -> Cut:
    """Give `embed` (patches, class token, positions), `block1` ..., and `norm`."""
    pool = _Tokens(model)
    blocks = [(f"block{number}", block) for number, block in enumerate(model.blocks, start=1)]
    norm = model.norm
    model.blocks, model.norm, model.fc_norm, model.attn_pool = nn.Sequential(), nn.Identity(), nn.Identity(), None
    return OrderedDict([("embed", _Features(model)), *blocks, ("norm", norm)]), pool


class _Finish(nn.Module):
    """What a whole timm model does from its features to before its classifier."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.owner = (model,)  # a tuple, so that its tensors are the block's alone and have one name

    def forward(self, maps: Tensor) -> Tensor:
        return self.owner[0].forward_head(maps, pre_logits=True)


def _whole(model: Model) -> Cut:
    """Give one block, `body`."""
    return OrderedDict(body=_Features(model)), _Finish(model)


FAMILIES: dict[type, Callable[..., Cut]] = {
    ResNet: _resnet,
    EfficientNet: _efficientnet,
    MobileNetV3: _mobilenetv3,
    VisionTransformer: _vit,
}
"""Class of timm's -> how it is cut; classes derived from these may do otherwise and stay whole."""
