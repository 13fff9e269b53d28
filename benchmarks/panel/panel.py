"""The panel: the methods that bend the loop beside four plain ones; writes `docs/panel.md`.

    .venv/bin/python benchmarks/panel/panel.py                       # both tables on Fashion-MNIST
    .venv/bin/python benchmarks/panel/panel.py equal-epochs          # one of them
    .venv/bin/python benchmarks/panel/panel.py cifar --minutes 60    # the published protocol, as many rows as the time allows

Whoever stops it goes on with the same command, and two of them at once share the work. What is finished is told as it stands, whatever
has changed in tailwise since; `--again` trains anew what has changed, and nothing else.

A row whose macro accuracy is below cross-entropy's needs a sentence that says why, in `below`; without one nothing is written.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tailwise as tw
from results import (
    BASELINE,
    COMPARISONS,
    ROOT,
    Comparison,
    cifar_lt,
    find_study,
    report_of,
    say_idle,
    section,
    set_up,
    write_section,
)
from tailwise.disk import json_bytes, whole_file
from tailwise.errors import BadValue, Stopped, TailwiseError
from tailwise.evaluation import Summary
from tailwise.evaluation.tables import NOTHING, Table
from tailwise.records import read_record
from tailwise.registry import parse_rows
from tailwise.specification import key_of
from tailwise.store import Store
from tailwise.study.compare import Study
from tailwise.study.runs import Run, run_key, slug
from tailwise.training import Leg, RunSettings, run_method

PAGE = ROOT / "docs/panel.md"
STUDIES = ROOT / "tailwise-out/panel"
WORK = "tailwise.work/1"
BEGINNING = """# The panel

The methods that bend the training loop, beside four that do not, made by `benchmarks/panel/panel.py`; `benchmarks/README.md` says what it
takes. Accuracies are of test images that chose nothing. Published figures are top-1 accuracies on CIFAR-100-LT at ratio 100 with
ResNet-32: other data, another network, other recipes. They stand there for orientation only and are in no test.
"""

METHODS = "ce,balanced-softmax,ldam-drw,crt,rsg,bbn,ride,sade,paco,mislas,meta-weight-net,balms"

PUBLISHED: Mapping[str, tuple[str, str]] = {
    "ce": ("38.32", "LDAM's and BBN's papers, not looked up again"),
    "balanced-softmax": ("50.8", "PaCo's paper, 400 epochs, AutoAugment, not looked up again"),
    "ldam-drw": ("42.04", "LDAM's paper, not looked up again"),
    "crt": ("43.3", "RIDE's README, there called Decouple; cross-entropy there 39.1"),
    "rsg": ("44.55", "RSG's paper, with LDAM-DRW, not looked up again"),
    "bbn": ("42.56", "BBN's paper, not looked up again"),
    "ride": ("48.6", "RIDE's README, 3 experts; cross-entropy there 39.1"),
    "sade": ("49.8", "SADE's README; cross-entropy there 41.4"),
    "paco": ("52.0", "PaCo's paper, 400 epochs, AutoAugment, not looked up again"),
    "mislas": ("47.0", "MiSLAS's README"),
}
"""CIFAR-100-LT at ratio 100, ResNet-32: top-1 accuracy and its source, as `../shared/reference/protocols.md` has them, section 5.3. For
Meta-Weight-Net and BALMS it has none at this ratio."""

EPOCHS, SECOND = 24, 8
"""Of the table at equal epochs: of the recipe, and of second stages."""

SHORT = ("recipe.epochs=5", "recipe.second.epochs=1")
"""A training in which work is counted: long enough for a stage that begins at 80 %."""

FASHION = COMPARISONS["fashion-mnist"]
SAID = """\
Fashion-MNIST thinned to 600..6 training images, as in [results.md](results.md): val is 40 a class, test the whole test set. ResNet-20 of
half width (8, 16 and 32 channels) from random values, recipe `quick` at 28 pixels, every method at its own defaults."""

TABLES = {
    "equal-epochs": replace(
        FASHION,
        title="Equal epochs, Fashion-MNIST, 600 to 6 images a class",
        said=f"{SAID} Every\nrow has {EPOCHS} epochs, and {SECOND} more where it has a second stage.",
        net="resnet20-half",
        below={},
    ),
    "equal-work": replace(
        FASHION,
        title="Equal work, Fashion-MNIST, 600 to 6 images a class",
        said=f"""{SAID} Every
