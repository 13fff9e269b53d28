"""Folding: normalisation by running statistics is one more factor and summand of the convolution before it, once nothing learns."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tailwise.models.batch_norm import BatchNorm2d
from tailwise.objective import Out
from tailwise.training.precision import BFLOAT16, FLOAT32

AGREES = {FLOAT32: 1e-4, BFLOAT16: 0.05}
"""By how much a folded network may answer otherwise, relative to its largest logit, by what it computes in: what another order of products
does, and no more. A wrong fold answers another image."""


PLAIN = (nn.BatchNorm2d, BatchNorm2d)
"""Normalisations that do nothing else; some rectify too."""


def folded(predictor: nn.Module, example: Tensor, precision: str = FLOAT32) -> nn.Module:
    """Give a copy of a predictor with its batch normalisations folded into the convolutions before them.

    A pair is a convolution and the batch normalisation that its module names next. Whether the one feeds the other, and nothing else, is
    not asked of the code but of the answers: where they differ on the example, the predictor is given as it is.

    Args:
        predictor: in eval mode.
        example: a few rows of its input.
        precision: what it computes in.

    Source: Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", CVPR 2018,
    section 3.2.
    """
    made = copy.deepcopy(predictor)
    pairs = 0
    for module in list(made.modules()):
        for (name, conv), (beside, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _fits(conv, norm):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, beside, nn.Identity())
                pairs += 1
    return made if pairs and _agree(made, predictor, example, AGREES[precision]) else predictor


def _fits(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Say whether a normalisation is of a convolution's channels, by running statistics, and does no more than that."""
    return type(norm) in PLAIN and norm.running_var is not None and conv.out_channels == norm.num_features


def _agree(made: nn.Module, predictor: nn.Module, example: Tensor, allowed: float) -> bool:
    found, expected = (_logits(module(example)) for module in (made, predictor))
    return bool((found - expected).abs().max() <= allowed * expected.abs().max().clamp_min(1.0))


def _logits(out: Out | Tensor) -> Tensor:
    return out.logits if isinstance(out, Out) else out
