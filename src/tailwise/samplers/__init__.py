"""Samplers: which rows an epoch shows, as pure functions of labels and a generator.

Lives here: frozen descriptions with `rows(labels, rng, epoch, epochs)` and `shown(real)`. Not here: who cuts rows into batches
(`training`). Shuffling every row once is the loop's own default and needs no sampler. `EpochSampler` brings them into
anybody's `DataLoader`. May import torch, NumPy and the vocabulary.
"""

from tailwise.samplers.balanced_subset import BalancedSubsetSampler
from tailwise.samplers.class_balanced import ClassBalancedSampler
from tailwise.samplers.epochs import EpochSampler
from tailwise.samplers.learnt_rates import LearntRateSampler, chance_of_draw, first_rate_logits, straight_through
from tailwise.samplers.power import PowerSampler, class_probabilities
from tailwise.samplers.reversed import ReversedSampler

__all__ = [
    "BalancedSubsetSampler",
    "ClassBalancedSampler",
    "EpochSampler",
    "LearntRateSampler",
    "PowerSampler",
    "ReversedSampler",
    "chance_of_draw",
    "class_probabilities",
    "first_rate_logits",
    "straight_through",
]
