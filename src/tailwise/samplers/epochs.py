"""Our samplers in anybody's `DataLoader`: the rows of an epoch, cut by process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from operator import index
from typing import Any

import numpy as np
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from tailwise import seeds
from tailwise.errors import BadData, BadValue
from tailwise.samplers.class_balanced import ClassBalancedSampler


class EpochSampler(Sampler[int]):
    """Row numbers for `DataLoader(..., sampler=...)`: a pure function of labels, seed, epoch and rank.

    The rows of an epoch are drawn once for all W processes, and process r takes rows r, r + W, r + 2 W, ... So the k-th batches of b rows
    of all processes are together the k-th batch of W b rows of one process. Where the rows do not divide by W, the first ones are shown
    once more at the end, so that all processes take equally many steps (as `torch.utils.data.DistributedSampler` does).

    With the same seed these are the rows that tailwise's own loop shows in a first stage. Only the labels are read, never an image, and
    no global generator is touched. Call `set_epoch` before each epoch, or every epoch shows the same rows.

    Args:
        labels: (rows,) whole numbers from 0, one a row of the data set: a list, an array or a tensor.
        sampler: draws an epoch's rows, with `rows(labels, rng, epoch, epochs)`; None for every row once in random order.
        seed: a whole number; the same for all processes.
        epochs: length of the training, for samplers that change over it.
        rank: of this process, 0-based. None for that of `torch.distributed` where it is initialised, else of the environment's `RANK`,
            else 0.
        world: number of processes W; None likewise, with `WORLD_SIZE`, else 1.

    Raises:
        BadData: labels that are empty, no whole numbers, negative, or not one a row; a sampler that draws no rows.
        BadValue: a rank outside the world, another number out of range, or a sampler without `rows`.

    >>> sampler = EpochSampler([0, 0, 0, 0, 0, 1], sampler=None)
    >>> sampler.set_epoch(3)
    >>> sorted(sampler)
    [0, 1, 2, 3, 4, 5]
    >>> halves = [EpochSampler([0, 0, 0, 0, 0, 1], None, rank=r, world=2) for r in (0, 1)]
    >>> [len(half) for half in halves], sorted([*halves[0], *halves[1]])
    ([3, 3], [0, 1, 2, 3, 4, 5])
    """

    def __init__(
        self,
        labels: Sequence[int] | NDArray[Any] | Tensor,
        sampler: Any = ClassBalancedSampler(),
        seed: int = 0,
        epochs: int = 1,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        if sampler is not None and (isinstance(sampler, type) or not hasattr(sampler, "rows")):
            raise BadValue(f"a sampler has rows(labels, rng, epoch, epochs), as ClassBalancedSampler() does, got {sampler!r}; or give None")
        self.labels = _checked_labels(labels)
        self.sampler = sampler
        self.seed = _whole("seed", seed)
        self.epochs = _whole("epochs", epochs, low=1)
        here, everywhere = _place()
        self.world = _whole("world", everywhere if world is None else world, low=1)
        self.rank = _whole("rank", here if rank is None else rank, low=0)
        if self.rank >= self.world:
            raise BadValue(f"rank is 0 to {self.world - 1} among {self.world} processes, got {self.rank}; give rank and world together")
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the 0-based epoch that is shown next; call it on all processes alike."""
        self.epoch = _whole("epoch", epoch, low=0)
        self._drawn: NDArray[np.int64] | None = None

    def joint_rows(self) -> NDArray[np.int64]:
        """Give the epoch's rows of all processes together, in order: (rows,) int64, before they are cut and filled up."""
        if self._drawn is None:
            rng = seeds.generator(self.seed, "order", "main", 0, self.epoch)  # the words of the loop's own draw
            if self.sampler is None:
                self._drawn = rng.permutation(len(self.labels))
            else:
                self._drawn = np.asarray(self.sampler.rows(self.labels, rng, self.epoch, self.epochs), dtype=np.int64)
            if not len(self._drawn):
                raise BadData(f"{self.sampler!r} drew no rows in epoch {self.epoch}; an epoch has at least one")
        return self._drawn

    def __len__(self) -> int:
        return -(-len(self.joint_rows()) // self.world)

    def __iter__(self) -> Iterator[int]:
        filled = np.resize(self.joint_rows(), len(self) * self.world)  # repeats from the first row on
        return iter(filled[self.rank :: self.world].tolist())


def _checked_labels(labels: Any) -> NDArray[np.int64]:
    """Copy labels into (rows,) int64."""
    try:
        numbers = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    except (TypeError, ValueError, RuntimeError):  # ragged, or a tensor that NumPy has no dtype for
        raise BadData(f"labels are one whole number a row, got a {type(labels).__name__} that makes no array") from None
    if numbers.ndim != 1 or not len(numbers):
        raise BadData(f"labels are one whole number a row, in one dimension, got shape {numbers.shape}")
    if numbers.dtype.kind not in "iu":
        raise BadData(f"labels are whole numbers, got {numbers.dtype}; number the classes from 0")
    if numbers.min() < 0:
        raise BadData(f"labels are whole numbers from 0, got {numbers.min()} at row {numbers.argmin()}; leave rows without a label out")
    return numbers.astype(np.int64)


def _whole(name: str, value: Any, low: int | None = None) -> int:
    try:
        number = index(value)
    except TypeError:
        raise BadValue(f"{name} is a whole number, got {value!r}") from None
    if low is not None and number < low:
        raise BadValue(f"{name} is at least {low}, got {number}")
    return number


def _place() -> tuple[int, int]:
    """Give rank and number of processes, as `torch.distributed` or a launcher's environment says."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    said = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    try:
        return int(said[0]), int(said[1])
    except ValueError:
        raise BadValue(f"the environment's RANK and WORLD_SIZE are whole numbers, got {said[0]!r} and {said[1]!r}") from None
