"""How an error names many things at once: the first five, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5


def first_five(things: Sequence[object]) -> str:
    """Name the first five things, and say how many more there are.

    >>> first_five(["a", "b"])
    'a, b'
    >>> first_five(range(7))
    '0, 1, 2, 3, 4 and 2 more'
    """
    # A file name may hold a line break, an error must not.
    named = ", ".join(str(thing).replace("\n", "\\n") for thing in things[:SHOWN])
    left = len(things) - SHOWN
    return f"{named} and {left:,} more" if left > 0 else named
