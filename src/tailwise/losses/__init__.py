"""Losses: pure maths on logits and targets, one file each, usable in anybody's loop.

Lives here: criteria that give per-row values and weights. Not here: what puts them into stages (`methods`), post-hoc corrections
(`posthoc`). May import torch and the vocabulary, nothing else of ours.
"""

from tailwise.losses.balanced_softmax import BalancedSoftmaxLoss
from tailwise.losses.class_weighted import ClassWeighted, WeightedByClass, effective_number_weights
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.losses.experts import class_temperatures, divergences, diversity, inverse_prior, skill_shifts
from tailwise.losses.focal import FocalLoss, focal_factor
from tailwise.losses.frequency_weighted import FrequencyWeighted, frequency_weights
from tailwise.losses.label_aware_smoothing import LabelAwareSmoothingLoss, label_smoothing_factors
from tailwise.losses.ldam import LDAMLoss
from tailwise.losses.paco import paco_losses

__all__ = [
    "BalancedSoftmaxLoss",
    "ClassWeighted",
    "CrossEntropyLoss",
    "FocalLoss",
    "FrequencyWeighted",
    "LDAMLoss",
    "LabelAwareSmoothingLoss",
    "WeightedByClass",
    "class_temperatures",
    "divergences",
    "diversity",
    "effective_number_weights",
    "focal_factor",
    "frequency_weights",
    "inverse_prior",
    "label_smoothing_factors",
    "paco_losses",
    "skill_shifts",
]
