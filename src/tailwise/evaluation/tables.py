"""Summaries as text: what stands in a table, what is said below it, and the same numbers as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from tailwise.evaluation.crossed import FEW_IMAGES
from tailwise.evaluation.differences import TESTED, Difference, caption, shown_p
from tailwise.evaluation.intervals import CLAIMS, LEAST_SEEDS, LEVEL
from tailwise.evaluation.redraws import DRAWS

if TYPE_CHECKING:
    from tailwise.evaluation.cells import Cell
    from tailwise.evaluation.summary import Summary

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table as text: a head, lines of cells, what it shows, what is to be said of single lines, and which columns are prose."""

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    caption: str
    said: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """Give it as Markdown; names from outside are escaped."""
        rule = ["---" if column in (self.head[0], *self.prose) else "---:" for column in self.head]
        lines = [[_escaped(cell) for cell in line] for line in (self.head, *self.lines)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))
        said = "\n".join(f"- {_escaped(line)}" for line in self.said)
        return "\n\n".join(part for part in (table, _escaped(self.caption), said) if part) + "\n"

    def to_html(self) -> str:
        """Give it as an HTML fragment for notebooks; names from outside are escaped."""
        prose = (self.head[0], *self.prose)
        aligned = ["left" if column in prose else "right" for column in self.head]
        lines = "".join(f"<tr>{''.join(map(_cell, line, aligned))}</tr>" for line in self.lines)
        said = "".join(f"<li>{escape(line)}</li>" for line in self.said)
        below = f"<p>{escape(self.caption)}</p>" + (f"<ul>{said}</ul>" if said else "")
        head = "".join(f'<th style="text-align:{side}">{escape(column)}</th>' for column, side in zip(self.head, aligned, strict=True))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>{below}"


def make_tables(summary: Summary) -> tuple[Table, ...]:
    """Lay a summary out: figures; differences, where rows are held against one; further sheets; what each row took, where that is known."""
    found = [_figures(summary)]
    found += [_differences(summary)] if summary.differences else []
    found += [sheet.table for sheet in summary.sheets]
    found += [_efforts(summary)] if summary.equal or any(row.effort or row.differs for row in summary.rows) else []
    return tuple(found)


def figures_caption(summary: Summary) -> str:
    """Say what the figures show, of how many images and seeds, and how the classes are grouped: one paragraph."""
    setting = summary.setting
    sizes = "; ".join(
        f"{name} {_number(size.classes, 'class', 'classes')}, {size.images:,} {setting.split} images, {size.train_images:,} training images"
        for name, size in setting.groups.items()
    )
    absent = ""
    if setting.absent_classes:
        absent = f" {len(setting.absent_classes)} of {setting.classes} classes have no image in this split and are in no mean."
    small = f" With fewer than {FEW_IMAGES} images in it: {_some(setting.small_classes)}." if setting.small_classes else ""
    prior = " overall and macro_f1 stand for the class distribution that is expected, not the split's." if setting.expected else ""
    prior += f" The absent classes hold {100 * setting.unmeasured:.2f} % of it." if setting.unmeasured else ""
    return (
        f"Accuracy in percent on {setting.split}, n = {setting.images:,} images, {_seeds(summary)}. {_intervals(summary)} "
        f"overall: share of all images; macro, macro_f1: mean over classes; a group: mean over its classes.{prior} "
        f"Groups by {setting.scheme} ({setting.rule}): {sizes}.{absent}{small}"
    )


def make_csv(summary: Summary) -> str:
    """Give one line a row, see `Summary.to_csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = [f"{column}{part}" for column in summary.columns for part in ("", " spread", " low", " high")]
    efforts = list(dict.fromkeys(name for row in summary.rows for name in row.effort))
    against = {difference.name: difference for difference in summary.differences}
    gaps = ["macro difference", "macro difference low", "macro difference high", "p_holm", "more_than_noise"]
    writer.writerow(["name", "seeds", "images", *figures, *gaps, *efforts, "note"])
    for row in summary.rows:
        values = [value for column in summary.columns for value in _plain(row.cells[column])]
        found = _plain_difference(against.get(row.name))
        writer.writerow(
            [row.name, row.seeds, summary.setting.images, *values, *found, *(row.effort.get(name) for name in efforts), row.note]
        )
    return text.getvalue()


def _figures(summary: Summary) -> Table:
    lines = [(row.name, *(str(row.cells[column]) for column in summary.columns), str(row.seeds)) for row in summary.rows]
    notes = [f"{row.name}: {row.note}" for row in summary.rows if row.note]
    return Table(("method", *summary.columns, "seeds"), tuple(lines), summary.caption, tuple(notes))


def _differences(summary: Summary) -> Table:
    columns = [column for column in summary.columns if any(column in difference.gaps for difference in summary.differences)]
    lines = [
        (found.name, *(str(found.gaps.get(column, NOTHING)) for column in columns), shown_p(found.p_holm).removeprefix("= "))
        for found in summary.differences
    ]
    words = [found.words for found in summary.differences]
    return Table(
        (f"against {summary.differences[0].against}", *columns, "p (Holm)"), tuple(lines), caption(summary.differences), tuple(words)
    )


def _efforts(summary: Summary) -> Table:
    efforts = list(dict.fromkeys(name for row in summary.rows for name in row.effort))
    lines = [(row.name, *(_effort(row.effort.get(name)) for name in efforts), "; ".join(row.differs) or NOTHING) for row in summary.rows]
    differs = "what differs"
    return Table(("method", *efforts, differs), tuple(lines), summary.equal, prose=(differs,))


def _seeds(summary: Summary) -> str:
    numbers = sorted({row.seeds for row in summary.rows if row.seeds})
    if numbers == [1]:
        return "1 seed"
    span = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
    return f"mean over {span} seeds"


def _intervals(summary: Summary) -> str:
    """Say what the intervals speak of."""
    enough = {row.seeds >= LEAST_SEEDS for row in summary.rows if row.seeds}
    said = CLAIMS["method"] if enough == {True} else CLAIMS["networks"]
    if len(enough) > 1:
        said = f"{CLAIMS['method']}, in rows with {LEAST_SEEDS} seeds or more, in the others {CLAIMS['networks']}"
    one = " overall by Wilson with one seed;" if 1 in {row.seeds for row in summary.rows} and not summary.setting.expected else ""
    return f"In brackets {100 * LEVEL:g} % intervals for {said};{one} that of macro_f1 is from {DRAWS:,} redraws, uncorrected."


def _number(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _some(names: Sequence[str]) -> str:
    """Name up to five, and count the others."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def _effort(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _plain(cell: Cell) -> tuple[float | None, ...]:
    ends = (None, None) if cell.interval is None else (cell.interval.low, cell.interval.high)
    return cell.mean, cell.spread, *ends


def _plain_difference(found: Difference | None) -> tuple[Any, ...]:
    if found is None:
        return (None,) * 5
    macro = found.gaps[TESTED]
    return macro.difference, macro.interval.low, macro.interval.high, found.p_holm, found.is_shown


def _cell(text: str, side: str) -> str:
    return f'<td style="text-align:{side}">{escape(text)}</td>'


def _escaped(text: str) -> str:
    """Keep a name from outside in its cell: no new columns, lines or HTML."""
    line = " ".join(text.split())
    return re.sub(r"[\\|]|<(?=[A-Za-z/!?])", r"\\\g<0>", line)
