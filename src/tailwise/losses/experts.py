"""Experts: how far each is from their mean, by temperatures that differ between classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softmax

from tailwise.counts import Counts
from tailwise.errors import BadValue
from tailwise.objective import as_counts


def class_temperatures(counts: Counts, spread: float = 0.05) -> Tensor:
    """Give `t_k = (spread C pi_k + 1 - spread) / max_j (...)`: 1 for the most frequent class, less for rarer ones.

    Wang et al., *Long-tailed recognition by routing diverse distribution-aware experts*, ICLR 2021, as in the authors' loss. At lower
    temperatures a distribution is sharper, so experts are told apart more on rare classes.

    Args:
        counts: (classes,) training images a class, pi their shares.
        spread: 0 for a temperature of 1 throughout, 1 for one in proportion to the class's images.

    Returns:
        (classes,) float64 temperatures.

    Raises:
        BadValue: a spread beyond 0 to 1, or of 1 with a class that has no images; counts that are none.

    >>> class_temperatures([30, 10], 0.5).tolist()
    [1.0, 0.6]
    """
    if not 0.0 <= spread <= 1.0:
        raise BadValue(f"a spread of temperatures lies between 0 and 1, got {spread}")
    n = as_counts(counts)
    t = spread * len(n) * n / n.sum() + 1 - spread
    if not t.min() > 0:
        raise BadValue("at a spread of 1 a class without images has a temperature of 0; give a smaller spread")
    return t / t.max()


def diversity(logits: Tensor, temperatures: Tensor) -> Tensor:
    """Give the distance of each row's experts from their mean: `mean(t)^2 sum_k KL(softmax(z / t) || softmax(z_k / t))`.

    z is the mean of the experts' logits and a constant: only the experts move. Wang et al., ICLR 2021, in place of their equation 3,
    which is pairwise, the form of their code, which costs as many divergences as experts.

    Args:
        logits: (B, K, C) on the scale of the softmax.
        temperatures: (C,) or a scalar.

    Returns:
        (B,) sums over the experts, from 0; 0 where all agree.

    >>> import torch
    >>> diversity(torch.zeros(2, 3, 4), torch.ones(4)).tolist()
    [0.0, 0.0]
    """
    t = temperatures.to(logits.dtype)
    return t.mean() ** 2 * divergences(logits.detach().mean(1) / t, logits / t)


def divergences(aims: Tensor, logits: Tensor) -> Tensor:
    """Give `sum_k KL(softmax(aim) || softmax(z_k))` of each row.

    Args:
        aims: (B, C) logits that the experts are measured from.
        logits: (B, K, C) of the experts.

    Returns:
        (B,) sums over the experts.
    """
    aim = log_softmax(aims, 1)[:, None]
    return (softmax(aims, 1)[:, None] * (aim - log_softmax(logits, 2))).sum((1, 2))


def inverse_prior(counts: Counts) -> Tensor:
    """Give each class the share of the class whose rank by size is the opposite of its own: the most frequent one gets the least share.

    A class without rows keeps its 0, and has no rank.

    Zhang et al., *Self-supervised aggregation of diverse experts for test-agnostic long-tailed recognition*, NeurIPS 2022, section 4.1.

    Args:
        counts: (classes,) rows a class.

    Returns:
        (classes,) float64 shares, the priors in another order.

    >>> inverse_prior([60, 30, 10]).tolist()
    [0.1, 0.3, 0.6]
    """
    prior = as_counts(counts) / as_counts(counts).sum()
    order = prior.argsort(stable=True)[(prior == 0).sum() :]
    swapped = torch.zeros_like(prior)
    swapped[order] = prior[order].flip(0)
    return swapped


def skill_shifts(counts: Counts, tau: float = 2.0, eps: float = 1e-9) -> Tensor:
    """Give what is added to the logits of three experts in their losses: `0`, `log pi`, `log pi - tau log pi_inverse`.

    So the first is good at the training distribution, the second at an even one, the third at the inverse one: Zhang et al., NeurIPS
    2022, equations 2 to 4.

    Args:
        counts: (classes,) rows a class, pi their shares.
        tau: how far the third expert goes beyond the second.
        eps: added to shares, so that a class without rows has a logarithm.

    Returns:
        (3, classes) float64 shifts; those of a class without rows are `log eps` in the second and the third alike.
    """
    prior = as_counts(counts) / as_counts(counts).sum()
    log, inverse = torch.log(prior + eps), torch.log(inverse_prior(counts) + eps)
    third = torch.where(prior > 0, log - tau * inverse, log)
    return torch.stack([torch.zeros_like(log), log, third])
