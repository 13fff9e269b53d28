"""Mixing: parts that make new rows out of pairs of rows of a batch.

Lives here: frozen descriptions called as `mixing(sample, rng)`, which give a sample with mixed views, `mixed_targets` and `share` in
its `extra`; the ready-made objective takes its loss on both labels. Not here: what a loss makes of it (`objective.supervised`). Draws
are made for the whole batch, which is cut afterwards. May import torch, NumPy and the vocabulary.
"""

from tailwise.mixing.cutmix import CutMix
from tailwise.mixing.mixup import Mixup

__all__ = ["CutMix", "Mixup"]
