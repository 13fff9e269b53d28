"""Estimated priors: the class shares of images without labels, read off a model's answers on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from tailwise.errors import BadData
from tailwise.posthoc.logit_adjustment import adjust_logits
from tailwise.posthoc.prior_shift import prior_shares
from tailwise.posthoc.temperature import settled_temperature

STEPS = 2000
"""Rounds of EM at most; the estimate moves little long before."""

SETTLED = 1e-7
"""A round that moves the shares by less in all is the last one."""


TINY = np.finfo(np.float64).tiny


class EstimatedPrior(NamedTuple):
    """Class shares that were estimated.

    Attributes:
        shares: (C,) float64 that add up to 1.
        images: that they were estimated on.
        rounds: of EM.
    """

    shares: np.ndarray
    images: int
    rounds: int


def estimate_prior(
    logits: np.ndarray,
    left: Sequence[float] | np.ndarray,
    temperature: float = 1.0,
    weights: np.ndarray | None = None,
) -> EstimatedPrior:
    """Estimate the class shares q of images without labels: the q under which the logits are most likely, by EM.

    With p(c | x) = softmax(z / T), the posterior under the prior `left`, and beginning at q = left, each round is

        p_q(c | x) = q_c / left_c p(c | x) / sum_k q_k / left_k p(k | x)        (E)
        q_c        = mean over images of p_q(c | x)                            (M)

    The likelihood is concave in q, so the end does not depend on the beginning. It is as good as p is calibrated: give the temperature that
    was fitted on val. **A class with a prior of 0 in the logits** (no training images) is not looked for and has a share of 0.

    Args:
        logits: (N, C) finite numbers, N at least 1; computed in float64.
        left: (C,) prior that the logits carry, >= 0, at least one above 0; only ratios matter. Training counts for plain cross-entropy.
        temperature: T > 0.
        weights: (N,) >= 0, how often each image occurs; None for once each.

    Raises:
        BadData: shapes that do not agree, no image, or numbers that are no prior.
        BadValue: a temperature that cannot be.

    Source: Saerens, Latinne & Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities", Neural Computation 2002,
    equation 2.9; that calibration is what it needs: Alexandari et al., "Maximum likelihood with bias-corrected calibration is hard-to-beat
    at label shift adaptation", ICML 2020.

    >>> z = np.log([[0.9, 0.1]] * 30 + [[0.1, 0.9]] * 70)  # trained on even classes, nine of ten answers right
    >>> estimate_prior(z, left=[1, 1]).shares.round(3)
    array([0.25, 0.75])
    """
    given = np.asarray(logits, dtype=np.float64)
    prior = prior_shares(left, "the prior in the logits")
    if given.ndim != 2 or given.shape[1] != len(prior) or not len(given):
        raise BadData(f"a prior of {len(prior):,} classes is estimated on logits of shape (images, {len(prior):,}), got {given.shape}")
    if weights is not None and (np.shape(weights) != (len(given),) or not np.sum(weights) > 0):
        raise BadData(f"weights must be one number from 0 for each of {len(given):,} images, not all 0")
    shares = np.full(len(given), 1 / len(given)) if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
    known = prior > 0
    # p / left up to a factor a row, which the E step divides out again
    likelihood = softmax(adjust_logits(given[:, known] / settled_temperature(temperature), prior[known]), axis=1)
    found, rounds, moved = prior[known], 0, np.inf
    while moved > SETTLED and rounds < STEPS:
        before, rounds = found, rounds + 1
        found = found * ((shares / np.maximum(likelihood @ found, TINY)) @ likelihood)
        found = found / found.sum()
        moved = np.abs(found - before).sum()
    estimated = np.zeros(len(prior))
    estimated[known] = found
    return EstimatedPrior(estimated, len(given), rounds)
