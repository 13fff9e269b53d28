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
    from tailwise.evaluation import Evaluation, Summary

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
    """Print the table over seeds, its caption and its notes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", no_wrap=True, overflow="ellipsis")
    for column in summary.columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in summary.rows:
        table.add_row(Text(row.name), *(str(row.cells[column]) for column in summary.columns))
    Console(highlight=False, width=max(console.width, WIDE)).print(table)  # a figure is never cut: a narrow terminal folds the line
    say(summary.caption)
    for row in summary.rows:
        if row.note:
            say(f"{row.name}: {row.note}")


def print_evaluation(evaluation: Evaluation) -> None:
    """Print one run's figures: overall, groups, every class, each with its n."""
    e = evaluation
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "accuracy", "n", "classes", "ECE"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("overall (share of images)", percent(e.accuracy), f"{e.images:,}", "", percent(e.ece))
    table.add_row("macro (mean over classes)", percent(e.macro_accuracy), f"{e.images:,}", str(len(e.per_class) - len(e.absent_classes)))
    for name, group in e.groups.items():
        table.add_row(Text(name), percent(group.accuracy), f"{group.images:,}", str(group.classes_present), percent(group.ece))
    table.add_row("balanced error", percent(e.balanced_error), f"{e.images:,}", "")
    table.add_row("macro-F1", percent(e.macro_f1), f"{e.images:,}", "")
    console.print(table)
    say(f"On {e.split}; groups by {e.scheme}: {e.rule}. ECE: calibration error of the softmax, 15 bins.")
    if e.absent_classes:
        say(f"{len(e.absent_classes)} classes have no image in {e.split} and are in no mean.")
    _print_classes(evaluation)


def _print_classes(evaluation: Evaluation) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("class", "training images", "accuracy", "n"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for found in evaluation.per_class:
        table.add_row(Text(found.name), f"{found.train_images:,}", percent(found.accuracy), f"{found.n:,}")
    console.print()
    console.print(table)


def percent(share: float | None) -> str:
    """Write a share of 0-1 in percent; a dash where there is nothing to measure."""
    return "–" if share is None else f"{100 * share:.2f} %"
