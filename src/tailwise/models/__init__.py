"""Networks: ordered chains of named blocks with a head, behind one `build`.

Lives here: backbones, pre-trained weights, heads, branches. Not here: what a method adds around a network (its objective), how
values of our own networks are drawn (`training`). May import torch, torchvision, timm and the vocabulary.
"""

from tailwise.models.build import build, check_takes, resolve
from tailwise.models.chain import Blocks, Branched, Branches, Chain, Joined
from tailwise.models.describe import describe
from tailwise.models.engines import Answering, Engine, choose_engine, engine_version, has_compiler, start_engine
from tailwise.models.frozen import FrozenBody, empty_body, frozen_body
from tailwise.models.heads import HEADS, CosineHead, LinearHead, NormalisedHead, ScaledLinearHead
from tailwise.models.names import is_network, is_pretrained, names_near, preprocessing, pretrained_name, tags
from tailwise.models.networks import NETWORKS
from tailwise.models.preprocessing import Preprocessing
from tailwise.models.weights import Weights

__all__ = [
    "HEADS",
    "NETWORKS",
    "Answering",
    "Blocks",
    "Branched",
    "Branches",
    "Chain",
    "CosineHead",
    "Engine",
    "FrozenBody",
    "Joined",
    "LinearHead",
    "NormalisedHead",
    "Preprocessing",
    "ScaledLinearHead",
    "Weights",
    "build",
    "check_takes",
    "choose_engine",
    "describe",
    "empty_body",
    "engine_version",
    "frozen_body",
    "has_compiler",
    "is_network",
    "is_pretrained",
    "names_near",
    "preprocessing",
    "pretrained_name",
    "resolve",
    "start_engine",
    "tags",
]
