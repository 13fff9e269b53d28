"""Cells: one figure over seeds, with its spread and its intervals."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tailwise.evaluation.intervals import Estimate, Interval
from tailwise.evaluation.tables import NOTHING


@dataclass(frozen=True)
class Cell:
    """One figure over seeds.

    Attributes:
        mean: mean over the seeds, 0-1; None where there is nothing to measure.
        spread: sample standard deviation over the seeds (divisor seeds - 1), 0-1; None below two seeds.
        networks: 95 % interval for these networks on new images; None where there is nothing to measure.
        method: 95 % interval for the method on new seeds and images; None below three seeds too.
        seeds: number of seeds.
        images: n, images behind the figure in each seed.
    """

    mean: float | None
    spread: float | None
    networks: Interval | None
    method: Interval | None
    seeds: int
    images: int

    @property
    def interval(self) -> Interval | None:
        """The interval of the farther-reaching claim that so many seeds allow."""
        return self.method or self.networks

    def __str__(self) -> str:
        if self.mean is None:
            return NOTHING
        return f"{100 * self.mean:.2f} {self.interval or ''}".rstrip()


def make_cell(values: Sequence[float | None], found: Estimate | None, images: int) -> Cell:
    """Make a cell of a figure's values, one a seed, and the estimate behind them."""
    known = [value for value in values if value is not None]
    return Cell(
        mean=statistics.fmean(known) if known else None,
        spread=statistics.stdev(known) if len(known) > 1 else None,
        networks=None if found is None else found.interval("networks"),
        method=None if found is None else found.interval("method"),
        seeds=len(values),
        images=images,
    )


def cell_of(found: Estimate | None, seeds: int, images: int) -> Cell:
    """Make a cell of an estimate alone: a mean over seeds whose single values are not at hand."""
    networks, method = (None, None) if found is None else (found.interval("networks"), found.interval("method"))
    return Cell(None if found is None else found.value, None, networks, method, seeds, images)
