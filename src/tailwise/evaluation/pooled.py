"""Accuracies from published numbers of right answers: what a table of another paper says, to the digit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral

from tailwise.errors import BadData

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
        lines = ["| group | accuracy | correct | images |", "| --- | ---: | ---: | ---: |"]
        for name, part in {**self.groups, ALL: self.all}.items():
            lines.append(f"| {name} | {100 * part.accuracy:.2f} | {part.correct:,} | {part.images:,} |")
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        return str(self)


def from_counts(groups: Mapping[str, tuple[int, int]]) -> PooledGroups:
    """Turn right answers and images of groups into accuracies, of each and of all together.

    Args:
        groups: group name -> (right answers, images), whole numbers, 0 <= right <= images, images above 0.

    Raises:
        BadData: no group, one called `all`, or numbers that cannot be.

    The published run of RSG on mini-ImageNet-LT, whose 79 frequent, 17 medium and 4 rare classes have 60 test images each:

    >>> print(from_counts({"many": (3598, 4740), "medium": (637, 1020), "few": (122, 240)}))
    | group | accuracy | correct | images |
    | --- | ---: | ---: | ---: |
    | many | 75.91 | 3,598 | 4,740 |
    | medium | 62.45 | 637 | 1,020 |
    | few | 50.83 | 122 | 240 |
    | all | 72.62 | 4,357 | 6,000 |
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