row has the work that cross-entropy does in {EPOCHS} epochs, so that what costs more a step has fewer epochs: their number is rounded to
the nearest whole one and is at least 1, and a second stage shrinks in proportion. Work is the floating-point operations of matrix
products and convolutions (an addition and a multiplication are two), forwards and backwards, of all stages, as torch's counter finds them
in a short training; test passes, normalisation and optimiser are not in it.""",
        net="resnet20-half",
        below={
            "rsg": "the budget. A step of it costs eight of cross-entropy's, so it has 3 epochs; LDAM-DRW, on which it stands, learns as "
            "little in these: 27.63 %, `ce` 47.01 %, the same three seeds. At equal epochs it is 8 points above `ce`.",
            "bbn": "the budget. A step runs two batches, so it has 12 epochs, in which `ce` has 53.11 %, 3 points less than it. At equal "
            "epochs it is above `ce`.",
            "meta-weight-net": "the budget. A step looks one step ahead through the whole network, so it has 6 epochs, in which `ce` has "
            "48.28 %, 2 points less than it. At equal epochs it is level with `ce`.",
        },
    ),
    "cifar": Comparison(
        title="CIFAR-100-LT, ratio 100, the published protocol",
        said="""\
All 10,847 training images at 32 x 32 pixels, ResNet-32, 200 epochs: LDAM-DRW's protocol, recipe `cifar`, for every row. BBN, RIDE, SADE and
PaCo were published with stronger recipes (other rate drops, weight decay 5e-4, rotation, 400 epochs with AutoAugment). There is no val,
so nothing is chosen: the last epoch counts, where most published figures are of the epoch that was best on test.""",
        data=cifar_lt,
        methods=METHODS,
        seeds=1,
        recipe="cifar",
        net="resnet32",
        settings=(),
        below={},
    ),
}


@dataclass(frozen=True)
class Outcome:
    """A table that is ready to be written.

    Attributes:
        summary: of the rows.
        runs: row's text -> its runs.
        parts: the section's text, in Markdown.
    """

    summary: Summary
    runs: Mapping[str, Sequence[Run]]
    parts: Sequence[str]


# --- work ---------------------------------------------------------------------------------------------------------------


def count_work(comparison: Comparison, method: str, again: bool) -> list[float]:
    """Give the floating-point operations of a step, stage by stage: as they were counted before, or of a short training.

    Args:
        comparison: data, network, recipe.
        method: the row.
        again: whether they are counted anew where tailwise or the comparison has changed since.
    """
    place = STUDIES / "work" / f"{slug(method)}.json"
    if place.is_file() and not again:
        return list(read_record(place, WORK)["operations"])
    setup = set_up(replace(comparison, methods=method, settings=(*comparison.settings, *SHORT)))
    (row,) = setup.rows
    key = run_key(setup, row, 0)
    with setup.store.lock("work", key_of(str(place))):
        if place.is_file() and (found := read_record(place, WORK))["key"] == key:
            return list(found["operations"])
        setup = setup.ready()
        counter = FlopCounterMode(display=False)
        spent: Counter[tuple[str, int]] = Counter()

        def watch(leg: Leg, done: int, trained: int) -> None:
            spent[leg.line, leg.start] += counter.get_total_flops() - spent.total()

        with tempfile.TemporaryDirectory() as empty, counter:
            outcome, _ = run_method(setup.root(0), row.method, row.modifiers, RunSettings(Store(Path(empty)), watch=watch))
        operations = [spent[leg.line, leg.start] / max(1, leg.length) for leg in outcome.legs]
        place.parent.mkdir(parents=True, exist_ok=True)
        whole_file(place, json_bytes({"schema": WORK, "key": key, "operations": operations}))
        return operations


def work_of(legs: Sequence[Mapping[str, Any]], operations: Sequence[float]) -> float:
    """Give the operations of a whole training.

    Args:
        legs: of a run's record.
        operations: of a step, leg by leg.

    Raises:
        BadValue: a leg whose steps were not counted.
    """
    if len(legs) != len(operations) or any(leg["stop"] > leg["start"] and not each for leg, each in zip(legs, operations, strict=True)):
        raise BadValue("a stage has steps that the short training had not, so its work is not known; count it over more epochs, in SHORT")
    return sum((leg["stop"] - leg["start"]) * each for leg, each in zip(legs, operations, strict=True))


def epochs_for(work: float, wanted: float, epochs: int) -> int:
    """Give the epochs in which a row does the wanted work, to the nearest whole one, at least one.

    >>> epochs_for(work=6.0, wanted=3.0, epochs=24), epochs_for(3.0, 3.0, 24), epochs_for(900.0, 3.0, 24), epochs_for(2.5, 3.0, 24)
    (12, 24, 1, 29)
    """
    return max(1, round(epochs * wanted / work))


def lasting(comparison: Comparison, epochs: int) -> Comparison:
    """Give a comparison so many epochs, and second stages in proportion."""
    second = max(1, round(SECOND * epochs / EPOCHS))
    return replace(comparison, settings=(*comparison.settings, f"recipe.epochs={epochs}", f"recipe.second.epochs={second}"))


# --- the tables ---------------------------------------------------------------------------------------------------------


def equal_epochs(methods: Sequence[str], again: bool) -> Outcome:
    """Train every row for as many epochs, or tell what stands."""
    comparison = lasting(replace(TABLES["equal-epochs"], methods=",".join(methods)), EPOCHS)
    study = find_study(_folder("equal-epochs", methods), comparison, again)
    return Outcome(study.summary(), study.runs, [report_of(study), costs(study.summary(), study.runs)])


def equal_work(methods: Sequence[str], again: bool) -> Outcome:
    """Train every row with as much work as cross-entropy does in the other table, or tell what stands."""
    comparison = TABLES["equal-work"]
    at_equal_epochs = equal_epochs(methods, again).runs
    work: dict[str, list[float]] = {}
    studies: dict[str, Study] = {}

    def count(method: str) -> None:
        work[method] = count_work(comparison, method, again)

    def train(method: str) -> None:
        whole = work_of(at_equal_epochs[method][0].record["legs"], work[method])
        epochs = epochs_for(whole, wanted, EPOCHS)
        of_row = lasting(replace(comparison, methods=method), epochs)
        studies[method] = find_study(STUDIES / f"equal-work-{slug(method)}-{epochs}", of_row, again)

    share_out(methods, "work", count)
    wanted = work_of(at_equal_epochs[BASELINE][0].record["legs"], work[BASELINE])
    share_out(methods, "row", train)
    runs = {method: studies[method].runs[method] for method in methods}
    return _of_runs(runs, work)


def cifar(methods: Sequence[str], again: bool, minutes: float | None) -> Outcome:
    """Train as many rows as the time allows, and tell those that are finished; the same call goes on.

    Raises:
        Stopped: cross-entropy is not finished, so that there is nothing to hold a row against.
    """
    end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    folder, comparison = _folder("cifar", methods), replace(TABLES["cifar"], methods=",".join(methods))
    try:
        find_study(folder, comparison, again, "auto", lambda: time.monotonic() > end)
    except KeyboardInterrupt:
        if time.monotonic() < end:
            raise
    found = Study.load(folder).runs if (folder / "study.json").is_file() else {}
    runs = {method: of_row for method, of_row in found.items() if len(of_row) == comparison.seeds}
    if len(runs) < len(methods):
        print(f"{len(runs)} of {len(methods)} rows are finished; the same command goes on", file=sys.stderr)
    if BASELINE not in runs:
        raise Stopped(f"{BASELINE} is not finished in so many minutes, so there is nothing to hold a row against; the same command goes on")
    return _of_runs(runs)


def _folder(table: str, methods: Sequence[str]) -> Path:
    """Name a study's folder: other rows are another study, which takes over what is trained."""
    return STUDIES / f"{table}-{len(methods)}-{key_of(list(methods))[:8]}"


