"""Streams: which rows a step shows, and their views, as pure functions of seed, stream and step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise import processes, seeds
from tailwise.errors import BadData, BadValue
from tailwise.method import Stream
from tailwise.objective import Batch, Chosen, Clock, Objective, Sample
from tailwise.pixels import Normalise, Rows, View
from tailwise.pixels.transfer import to_device
from tailwise.training.plan import Leg, Root, batch_size, rows_beside

PLAIN = Normalise()


class StreamReader:
    """Reads one stream: the rows of any step, and their views.

    `main` sets the epoch: its last batch may be short. Every other stream is the endless row of its passes, and a step takes its
    next `batch` rows wherever the epoch stands.

    Args:
        name: of the stream, part of every draw.
        stream: its description.
        root: of the run: data, seed, recipe of the network's views.
        leg: the stretch of training: recipe, steps an epoch, where clocks start.
        device: where batches go.
    """

    def __init__(self, name: str, stream: Stream, root: Root, leg: Leg, device: torch.device) -> None:
        self.name = name
        self.stream = stream
        self.rows: Rows = root.splits.rows[stream.split]
        self.seed = root.seed
        self.leg = leg
        self.device = device
        self.batch = batch_size(stream, leg.recipe)
        normalise = leg.recipe.normalise or PLAIN
        self.views = [View(_augmentations(view, leg.recipe), normalise) for view in stream.views]
        self._pass = lru_cache(maxsize=4)(self._draw_pass)

    def _draw_pass(self, number: int) -> NDArray[np.int64]:
        """Draw the rows of one pass over the split; the numbers depend on the clock's beginning, not on the line."""
        rng = seeds.generator(self.seed, "order", self.name, self.leg.base, number)
        if self.stream.sampler is None:
            return rng.permutation(len(self.rows))
        drawn = self.stream.sampler.rows(self.rows.labels, rng, number, self.leg.recipe.epochs)
        if len(drawn) == 0 or (number and len(drawn) != len(self._pass(0))):
            raise BadData(f"the sampler of stream {self.name!r} drew {len(drawn)} rows in pass {number}; passes have one length above 0")
        return np.asarray(drawn, dtype=np.int64)

    def rows_at(self, epoch: int, step: int, since_base: int) -> NDArray[np.int64]:
        """Give the rows of a step.

        Args:
            epoch: of the clock.
            step: within the epoch.
            since_base: steps since the clock was zero.
        """
        if self.name == "main":
            return self._pass(epoch)[step * self.batch : (step + 1) * self.batch]
        at, length = since_base * self.batch, len(self._pass(0))
        stop, rows = at + self.batch, np.empty(0, dtype=np.int64)
        while at < stop:
            number, offset = divmod(at, length)
            taken = self._pass(number)[offset : offset + stop - at]
            rows, at = np.concatenate([rows, taken]), at + len(taken)
        return rows

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """Labels of the split; None where they are not shown."""
        return self.rows.targets if self.stream.labelled else None

    def sample(self, now: Clock, joint: Chosen, mine: slice) -> Sample:
        """Make the sample of a step.

        Args:
            now: the clock.
            joint: rows of the whole batch, and what belongs to them.
            mine: those of them that this process reads; draws are made for all.
        """
        rows, beside = joint
        chosen = rows[mine]
        views = tuple(self._view(k, view, rows, now, mine) for k, view in enumerate(self.views))
        targets = None if self.labels is None else to_device(self.labels[chosen], self.device)
        extra = {name: tensor[mine].to(self.device) for name, tensor in beside.items()}
        if self.rows.weights is not None:
            extra["weight"] = to_device(self.rows.weights[chosen], self.device)
        return Sample(views, targets, to_device(chosen, self.device), extra)

    def _view(self, which: int, view: View, rows: NDArray[np.int64], now: Clock, mine: slice) -> Tensor:
        def rng(augmentation: int) -> np.random.Generator:
            return seeds.generator(self.seed, "view", self.name, which, augmentation, now.total)

        return view.of_rows(self.rows, rows, rng, mine, self.device)


