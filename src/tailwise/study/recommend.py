"""The answer of a comparison: chosen on val, reported on test, held against the baseline, and what to try next."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tailwise.evaluation import LEAST_SEEDS, Cell, Difference, Evaluation, Interval, Measured, summarise
from tailwise.registry import with_settled
from tailwise.study.measure import measure
from tailwise.study.runs import Run

WITHOUT_VAL = (
    "No recommendation: there are no val images to choose on, and a choice made on test would make its figures too high; "
    "set some of train aside with --split 80/10/10, or measure every image with --folds 5."
)

SMALL_VAL = 100
"""Images of val below which one more right answer moves accuracy by a point or more."""

WEAKEST = 3
"""Classes named as those that need images."""

NEXT_RECIPE = {
    "head": "--recipe finetune trains the network too, not only its head",
    "demo": "--recipe quick trains longer",
    "quick": "--recipe finetune begins with a network that has seen photographs",
}
"""Recipe -> the one to try after it, and why."""


@dataclass(frozen=True)
class Recommendation:
    """The row with the highest macro accuracy on val, averaged over seeds; the first among equals.

    Attributes:
        row: its text.
        typed: the same as one types it.
        run: folder of its first seed.
        seeds: behind the average.
        val: macro accuracy on val, 0-1.
        val_interval: its interval.
        val_images: behind it.
        next_row: the second best row of those that do not answer every image alike, or None.
        next_val: its macro accuracy on val.
        lead: the row minus the second best on val, paired; None without a second one.
        settled: knobs that were fitted on val -> the median of their values over the seeds.
        test: column -> figure on test, mean over seeds with its interval; empty without test images.
        folds: into how many folds the images were dealt; None where test images are others than val's.
        gain: the row minus the baseline on test, paired; None where it is the baseline, or without test images.
        advice: what to try next, and why.
        learnt_on: on the images of which measured splits it learnt too, without their labels, in words; mostly empty.
    """

    row: str
    typed: str
    run: Path
    seeds: int
    val: float
    val_interval: Interval | None
    val_images: int
    next_row: str | None
    next_val: float | None
    lead: Difference | None
    settled: Mapping[str, float]
    test: Mapping[str, Cell]
    folds: int | None
    gain: Difference | None
    advice: tuple[str, ...]
    learnt_on: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give plain values; the run's folder is given by its name, figures as in a summary's cells."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("lead", "gain")}
        differences = {name: found and found.to_dict() for name, found in (("lead", self.lead), ("gain", self.gain))}
        return {**plain, **differences, "run": self.run.name, "advice": list(self.advice)}

    @property
    def method(self) -> str:
        """The row as one types it to train it again, fitted knobs at their values."""
        return with_settled(self.typed, self.settled)


def recommend(
    runs: Mapping[str, Sequence[Run]],
    against: str | None = None,
    measured: Callable[[str], Sequence[Measured]] | None = None,
) -> Recommendation | None:
    """Choose among rows by macro accuracy on val, so that test figures stay honest; None where there is no val.

    Args:
        runs: row's text -> its runs, seed by seed.
        against: the row that the choice is held against on test; None for `ce`, or the first.
        measured: gives the rows as they are measured on a split, where that is at hand.
    """
    measured = measured or (lambda split: measure(runs, split))
    if not _has(runs, "val"):
        return None
    on_val = {row.name: row for row in measured("val")}
    macro = {row.name: row.cells["macro"] for row in summarise(list(on_val.values())).rows}
    scored = {name: cell.mean for name, cell in macro.items() if cell.mean is not None}
    if not scored:
        return None
    best, *others = sorted(scored, key=lambda text: -scored[text])  # stable: the first among equals
    held = ((name, _held_against(on_val[best], on_val[name])) for name in others)
    rival, lead = next(((name, found) for name, found in held if found is None or found.changed), (None, None))
    test = summarise(measured("test"), against) if _has(runs, "test") else None
    gain = None if test is None else next((found for found in test.differences if found.name == best), None)
    folds = (runs[best][0].record.get("fold") or {"of": None})["of"]
    chosen = None if test is None else next(row for row in test.rows if row.name == best)
    return Recommendation(
        row=best,
        typed=runs[best][0].record["typed"],
        run=runs[best][0].folder,
        seeds=macro[best].seeds,
        val=scored[best],
        val_interval=macro[best].interval,
        val_images=macro[best].images,
        next_row=rival,
        next_val=None if rival is None else scored[rival],
        lead=lead,
        settled=_settled(runs[best]),
        test={} if chosen is None else {column: cell for column, cell in chosen.cells.items() if column != "macro_f1"},
        folds=folds,
        gain=gain,
        advice=tuple(_advice(runs[best], on_val[best].evaluations, gain, folds)),
        learnt_on=runs[best][0].record.get("learnt_on") or "",
    )


def _held_against(row: Measured, other: Measured) -> Difference | None:
    """Give the paired difference of two rows on val; None where they have no seed in common."""
    return next(iter(summarise([row, other], against=other.name).differences), None)


def _settled(runs: Sequence[Run]) -> dict[str, float]:
    """Find knobs that were left to val, and the values that the seeds found for them."""
    first = runs[0].record
    open_knobs = [name for name, value in first["knobs"].items() if value == "val" and name in (first["correction"] or {})]
    return {name: statistics.median_low(run.record["correction"][name] for run in runs) for name in open_knobs}


def _has(runs: Mapping[str, Sequence[Run]], split: str) -> bool:
    """Say whether there are runs, and a split in all of them."""
    splits = [run.record["data"]["splits"] for found in runs.values() for run in found]
    return bool(splits) and all(split in found for found in splits)


def _advice(runs: Sequence[Run], on_val: Sequence[Evaluation], gain: Difference | None, folds: int | None) -> list[str]:
    """Say what to try next, and why: seeds or images where chance hides a difference, images where the model is weakest, a recipe."""
    said = []
    seeds = len({run.record["seed"] for run in runs})
    if seeds < LEAST_SEEDS:
        said.append(
            f"--seeds {LEAST_SEEDS}: with {'one seed' if seeds == 1 else f'{seeds} seeds'} nothing can be said of the method itself"
        )
    elif gain is not None and not gain.is_shown and gain.changed:
        more_seeds = gain.by_seeds > gain.by_images
        images = "more images" if folds else "more test images, as in --folds 5"
        more = f"more seeds, as in --seeds {3 * seeds}" if more_seeds else images
        said.append(f"{more}: they are most of the doubt about the difference from {gain.against}")
    recipe = runs[0].record["recipe"]["name"]
    said += [NEXT_RECIPE[recipe]] if recipe in NEXT_RECIPE else []
    return said + _needy(on_val)


def _needy(on_val: Sequence[Evaluation]) -> list[str]:
    """Name the classes that the chosen row answers worst on val, the rarer first among equals; test is not looked at."""
    there = [place for place, result in enumerate(on_val[0].per_class) if result.n]
    right = {place: statistics.fmean(found.per_class[place].correct / found.per_class[place].n for found in on_val) for place in there}
    classes = on_val[0].per_class
    worst = sorted((place for place in there if right[place] < 1), key=lambda place: (right[place], classes[place].train_images))
    named = ", ".join(
        f"{found.name} ({found.train_images:,} for training, {100 * right[found.label]:.0f} % right of {found.n:,} on val)"
        for found in (classes[place] for place in worst[:WEAKEST])
    )
    return [f"more images of {named}"] if named else []


def describe_choice(chosen: Recommendation | None) -> str:
    """Say what is recommended and why, what it reaches, what it gains and costs, and what to try next, a line each; or why nothing is."""
    if chosen is None:
        return WITHOUT_VAL
    said = [_why(chosen)]
    if chosen.settled:
        fitted = ", ".join(f"{knob} = {value:g}" for knob, value in chosen.settled.items())
        said[0] += f" Its {fitted} was fitted on the same images, which flatters it there."
    if chosen.val_images < SMALL_VAL:
        more = "more images" if chosen.folds else "more images, or more for val as in --split 60/20/20,"
        said[0] += f" With n = {chosen.val_images} this choice may be chance: {more} would say more."
    if chosen.test:
        figures = [f"{name} {cell} (n = {cell.images:,})" for name, cell in chosen.test.items()]
        chose = f"pooled over {chosen.folds} folds, each image chosen on in another one" if chosen.folds else "which chose nothing"
        chose += f", though the method {chosen.learnt_on}" if chosen.learnt_on else ""
        said.append(f"On test, {chose}, in percent: {', '.join(figures)}.")
        said.append(chosen.gain.words if chosen.gain else "It is the row that the others are held against: none of them was better on val.")
    else:
        said.append("There are no test images to say what it reaches.")
    if chosen.advice:
        said.append(f"Try next: {'; '.join(chosen.advice)}.")
    return "\n".join(said)


def _why(chosen: Recommendation) -> str:
    over = f"over {chosen.seeds} seeds" if chosen.seeds > 1 else "with one seed"
    interval = f" {chosen.val_interval}" if chosen.val_interval else ""
    said = (
        f"Recommended: {chosen.row}. It has the best macro accuracy on val, {100 * chosen.val:.2f} %{interval} {over} "
        f"(n = {chosen.val_images:,})"
    )
    if chosen.next_row is not None and chosen.next_val is not None:
        said += f"; next is {chosen.next_row} with {100 * chosen.next_val:.2f} %"
        if chosen.lead is not None:
            said += ", behind by more than noise" if chosen.lead.is_shown else ", a difference within noise"
    return f"{said}."
