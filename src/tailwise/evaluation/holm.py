"""Several comparisons with one baseline: Holm's step-down procedure, with the level at which each was tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tailwise.errors import BadValue

ALPHA = 0.05
"""The chance of one false alarm or more among all comparisons of a table."""


@dataclass(frozen=True)
class Tested:
    """What Holm's procedure says of one comparison.

    Attributes:
        alpha: the level at which it was tested, or, after the first that was not rejected, the level of that one.
        p_holm: p-value adjusted for all comparisons; at or below the procedure's alpha where it is rejected.
        is_shown: whether the difference is more than noise.
    """

    alpha: float
    p_holm: float
    is_shown: bool


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[Tested]:
    """Test m hypotheses so that the chance of any false rejection stays at or below alpha, whatever their dependence.

    The j-th smallest p-value is held against alpha / (m - j + 1); with the first that is above, the procedure ends. An interval at the
    level 1 - `Tested.alpha` excludes 0 just where the difference is shown, so that words and intervals cannot disagree.

    Args:
        p_values: one for each comparison, 0-1.
        alpha: above 0, below 1.

    Returns:
        In the order of `p_values`.

    Raises:
        BadValue: a p-value that is none.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.

    >>> [test.is_shown for test in holm([0.04, 0.01, 0.03])]
    [False, True, False]
    """
    wrong = [p for p in p_values if not 0 <= p <= 1]
    if wrong:
        raise BadValue(f"a p-value lies within 0-1, got {wrong[0]}")
    found: dict[int, Tested] = {}
    adjusted, level, going = 0.0, alpha, True
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        left = len(p_values) - rank
        adjusted = max(adjusted, min(1.0, left * p_values[index]))
        if going:
            level = alpha / left
            going = p_values[index] <= level
        found[index] = Tested(level, adjusted, going)
    return [found[index] for index in range(len(p_values))]
