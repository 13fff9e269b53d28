"""Accuracies from published numbers of right answers: what a table of another paper says, to the digit, and what two of them can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from tailwise.errors import BadData
from tailwise.evaluation.holm import ALPHA
from tailwise.evaluation.intervals import Interval
from tailwise.evaluation.proportions import two_proportions, wilson

ALL = "all"


@dataclass(frozen=True)
class Pooled:
    """So many right answers of so many images.

    Attributes:
        correct: right answers.
        images: n, images in all; above 0.
    """

    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0-1 and unrounded."""
        return self.correct / self.images

    @property
    def interval(self) -> Interval:
        """Its 95 % interval, by Wilson."""
        found = wilson(self.correct, self.images)
        assert found is not None  # there are images
        return found


@dataclass(frozen=True)
class PooledGroups:
    """Pooled accuracies of groups; printed it is Markdown, in percent.

    A pooled accuracy is a share of images. It is the mean over the group's classes, which our own tables show, only where
    all of its classes have equally many images, as in the balanced test sets of the benchmarks.

    Attributes:
        groups: group name -> right answers and images, in the order given.
        all: all groups together.
    """

    groups: Mapping[str, Pooled]
    all: Pooled

    def __str__(self) -> str:
        lines = ["| group | accuracy | 95 % | correct | images |", "| --- | ---: | ---: | ---: | ---: |"]
        for name, part in self.parts.items():
            lines.append(f"| {name} | {100 * part.accuracy:.2f} | {part.interval} | {part.correct:,} | {part.images:,} |")
        return "\n".join(lines)

    @property
    def parts(self) -> dict[str, Pooled]:
        """The groups, and all together."""
        return {**self.groups, ALL: self.all}

    def to_dict(self) -> dict[str, Any]:
        """Give plain values: for each group and `all` its right answers, images, accuracy and interval."""
        return {
            name: {"correct": part.correct, "images": part.images, "accuracy": part.accuracy, "interval": part.interval.to_dict()}
            for name, part in self.parts.items()
        }

    def _repr_markdown_(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Separate:
    """Two proportions compared as if they were measured on separate images.

    Attributes:
        group: what they are of.
        ours: one.
        theirs: what it is held against.
        z: of the pooled score test.
        p: two-sided.
    """

    group: str
    ours: Pooled
    theirs: Pooled
    z: float
    p: float

    @property
    def is_shown(self) -> bool:
        """Whether the difference is more than noise, at 5 %."""
        return self.p <= ALPHA

    @property
    def words(self) -> str:
        """The two accuracies, their images, and whether the difference is more than noise."""
        ours, theirs = self.ours, self.theirs
        images = f"{ours.images:,}" if ours.images == theirs.images else f"{ours.images:,} and {theirs.images:,}"
        verdict = "more than noise" if self.is_shown else "within noise"
        return (
            f"{self.group}: {100 * ours.accuracy:.2f} against {100 * theirs.accuracy:.2f} on {images} images "
            f"is {verdict} (z = {self.z:.2f}, p = {self.p:.2g})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Give plain values."""
        difference = self.ours.accuracy - self.theirs.accuracy
        return {"group": self.group, "difference": difference, "z": self.z, "p": self.p, "more_than_noise": self.is_shown}


UNPAIRED = (
    "This takes both as separate samples, each group at 5 %. Measured on the same images, a paired answer can see smaller differences, "
    "and needs the predictions of both."
)


def as_separate_samples(ours: PooledGroups, theirs: PooledGroups) -> list[Separate]:
    """Compare two published tables group by group, all that their numbers allow; groups that only one has are left out.

    Two published runs on mini-ImageNet-LT, one filled with generated images and one with RSG:

    >>> filled, rsg = from_counts({"many": (3762, 4740), "few": (135, 240)}), from_counts({"many": (3598, 4740), "few": (122, 240)})
    >>> print(*(found.words for found in as_separate_samples(filled, rsg)), sep="\\n")
    many: 79.37 against 75.91 on 4,740 images is more than noise (z = 4.04, p = 5.3e-05)
    few: 56.25 against 50.83 on 240 images is within noise (z = 1.19, p = 0.23)
    all: 78.25 against 74.70 on 4,980 images is more than noise (z = 4.18, p = 2.9e-05)
    """
    pairs = [(name, part, theirs.parts[name]) for name, part in ours.parts.items() if name in theirs.parts]
    return [
        Separate(name, a, b, *two_proportions((a.correct, a.images), (b.correct, b.images)))
        for name, a, b in pairs
        if name != ALL or ours.groups.keys() == theirs.groups.keys()
    ]


def from_counts(groups: Mapping[str, tuple[int, int]]) -> PooledGroups:
    """Turn right answers and images of groups into accuracies, of each and of all together.

    Args:
        groups: group name -> (right answers, images), whole numbers, 0 <= right <= images, images above 0.

    Raises:
        BadData: no group, one called `all`, or numbers that cannot be.

    The published run of RSG on mini-ImageNet-LT, whose 79 frequent, 17 medium and 4 rare classes have 60 test images each:

    >>> print(from_counts({"many": (3598, 4740), "medium": (637, 1020), "few": (122, 240)}))
    | group | accuracy | 95 % | correct | images |
    | --- | ---: | ---: | ---: | ---: |
    | many | 75.91 | [74.67, 77.10] | 3,598 | 4,740 |
    | medium | 62.45 | [59.44, 65.37] | 637 | 1,020 |
    | few | 50.83 | [44.55, 57.10] | 122 | 240 |
    | all | 72.62 | [71.47, 73.73] | 4,357 | 6,000 |
    """
    if not groups:
        raise BadData("there are no groups; give for each a pair of right answers and images")
    if ALL in groups:
        raise BadData(f"a group is called {ALL!r}, which is the name of all groups together; leave it out or rename it")
    found = {name: _pooled(name, pair) for name, pair in groups.items()}
    return PooledGroups(found, Pooled(sum(part.correct for part in found.values()), sum(part.images for part in found.values())))


def _pooled(name: str, pair: tuple[int, int]) -> Pooled:
    numbers = tuple(pair) if isinstance(pair, tuple | list) else ()
    if len(numbers) != 2 or not all(isinstance(number, Integral) and not isinstance(number, bool) for number in numbers):
        raise BadData(f"group {name!r} has {pair!r}, expected two whole numbers: right answers and images")
    correct, images = map(int, numbers)
    if not 0 <= correct <= images or not images:
        raise BadData(f"group {name!r} has {correct} right answers of {images} images; expected 0 <= right <= images, and images above 0")
    return Pooled(correct, images)
