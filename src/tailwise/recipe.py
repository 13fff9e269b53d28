"""Recipes: everything about training that is not the method: epochs, batch, optimiser, schedule, augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tailwise.errors import BadValue
from tailwise.method import Learn
from tailwise.specification import UNDECIDED

SMALLEST_BATCH = 8
"""Below so many rows gradients say little, and normalisation over a batch less."""


@dataclass(frozen=True)
class Recipe:
    """How to train, the same for every method of a comparison.

    Attributes:
        name: for people.
        net: the network when none is asked for.
        pretrained: whether a network that is named without weights begins from its pre-trained ones.
        frozen: whether the network stays as its weights are: it gives the features of every image once, and a head learns on them.
        image_size: side in pixels to which images are brought when the store is made; None for the size that pre-trained weights
            were trained at, and otherwise the images' own.
        epochs: passes over `main`.
        batch_size: rows a step; the last, short batch of an epoch is kept.
        least_steps: steps an epoch below which, on few rows, the batch is halved, down to eight rows.
        accumulate: parts into which a batch is cut to save memory; changes no mathematics but that of BatchNorm.
        optimiser: the `main` optimiser part.
        schedule: the learning rate's schedule part.
        clip: largest norm of the whole gradient; None for none.
        augment: augmentation parts of a training view, in order.
        normalise: the last step of every view, or None for the network's own.
        learn: which parameters learn when a stage does not say.
        threads: torch threads of a training process.
        measure_every: epochs between two measurements of val while it trains, for learning curves; 0 measures at the end alone.
        cuts: shares of training at which a state is kept for others to start from, beside the schedule's own.
        second: the recipe of second stages, such as cRT's; None where there are none.
        sources: field -> where its value comes from.
    """

    name: str = field(metadata=UNDECIDED)
    net: str = field(metadata=UNDECIDED)
    epochs: int
    batch_size: int
    optimiser: Any
    schedule: Any
    augment: tuple[Any, ...] = ()
    normalise: Any = None
    pretrained: bool = False
    frozen: bool = False
    image_size: int | None = None
    accumulate: int = 1
    least_steps: int = 1
    clip: float | None = None
    learn: tuple[Learn, ...] = (Learn(),)
    threads: int = 1
    measure_every: int = 0
    cuts: tuple[float, ...] = field(default=(0.8,), metadata=UNDECIDED)
    second: Recipe | None = field(default=None, metadata=UNDECIDED)
    sources: Mapping[str, str] = field(default_factory=dict, metadata=UNDECIDED)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "least_steps", "threads"):
            if getattr(self, name) < 1:
                raise BadValue(f"recipe.{name} is a whole number from 1, got {getattr(self, name)}")
        if self.accumulate > self.batch_size:
            raise BadValue(f"recipe.accumulate cuts a batch of {self.batch_size} rows, so it is at most that, got {self.accumulate}")
        if self.image_size is not None and self.image_size < 1:
            raise BadValue(f"recipe.image_size is a number of pixels from 1, or none, got {self.image_size}")
        if self.measure_every < 0:
            raise BadValue(f"recipe.measure_every is a number of epochs, or 0 for never, got {self.measure_every}")
        if self.frozen and self.augment:
            raise BadValue(
                "recipe.augment changes images, and a recipe that freezes the network reads each image once, for its features; "
                "leave it none, or take a recipe that trains the network, such as finetune"
            )
        if self.clip is not None and self.clip <= 0:
            raise BadValue(f"recipe.clip is a norm above 0, got {self.clip}")

    def shares(self) -> tuple[float, ...]:
        """Give the shares of training at which states are kept: the schedule's drops, `cuts` and the end."""
        drops = tuple(getattr(self.schedule, "drops", ()))
        return tuple(sorted({*drops, *self.cuts, 1.0}))

    def epoch_at(self, share: float) -> int:
        """Turn a share of training into the 0-based epoch that begins there."""
        return int(share * self.epochs + 1e-9)

    def fit_batch(self, rows: int) -> Recipe:
        """Give the recipe with a batch small enough for `least_steps` steps an epoch over so many rows; the one inside too."""
        batch = self.batch_size
        while batch > SMALLEST_BATCH and -(-rows // batch) < self.least_steps:
            batch = max(SMALLEST_BATCH, batch // 2)
        return replace(self, batch_size=batch, second=self.second and self.second.fit_batch(rows))

    def part(self, name: str | None) -> Recipe:
        """Give the recipe itself, or the one inside it that a stage names.

        Raises:
            BadValue: there is none of that name.
        """
        if name is None:
            return self
        inner = getattr(self, name, None)
        if not isinstance(inner, Recipe):
            raise BadValue(f"recipe {self.name!r} has no recipe {name!r} inside, which a stage follows; use another --recipe")
        return inner
