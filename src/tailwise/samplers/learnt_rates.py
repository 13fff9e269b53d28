"""Sampling by a rate a class that can be learnt: the meta sampler's draws and their straight-through gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.errors import BadValue


def first_rate_logits(counts: Sequence[float], power: float) -> Tensor:
    """Give the logits a of the rates that learning begins with: `sigmoid(a_k) = n_k**-power / (min_j + max_j of n_j**-power)`.

    Ren et al., *Balanced Meta-Softmax*, NeurIPS 2020; `MetaSampler.py` of the authors, `init_pow`. A power of 0 gives zeros: all images
    alike. Taken over logarithms, and symmetric about zero: the rarest class has minus the logit of the most frequent one.

    Args:
        counts: (classes,) images a class, >= 0, at least one above 0; a class without images gets a logit of 0 and is never drawn.
        power: of the counts, >= 0.

    Returns:
        (classes,) float64.

    >>> first_rate_logits([100, 10, 1], power=0.5).sigmoid().tolist()
    [0.0909..., 0.2874..., 0.9090...]
    """
    n = np.asarray(counts, dtype=np.float64)
    logits = np.zeros_like(n)
    powers = -power * np.log(n[n > 0])
    least, logs = np.exp(powers.min() - powers.max()), powers - powers.max()
    logits[n > 0] = logs - np.log(least - np.expm1(logs))  # log r - log(1 - r), both times min + max, over the largest power
    return torch.from_numpy(logits)


def chance_of_draw(rate_logits: Tensor, keys: Tensor, drawn: Tensor) -> Tensor:
    """Give the relaxed chance of what was drawn: `softmax(log sigmoid(a) + keys)` at the drawn entry, differentiable in a.

    The straight-through Gumbel-softmax at temperature 1 (Jang et al., ICLR 2017) draws the entry with the largest `log sigmoid(a) + keys`;
    its one-hot vector has the gradient of this softmax. The noise of the draw is in the keys, which therefore travel with the row.

    Args:
        rate_logits: (K,) a.
        keys: (B, K) Gumbel noise, plus the logarithm of how many images an entry stands for; -inf for none.
        drawn: (B,) int64 entries.

    Returns:
        (B,) in (0, 1].
    """
    soft = torch.softmax(torch.nn.functional.logsigmoid(rate_logits) + keys, dim=1)
    return soft.gather(1, drawn[:, None])[:, 0]


def straight_through(chance: Tensor) -> Tensor:
    """Give ones with the gradient of (B,) chances: what a loss is multiplied by, so that it teaches the rates of what was drawn."""
    return 1 + (chance - chance.detach())  # in this order the ones are exact


@dataclass(frozen=True)
class LearntRateSampler:
    """Draws every row anew: an image of class k with a chance in proportion to its class's rate, so class k in proportion to `n_k rate_k`.

    The meta sampler of BALMS (Ren et al., NeurIPS 2020, section 3.3). First the class is drawn, by Gumbel noise a class, then one of
    its images: the same draws in law as the authors' noise over all images, with (B, classes) numbers a step instead of (B, images).
    Without an objective that learns the rates they stay as they begin.

    Args:
        power: rates begin at `n_k**-power`; 0 draws all images alike.
    """

    power: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.power < math.inf:
            raise BadValue(f"rates begin at a power of class counts that is at least 0 and finite, got {self.power}")

    def draw(
        self, labels: NDArray[np.int64], rate_logits: NDArray[np.float64], rows: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw rows by rates as they are now.

        Args:
            labels: (N,) int64 labels of the split.
            rate_logits: (classes,) a.
            rows: how many to draw.
            rng: of this draw.

        Returns:
            (rows,) int64 positions in `labels`, with replacement; and the (rows, classes) keys of the draw, see `chance_of_draw`.
        """
        counts = np.bincount(labels, minlength=len(rate_logits))
        with np.errstate(divide="ignore"):
            keys = np.log(counts) + rng.gumbel(size=(rows, len(counts)))
        drawn = (keys - np.logaddexp(0.0, -np.asarray(rate_logits, dtype=np.float64))).argmax(1)
        place = np.floor(rng.random(rows) * counts[drawn]).astype(np.int64)
        starts = np.cumsum(counts) - counts
        order = np.argsort(labels.astype(np.min_scalar_type(len(counts))), kind="stable")  # short numbers are sorted in linear time
        return order[starts[drawn] + place], keys

    def rows(self, labels: NDArray[np.int64], rng: np.random.Generator, epoch: int, epochs: int) -> NDArray[np.int64]:
        """Give the rows of one epoch by the rates that learning begins with, as many as there are labels.

        Args:
            labels: (rows,) int64 labels of the split.
            rng: of this epoch; nothing else is random.
            epoch: not used here; samplers that change over training need it.
            epochs: likewise.

        Returns:
            (rows,) int64 positions in `labels`.
        """
        rates = first_rate_logits(np.bincount(labels).tolist(), self.power)
        return self.draw(labels, rates.numpy(), len(labels), rng)[0]

    def shown(self, real: Sequence[float]) -> tuple[float, ...]:
        """Give the expected rows a class and epoch, by the rates that learning begins with."""
        masses = np.asarray(real) * first_rate_logits(real, self.power).sigmoid().numpy()
        return tuple((sum(real) * masses / masses.sum()).tolist())
