"""Optimisers, schedules, gradient rules and weight averages by description, one file each.

Lives here: what turns gradients into weights. Not here: the loop that calls them (`training`), epochs and batches (`recipes`).
May import torch and the vocabulary.
"""

from tailwise.optim.adam import Adam
from tailwise.optim.adamw import AdamW
from tailwise.optim.constant import Constant
from tailwise.optim.cosine import Cosine
from tailwise.optim.ema import EMA
from tailwise.optim.sam import SAM
from tailwise.optim.sgd import SGD
from tailwise.optim.steps import Steps

__all__ = ["EMA", "SAM", "SGD", "Adam", "AdamW", "Constant", "Cosine", "Steps"]
