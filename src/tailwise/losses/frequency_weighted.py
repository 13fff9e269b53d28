"""Class weights over any criterion, by inverse frequency: cost-sensitive learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tailwise.counts import Counts
from tailwise.errors import BadValue
from tailwise.losses.class_weighted import WeightedByClass
from tailwise.objective import as_counts

Rule = Literal["inverse", "log"]
"""How weights grow as classes shrink: with n_max / n_k, or with 1 + log(n_max / n_k)."""


def frequency_weights(counts: Counts, power: float = 1.0, rule: Rule = "inverse") -> Tensor:
    """Give class weights `w_k = (n_max / n_k)**power`, or `(1 + log(n_max / n_k))**power`, rescaled to sum to the number of classes.

    Inverse frequencies with power 1; cost-sensitive cross-entropy and generalised re-weighting (Zhang et al., *Distribution
    alignment*, CVPR 2021) with other powers, where they write `(n_min / n_k)**g` and `pi_k**-rho`: the same up to a factor. The
    logarithm is the weighted softmax of the survey *Deep long-tailed learning* (Zhang et al., TPAMI 2023). A class with a count of
    zero gets weight 0 and is not counted in the sum.

    Args:
        counts: (classes,) real training images a class.
        power: at least 0: 0 gives ones.
        rule: `inverse` or `log`.

    Returns:
        (classes,) float64 weights.

    Raises:
        BadValue: counts as in `as_counts`, a power below 0 or not finite, another rule.

    >>> [round(w, 3) for w in frequency_weights([30, 10]).tolist()]
    [0.5, 1.5]
    """
    if not 0 <= power < float("inf"):
        raise BadValue(f"power is a finite number >= 0, got {power}")
    if rule not in ("inverse", "log"):
        raise BadValue(f"rule is 'inverse' or 'log', got {rule!r}")
    n = as_counts(counts)
    present = n > 0
    log_ratio = torch.log(n.max()) - torch.log(n[present])
    log_weights = power * (log_ratio if rule == "inverse" else torch.log1p(log_ratio))
    weights = torch.zeros_like(n)
    weights[present] = torch.softmax(log_weights, 0) * int(present.sum())
    return weights


@dataclass(eq=False)
class FrequencyWeighted(WeightedByClass):
    """Rows weighted by the inverse frequency of their class, see `frequency_weights`.

    Args:
        criterion: what gives the losses.
        counts: (classes,) real training images a class, label order.
        power: exponent of the weights; 0 leaves the criterion.
        rule: `inverse` or `log`.
        divisor: `weights` or `rows`.
        reduction: `mean`, `sum` or `none`.
    """

    power: float = 1.0
    rule: Rule = "inverse"

    def weigh(self) -> Tensor:
        """Give the weights of the rule."""
        return frequency_weights(self.counts, self.power, self.rule)
