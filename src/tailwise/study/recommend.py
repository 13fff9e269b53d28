"""The recommendation of a comparison: chosen on val, reported on test."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tailwise.evaluation import Cell
from tailwise.registry import with_settled
from tailwise.study.runs import Run, summarise_runs

WITHOUT_VAL = (
    "No recommendation: the data have no val images, and a choice made on test would make its figures too high; "
    "set some of train aside with --split 80/10/10."
)

SMALL_VAL = 100
"""Images of val below which one more right answer moves accuracy by a point or more."""


@dataclass(frozen=True)
class Recommendation:
    """The row with the highest macro accuracy on val, averaged over seeds; the first among equals.

    Attributes:
        row: its text.
        typed: the same as one types it.
        run: folder of its first seed.
        seeds: behind the average.
        val: macro accuracy on val, 0-1.
        val_images: behind it.
        next_row: the second best row, or None.
        next_val: its macro accuracy on val.
        settled: knobs that were fitted on val -> the median of their values over the seeds.
        test: mean over seeds of `overall`, `macro` and each group on test, 0-1; empty without test images.
        test_images: column -> images behind it in each seed.
    """

    row: str
    typed: str
    run: Path
    seeds: int
    val: float
    val_images: int
    next_row: str | None
    next_val: float | None
    settled: Mapping[str, float]
    test: Mapping[str, float | None]
    test_images: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values; the run's folder is given by its name."""
        return {**asdict(self), "run": self.run.name}

    @property
    def method(self) -> str:
        """The row as one types it to train it again, fitted knobs at their values."""
        return with_settled(self.typed, self.settled)


def recommend(runs: Mapping[str, Sequence[Run]]) -> Recommendation | None:
    """Choose among rows by macro accuracy on val, so that test figures stay honest; None where there is no val.

    Args:
        runs: row's text -> its runs, seed by seed.
    """
    with_val = {text: found for text, found in runs.items() if found and all("val" in run.record["data"]["splits"] for run in found)}
    if not with_val:
        return None
    macro = {row.name: row.cells["macro"] for row in summarise_runs(with_val, "val").rows}
    scored = {name: cell.mean for name, cell in macro.items() if cell.mean is not None}
    if not scored:
        return None
    best, *others = sorted(scored, key=lambda text: -scored[text])  # stable: the first among equals
    test = _on_test(runs[best])
    return Recommendation(
        row=best,
        typed=runs[best][0].record["typed"],
        run=runs[best][0].folder,
        seeds=len(runs[best]),
        val=scored[best],
        val_images=macro[best].images,
        next_row=others[0] if others else None,
        next_val=scored[others[0]] if others else None,
        settled=_settled(runs[best]),
        test={column: cell.mean for column, cell in test.items()},
        test_images={column: cell.images for column, cell in test.items()},
    )


def _settled(runs: Sequence[Run]) -> dict[str, float]:
    """Find knobs that were left to val, and the values that the seeds found for them."""
    first = runs[0].record
    open_knobs = [name for name, value in first["knobs"].items() if value == "val" and name in (first["correction"] or {})]
    return {name: statistics.median_low(run.record["correction"][name] for run in runs) for name in open_knobs}


def _on_test(runs: Sequence[Run]) -> dict[str, Cell]:
    if "test" not in runs[0].record["data"]["splits"]:
        return {}
    cells = summarise_runs({"chosen": runs}, "test").rows[0].cells
    return {column: cell for column, cell in cells.items() if column != "macro_f1"}


def describe_choice(chosen: Recommendation | None) -> str:
    """Say what is recommended, why, and what it reaches on test; or why nothing is."""
    if chosen is None:
        return WITHOUT_VAL
    over = f"over {chosen.seeds} seeds" if chosen.seeds > 1 else "with one seed"
    said = [
        f"Recommended: {chosen.row}. It has the best macro accuracy on val, {100 * chosen.val:.2f} % {over} (n = {chosen.val_images:,})"
    ]
    if chosen.next_row is not None and chosen.next_val is not None:
        said[0] += f"; next is {chosen.next_row} with {100 * chosen.next_val:.2f} %"
    said[0] += "."
    if chosen.settled:
        fitted = ", ".join(f"{knob} = {value:g}" for knob, value in chosen.settled.items())
        said.append(f"Its {fitted} was fitted on the same images, which flatters it there.")
    if chosen.val_images < SMALL_VAL:
        said.append(
            f"With n = {chosen.val_images} this choice may be chance: more images, or more for val as in --split 60/20/20, would say more."
        )
    if chosen.test:
        figures = [
            f"{name} {'–' if value is None else f'{100 * value:.2f} %'} (n = {chosen.test_images[name]:,})"
            for name, value in chosen.test.items()
        ]
        said.append(f"On test, which chose nothing: {', '.join(figures)}.")
    else:
        said.append("There are no test images to say what it reaches.")
    return " ".join(said)
