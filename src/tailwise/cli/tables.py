"""Tables on the terminal: views of records, nothing computed here."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from tailwise.data import Manifest
    from tailwise.evaluation import Evaluation, Interval, Summary

WIDE = 160
"""Columns that a table of figures may take on any terminal."""

WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE
"""A terminal's own width; into a file or a pipe nothing is folded at eighty columns."""

console = Console(highlight=False, width=WIDTH)


def print_json(value: Any) -> None:
    """Print plain values as JSON on stdout, for machines."""
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Print a line as it is, markup characters included."""
    console.print(Text(text), soft_wrap=True)


def print_data(manifest: Manifest) -> None:
    """Say what the data are, and what was done to them."""
    say(repr(manifest))
    for line in manifest.provenance:
        say(f"  {line}")


def print_summary(summary: Summary) -> None:
    """Print figures, differences and efforts, each table with what it shows and what is to be said of its rows."""
    for number, found in enumerate(summary.tables):
        if number:
            console.print()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in found.head:
            words = column in found.prose or column == found.head[0]
            table.add_column(Text(column), justify="left" if words else "right", no_wrap=column not in found.prose, overflow="fold")
        for line in found.lines:
            table.add_row(*map(Text, line))
        whole = console.measure(table, options=console.options.update(max_width=10_000)).maximum
        Console(highlight=False, width=max(console.width, min(whole, WIDE) if found.prose else whole)).print(table)  # no figure is cut
        for said in (found.caption, *found.said):
            say(said)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print one run's figures: overall, groups, every class, each with its n and interval."""
    e = evaluation
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "accuracy", "95 %", "n", "classes", "ECE"):
        table.add_column(column, justify="left" if not column else "right")
    present = str(len(e.per_class) - len(e.absent_classes))
    table.add_row("overall (share of images)", percent(e.accuracy), _ends(e.accuracy_interval), f"{e.images:,}", "", percent(e.ece))
    table.add_row("macro (mean over classes)", percent(e.macro_accuracy), _ends(e.macro_interval), f"{e.images:,}", present)
    for name, group in e.groups.items():
        images, classes = f"{group.images:,}", str(group.classes_present)
        table.add_row(Text(name), percent(group.accuracy), _ends(group.interval), images, classes, percent(group.ece))
    table.add_row("balanced error", percent(e.balanced_error), "", f"{e.images:,}", "")
    table.add_row("macro-F1", percent(e.macro_f1), "", f"{e.images:,}", "")
    console.print(table)
    say(f"On {e.split}; groups by {e.scheme}: {e.rule}. ECE: calibration error of the softmax, 15 bins; no interval.")
    overall = "" if e.expected else "overall by Wilson, "
    say(f"Intervals speak of this network on new images: {overall}classes by Jeffreys, means by the variances within classes.")
    if e.expected:
        say("overall, macro-F1 and ECE stand for the class distribution that is expected, not the split's.")
    if e.absent_classes:
        say(f"{len(e.absent_classes)} of {len(e.per_class)} classes have no image in {e.split} and are in no mean.")
    _print_classes(evaluation)


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else str(interval)


def _print_classes(evaluation: Evaluation) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("class", "training images", "accuracy", "95 %", "n"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for found in evaluation.per_class:
        table.add_row(Text(found.name), f"{found.train_images:,}", percent(found.accuracy), _ends(found.interval), f"{found.n:,}")
    console.print()
    console.print(table)


def percent(share: float | None) -> str:
    """Write a share of 0-1 in percent; a dash where there is nothing to measure."""
    return "–" if share is None else f"{100 * share:.2f} %"