def _augmentations(view: Any, recipe: Any) -> tuple[Any, ...]:
    if view == "recipe":
        return tuple(recipe.augment)
    if view == "plain":
        return ()
    if isinstance(view, tuple) and not any(isinstance(part, str) and part != "recipe" for part in view):
        return tuple(inner for part in view for inner in (recipe.augment if part == "recipe" else (part,)))
    raise BadValue(f"a view is 'recipe', 'plain' or a tuple of augmentations, among which 'recipe' stands for the recipe's; got {view!r}")


def read_batch(
    readers: Mapping[str, StreamReader], leg: Leg, step: int, seed: int, objective: Objective | None = None
) -> tuple[Batch, Clock]:
    """Make this process's share of the batch of a step, rows mixed where the stage mixes, and the clock that goes with it.

    Args:
        readers: of all streams.
        leg: on the line.
        step: of the line.
        seed: of the run.
        objective: as all steps before have left it, since it has a say in the rows; None to read what the samplers drew.
    """
    epoch, within = divmod(step, leg.steps)
    total = leg.origin + step
    now = Clock(leg.epoch + epoch, leg.recipe.epochs, within, leg.steps, total, seed)
    joint = _choose_rows(readers, now, total - leg.base, objective)
    shares = min(processes.count(), *(max(1, len(rows) // 2) for rows, _ in joint.values()))  # one row is too few for batch normalisation
    now = replace(now, rows=len(joint["main"][0]), stands_in=processes.rank() >= shares)
    part = 0 if now.stands_in else processes.rank()
    mixing = leg.stage.mixing
    batch = {}
    for name, chosen in joint.items():
        mine = share(len(chosen[0]), part, shares)
        if name == "main" and mixing is not None:  # pairs rows of the whole batch, so the whole batch is read
            whole = readers[name].sample(now, chosen, slice(None))
            batch[name] = _rows_of(mixing(whole, seeds.generator(seed, "mixing", total)), mine)
        else:
            batch[name] = readers[name].sample(now, chosen, mine)
    return batch, now


def _choose_rows(readers: Mapping[str, StreamReader], now: Clock, since_base: int, objective: Objective | None) -> dict[str, Chosen]:
    """Give the rows of the whole batch by stream, and what belongs to them."""
    chosen = {"main": readers["main"].rows_at(now.epoch, now.step, since_base)}
    for name, reader in readers.items():
        if name != "main":
            rows = reader.rows_at(now.epoch, now.step, since_base)
            chosen[name] = rows[: rows_beside(reader.stream, reader.leg.recipe, len(chosen["main"]))]
    if objective is None:
        return {name: (rows, {}) for name, rows in chosen.items()}
    return {name: objective.choose(name, rows, readers[name].labels, now) for name, rows in chosen.items()}


def share(rows: int, part: int, parts: int) -> slice:
    """Give the rows of one of several parts of a batch, in order; parts differ by a row at most.

    >>> share(5, 0, 2), share(5, 1, 2)
    (slice(0, 2, None), slice(2, 5, None))
    """
    return slice(part * rows // parts, (part + 1) * rows // parts)


def cut(batch: Batch, parts: int) -> list[Batch]:
    """Cut every stream of a batch into parts, in order; fewer where a stream has fewer rows, so that no part is empty."""
    parts = min(parts, *map(len, batch.values()))
    return [{name: _rows_of(sample, share(len(sample), k, parts)) for name, sample in batch.items()} for k in range(parts)]


def _rows_of(sample: Sample, rows: slice) -> Sample:
    return replace(
        sample,
        views=tuple(view[rows] for view in sample.views),
        targets=None if sample.targets is None else sample.targets[rows],
        index=sample.index[rows],
        extra={name: tensor[rows] for name, tensor in sample.extra.items()},
    )
