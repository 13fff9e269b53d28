"""Groups of classes by frequency: many, medium, few. Always made from the real training counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tailwise.errors import BadValue

MANY_ABOVE = 100
FEW_BELOW = 20


@dataclass(frozen=True)
class Groups:
    """A named partition of the classes.

    Attributes:
        scheme: `counts`, `thirds` or `explicit`.
        rule: the thresholds in words, for every table that shows the groups.
        members: group name -> labels, in label order; every class is in exactly one group.
    """

    scheme: str
    rule: str
    members: Mapping[str, tuple[int, ...]]


def by_counts(real: Sequence[int], many_above: int = MANY_ABOVE, few_below: int = FEW_BELOW) -> Groups:
    """Group by thresholds: many > 100, few < 20, medium the rest (Liu et al., CVPR 2019).

    A class with exactly 100 or exactly 20 images is medium.

    >>> by_counts([500, 100, 20, 19]).members
    {'many': (0,), 'medium': (1, 2), 'few': (3,)}
    """
    members = {
        "many": tuple(c for c, n in enumerate(real) if n > many_above),
        "medium": tuple(c for c, n in enumerate(real) if few_below <= n <= many_above),
        "few": tuple(c for c, n in enumerate(real) if n < few_below),
    }
    return Groups("counts", f"many > {many_above}, medium {few_below}..{many_above}, few < {few_below} images", members)


def thirds(real: Sequence[int]) -> Groups:
    """Group by rank into thirds; left-over classes go to the frequent groups first; ties are broken by label.

    >>> {name: len(labels) for name, labels in thirds([9, 8, 7, 6, 5, 4, 3, 2, 1, 1]).members.items()}
    {'many': 4, 'medium': 3, 'few': 3}
    """
    order = sorted(range(len(real)), key=lambda c: (-real[c], c))
    size, left = divmod(len(order), 3)
    members, start = {}, 0
    for rank, name in enumerate(("many", "medium", "few")):
        stop = start + size + (rank < left)
        members[name] = tuple(sorted(order[start:stop]))
        start = stop
    sizes = "/".join(str(len(labels)) for labels in members.values())
    return Groups("thirds", f"thirds of the classes by number of images ({sizes})", members)


def explicit(members: Mapping[str, Sequence[int]], classes: int) -> Groups:
    """Use the user's own lists of labels; refuses a class that is missing or named twice."""
    named = sorted(label for labels in members.values() for label in labels)
    if named != list(range(classes)):
        raise BadValue(f"groups must name each of the {classes} classes exactly once, got labels {named}")
    return Groups("explicit", "as listed", {name: tuple(sorted(labels)) for name, labels in members.items()})


SCHEMES = ("counts", "thirds")


def make_groups(real: Sequence[int], scheme: str | None = None) -> Groups:
    """Make the named scheme; without a name `counts`, or `thirds` where a group of `counts` would be empty."""
    if scheme not in (None, *SCHEMES):
        raise BadValue(f"groups {scheme!r} is no scheme; give one of {', '.join(SCHEMES)}")
    if scheme == "thirds":
        return thirds(real)
    grouped = by_counts(real)
    if scheme is None and not all(grouped.members.values()):
        return thirds(real)
    return grouped
