"""Distances and directions of what is transferred from a frequent class to a rare one: the maths of RSG's two losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm

NEARLY_ZERO = 1e-8
"""The length below which a vector has no direction; the gradient of a cosine grows as one over the length."""


def centre_distances(maps: Tensor, shares: Tensor, centres: Tensor) -> Tensor:
    """Give `sum_k shares_ik sum_chw (maps_i - centres_ik)**2`: how far maps are from their soft choice among the centres of their class.

    Wang et al., *RSG: a simple but effective module for learning imbalanced datasets*, CVPR 2021: the first term of the centre
    estimation loss. A centre is one vector of channels, the same at all positions. The sum over positions is that of the distances to
    the map's own mean, which no centre changes, and the number of positions times the distance of that mean: so nothing of the size
    (B, K, C, H, W) is made.

    Args:
        maps: (B, C, H, W) floating point.
        shares: (B, K) that sum to 1 over the centres.
        centres: (B, K, C), for each row those of its class.

    Returns:
        (B,) sums over channels and positions, in the dtype of the maps.

    >>> centre_distances(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[0.5, 0.5]]), torch.tensor([[[0.0], [2.0]]]))
    tensor([6.])
    """
    means = maps.mean((2, 3))
    within = (maps - means[:, :, None, None]).square().sum((1, 2, 3))
    between = (means[:, None] - centres).square().sum(2)
    return within + maps.shape[2] * maps.shape[3] * (shares * between).sum(1)


def vector_errors(variation: Tensor, moved: Tensor, aim: Tensor, memory_chunks: bool = False) -> tuple[Tensor, Tensor]:
    """Give how far moved variation is from its old length, and from the direction it is aimed at, summed over positions.

    Wang et al., CVPR 2021: the second and third term of the maximised vector loss. At each position the channels are one vector. The
    published `sum_c |u_c w_c - 1|` of unit vectors is `C - cos`; here it is `1 - cos`, which has the same gradient and is zero where
    they are aligned. A moved vector of no length counts 1 and has no gradient.

    Args:
        variation: (m, C, H, W) of rows of frequent classes: their maps less the nearest centre.
        moved: (m, C, H, W) the same after the learnt transformation.
        aim: (m, C, H, W) of rows of rare classes: their maps less the nearest centre.
        memory_chunks: take runs of C numbers of the maps as they lie in memory, positions mixed, as the authors' code does.

    Returns:
        (m,) `sum_p | |moved_p| - |variation_p| |` and (m,) `sum_p 1 - cos(aim_p, moved_p)`.

    >>> one, other = torch.tensor([[[[3.0]], [[4.0]]]]), torch.tensor([[[[0.0]], [[1.0]]]])
    >>> [round(error.item(), 3) for error in vector_errors(one, other, one)]
    [4.0, 0.2]
    """
    before, after, wanted = (_vectors(maps, memory_chunks) for maps in (variation, moved, aim))
    lengths, aims = vector_norm(after, dim=2), vector_norm(wanted, dim=2)
    products = _without_zero(lengths) * _without_zero(aims)
    cosines = (after * wanted).sum(2) / products
    return (lengths - vector_norm(before, dim=2)).abs().sum(1), (1 - cosines).sum(1)


def _vectors(maps: Tensor, memory_chunks: bool) -> Tensor:
    """Give (m, positions, C) vectors of (m, C, H, W) maps."""
    channels = maps.shape[1]
    return maps.reshape(len(maps), -1, channels) if memory_chunks else maps.flatten(2).transpose(1, 2)


def _without_zero(lengths: Tensor) -> Tensor:
    """Make lengths that are nearly zero infinite, so that a division by them gives zero and a gradient of zero."""
    return lengths.masked_fill(lengths < NEARLY_ZERO, torch.inf)