def _of_runs(runs: Mapping[str, Sequence[Run]], work: Mapping[str, Sequence[float]] | None = None) -> Outcome:
    summary = tw.report(*(run.folder for of_row in runs.values() for run in of_row), against=BASELINE)
    return Outcome(summary, runs, [summary.to_markdown(), costs(summary, runs, work)])


def share_out(names: Sequence[str], kind: str, do: Callable[[str], None]) -> None:
    """Do all, beginning with those that no other process is at; the others are done by then, or the work on them is shared."""
    store, busy = Store(), []
    for name in names:
        with store.try_lock(f"panel-{kind}", key_of(str(STUDIES), name)) as is_ours:
            do(name) if is_ours else busy.append(name)
    for name in busy:
        do(name)


def costs(summary: Summary, runs: Mapping[str, Sequence[Run]], work: Mapping[str, Sequence[float]] | None = None) -> str:
    """Write what each row took, and the published figures for orientation: a table in Markdown."""
    wanted = work and work_of(runs[BASELINE][0].record["legs"], work[BASELINE])
    head = ["method", "macro", "epochs", "second stage", *(["GFLOP", f"x {BASELINE}"] if work else []), "seconds", "published", "by"]
    lines = []
    for row in summary.rows:
        record = runs[row.name][0].record
        has_second = any(leg.get("recipe") == "second" for leg in record["legs"])
        done = work and work_of(record["legs"], work[row.name])
        lines.append(
            (
                row.name,
                str(row.cells["macro"]),
                str(record["recipe"]["epochs"]),
                str(record["recipe"]["second"]["epochs"]) if has_second else NOTHING,
                *([f"{done / 1e9:,.1f}", f"{done / wanted:.2f}"] if done and wanted else []),
                f"{row.effort['seconds']:,.1f}",
                *PUBLISHED.get(row.name, ("", "")),
            )
        )
    counted = " GFLOP: work of a seed, as counted above." if work else ""
    caption = (
        f"Epochs of the recipe and of the second stage; seconds of training a seed.{counted} published: top-1 in percent on CIFAR-100-LT, "
        "ratio 100, ResNet-32, for orientation only; empty where none is known to us."
    )
    return Table(tuple(head), tuple(lines), caption, prose=("by",)).to_markdown()


