"""Networks: ordered chains of named blocks with a head, behind one `build`.

Lives here: backbones, heads, branches. Not here: what a method adds around a network (its objective), how values are drawn
(`training`). May import torch, torchvision, timm and the vocabulary.
"""

from tailwise.models.build import NETWORKS, build, describe, resolve
from tailwise.models.chain import Branched, Branches, Chain
from tailwise.models.heads import HEADS, CosineHead, LinearHead, NormalisedHead

__all__ = [
    "HEADS",
    "NETWORKS",
    "Branched",
    "Branches",
    "Chain",
    "CosineHead",
    "LinearHead",
    "NormalisedHead",
    "build",
    "describe",
    "resolve",
]
