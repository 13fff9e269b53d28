"""PaCo: rows against class centres and against each other, in one softmax."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tailwise.errors import BadValue


def paco_losses(
    scores: Tensor,
    labels: Tensor,
    anchors: Tensor,
    others: Tensor,
    other_labels: Tensor,
    *,
    alpha: float = 0.05,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 0.2,
    smoothing: float = 0.0,
) -> Tensor:
    """Give the parametric contrastive loss of each anchor: `sum_j w_j (log Z - s_j) / sum_j w_j`.

    j runs over the C classes, whose centres are the rows of a linear classifier and whose scores are logits with the log prior added, and
    over the features but the anchor itself, whose scores are `s = a . f / T`. `Z = sum_classes e^s + gamma sum_features e^s`. w is beta on
    the anchor's class, alpha on each feature of its class, 0 elsewhere. With alpha = gamma = 0 it is the cross-entropy of the scores.

    Cui et al., *Parametric contrastive learning*, ICCV 2021, equations 7 to 9; *Generalized parametric contrastive learning*, TPAMI 2023
    (the anchors are both views). Their code lets an anchor's score with itself into the maximum that it subtracts, and adds 1e-12 inside
    the logarithm; both are left out here. It works in float32 at least.

    Args:
        scores: (A, C) the anchors' logits, plus log prior where one is taken out; -inf for a class that never is a label.
        labels: (A,) int64.
        anchors: (A, D) features of unit length; each is compared with the other anchors too.
        others: (F, D) more features of unit length, keys and a queue; F may be 0.
        other_labels: (F,) int64, -1 for a place that holds nothing.
        alpha: weight of each feature of the same class.
        beta: weight of the class's own centre, above 0.
        gamma: weight of the features in the sum of the softmax.
        temperature: T of the features.
        smoothing: share of beta that is spread evenly over the other classes whose scores are finite.

    Returns:
        (A,) losses, not reduced.

    Raises:
        BadValue: a weight or temperature out of its range.

    >>> nothing = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    >>> apart = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> paco_losses(torch.zeros(2, 2), torch.tensor([0, 1]), apart, *nothing, gamma=0.0)
    tensor([0.6931, 0.6931])
    """
    if alpha < 0 or beta <= 0 or gamma < 0 or temperature <= 0 or not 0 <= smoothing < 1:
        said = f"alpha={alpha}, beta={beta}, gamma={gamma}, temperature={temperature}, smoothing={smoothing}"
        raise BadValue(f"alpha and gamma are at least 0, beta and temperature above 0, smoothing is in [0, 1); got {said}")
    scores, anchors, others = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (scores, anchors, others))
    pairs = anchors @ torch.cat([anchors, others]).T / temperature
    there = torch.cat([labels.new_ones(len(labels), dtype=torch.bool), other_labels >= 0]).repeat(len(anchors), 1)
    there.diagonal().fill_(False)  # the first columns are the anchors themselves
    same = (there & (labels[:, None] == torch.cat([labels, other_labels])[None])).to(pairs.dtype)
    within = (pairs + (math.log(gamma) if gamma else -math.inf)).masked_fill(~there, -math.inf)
    log_sum = torch.logsumexp(torch.cat([scores, within], 1), 1)
    centre = scores.gather(1, labels[:, None])[:, 0]
    if smoothing:
        away = scores.isfinite().scatter(1, labels[:, None], False)
        share = smoothing * away.any(1).to(scores.dtype)
        centre = (1 - share) * centre + share * scores.where(away, 0.0).sum(1) / away.sum(1).clamp_min(1)
    pulled = beta * centre + alpha * (same * pairs).sum(1)
    return log_sum - pulled / (beta + alpha * same.sum(1))