# --- the command --------------------------------------------------------------------------------------------------------


def main(words: Sequence[str] | None = None) -> int:
    """Make sections; 0 when they are written, 1 when a row needs a sentence, 2 for what does not fit, 3 or 130 when it was stopped."""
    parser = argparse.ArgumentParser(description="Make docs/panel.md, or one table of it.")
    parser.add_argument("tables", nargs="*", help=f"{', '.join(TABLES)}; default: the first two")
    parser.add_argument("--methods", default=METHODS, help="rows, separated by commas; ce is one of them")
    parser.add_argument("--minutes", type=float, help="of cifar: how long rows may train; default: until all have")
    parser.add_argument("--again", action="store_true", help="train anew where tailwise has changed since")
    asked = parser.parse_args(words)
    codes = []
    try:
        tables = _check_tables(asked.tables or list(TABLES)[:2])
        methods = _check_rows(asked.methods)
        make: dict[str, Callable[[], Outcome]] = {
            "equal-epochs": lambda: equal_epochs(methods, asked.again),
            "equal-work": lambda: equal_work(methods, asked.again),
            "cifar": lambda: cifar(methods, asked.again, asked.minutes),
        }
        outcomes = {name: make[name]() for name in tables}
    except TailwiseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    for name, outcome in outcomes.items():
        try:
            text = section(TABLES[name], outcome.summary, outcome.parts, _made(name, outcome.runs))
            write_section(PAGE, BEGINNING, name, text)
        except TailwiseError as error:  # the other table may be told all the same
            print(f"{name}: {error}", file=sys.stderr)
            codes.append(error.exit_code)
            continue
        say_idle(TABLES[name], outcome.summary)
        print(f"{PAGE}: {name}")
    return max(codes, default=0)


def _check_tables(names: Sequence[str]) -> Sequence[str]:
    wrong = [name for name in names if name not in TABLES]
    if wrong:
        raise BadValue(f"no table is called {wrong[0]!r}; there are {', '.join(TABLES)}")
    return names


def _check_rows(text: str) -> list[str]:
    rows = [row.text for row in parse_rows(text)]
    if BASELINE not in rows:
        raise BadValue(f"rows are held against {BASELINE}; name it in --methods too")
    return rows


def _made(name: str, runs: Mapping[str, Sequence[Run]]) -> str:
    versions = dict.fromkeys(run.record["version"] for of_row in runs.values() for run in of_row)
    command = " ".join([".venv/bin/python benchmarks/panel/panel.py", name])
    return f"Trained by tailwise {' and '.join(versions)}; made by `{command}`."


if __name__ == "__main__":
    sys.exit(main())
