"""Samplers: which rows an epoch shows, as pure functions of labels and a generator.

Lives here: frozen descriptions with `rows(labels, rng, epoch, epochs)` and `shown(real)`. Not here: who cuts rows into batches
(`training`). Shuffling every row once is the loop's own default and needs no sampler. `EpochSampler` brings them into
anybody's `DataLoader`. May import torch, NumPy and the vocabulary.
"""

from tailwise.samplers.class_balanced import ClassBalancedSampler
from tailwise.samplers.epochs import EpochSampler
from tailwise.samplers.power import PowerSampler, class_probabilities

__all__ = ["ClassBalancedSampler", "EpochSampler", "PowerSampler", "class_probabilities"]
