"""Several seeds make a row, several rows a table: means over seeds, their spread, and what is needed to read them."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from tailwise.errors import BadValue, Clash
from tailwise.evaluation.evaluation import Evaluation

SCHEMA = "tailwise.summary/1"
RESERVED = ("overall", "macro", "macro_f1")
NOTHING = "–"


@dataclass(frozen=True)
class Measured:
    """What becomes one line of the table.

    Attributes:
        name: what the line is called, a method for instance.
        evaluations: one a seed, all of the same split; none for a method that did not finish.
        note: a remark shown in the last column.
    """

    name: str
    evaluations: Sequence[Evaluation]
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One figure over seeds.

    Attributes:
        mean: mean over the seeds, 0-1; None where there is nothing to measure.
        spread: sample standard deviation over the seeds (divisor seeds - 1), 0-1; None below two seeds.
        seeds: number of seeds.
        images: n, images behind the figure in each seed.
    """

    mean: float | None
    spread: float | None
    seeds: int
    images: int

    def __str__(self) -> str:
        if self.mean is None:
            return NOTHING
        mean = f"{100 * self.mean:.2f}"
        return mean if self.spread is None else f"{mean} ± {100 * self.spread:.2f}"


@dataclass(frozen=True)
class SummaryRow:
    """One line: its name, its note, its number of seeds, and a cell for each column."""

    name: str
    note: str
    seeds: int
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class GroupSize:
    """How large a group is: classes, those of them with images in the split, images in the split and in training."""

    classes: int
    classes_present: int
    images: int
    train_images: int


@dataclass(frozen=True)
class Setting:
    """What all evaluations of one table must share.

    Attributes:
        split: the split that was measured.
        images: n, its images.
        classes: classes in all, absent ones included.
        absent_classes: names of the classes without images in the split; they are in no mean.
        scheme: name of the group scheme.
        rule: its thresholds in words.
        groups: group name -> size, from frequent to rare.
    """

    split: str
    images: int
    classes: int
    absent_classes: tuple[str, ...]
    scheme: str
    rule: str
    groups: Mapping[str, GroupSize]


@dataclass(frozen=True)
class Summary:
    """A table of figures over seeds; printed it is Markdown.

    Attributes:
        setting: split, groups and their sizes, the same for every line.
        columns: `overall` (share of all images), `macro` (mean over classes), the groups' names (mean over the group's
            classes), `macro_f1`. A group that is called like one of the others has ` (group)` after its name.
        rows: the lines, in the order given.
    """

    setting: Setting
    columns: tuple[str, ...]
    rows: tuple[SummaryRow, ...]

    @property
    def caption(self) -> str:
        """What the table shows, of how many images and seeds, and how the classes are grouped: one paragraph."""
        setting = self.setting
        sizes = "; ".join(
            f"{name} {_number(size.classes, 'class', 'classes')}, {size.images} {setting.split} images, {size.train_images} training images"
            for name, size in setting.groups.items()
        )
        absent = ""
        if setting.absent_classes:
            absent = f" {len(setting.absent_classes)} of {setting.classes} classes have no image in this split and are in no mean."
        return (
            f"Accuracy in percent on {setting.split}, n = {setting.images} images, {self._seeds()}. "
            "overall: share of all images; macro, macro_f1: mean over classes; a group: mean over its classes. "
            f"Groups by {setting.scheme} ({setting.rule}): {sizes}.{absent}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values, shares 0-1 unrounded.

        Keys: `schema`, the fields of `Setting`, `columns`, `caption`, and `rows`: objects with `name`, `note`, `seeds`
        and `cells`, by column name objects with `mean`, `spread`, `seeds`, `images`.
        """
        setting = asdict(self.setting)
        return {
            "schema": SCHEMA,
            **setting,
            "absent_classes": list(self.setting.absent_classes),
            "columns": list(self.columns),
            "caption": self.caption,
            "rows": [asdict(row) for row in self.rows],
        }

    def to_markdown(self) -> str:
        """Give the table and its caption as Markdown, in percent with two decimals; names from outside are escaped."""
        notes = any(row.note for row in self.rows)
        head = ["", *map(_escaped, self.columns), "seeds", *(["note"] if notes else [])]
        lines = [head, ["---", *["---:"] * (len(self.columns) + 1), *(["---"] if notes else [])]]
        for row in self.rows:
            cells = [str(row.cells[column]) for column in self.columns]
            lines.append([_escaped(row.name), *cells, str(row.seeds), *([_escaped(row.note)] if notes else [])])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{table}\n\n{_escaped(self.caption)}\n"

    def to_csv(self) -> str:
        """Give one line a row: `name`, `seeds`, `images`, for each column its mean and `COLUMN spread`, `note`; 0-1."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        figures = [name for column in self.columns for name in (column, f"{column} spread")]
        writer.writerow(["name", "seeds", "images", *figures, "note"])
        for row in self.rows:
            cells = [row.cells[column] for column in self.columns]
            values = [value for cell in cells for value in (cell.mean, cell.spread)]
            writer.writerow([row.name, row.seeds, self.setting.images, *values, row.note])
        return text.getvalue()

    def __str__(self) -> str:
        return self.to_markdown()

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def _seeds(self) -> str:
        numbers = sorted({row.seeds for row in self.rows if row.seeds})
        if numbers == [1]:
            return "1 seed, hence no spread"
        span = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
        return f"{span} seeds, mean over seeds ± standard deviation over seeds"


def summarise(rows: Sequence[Measured]) -> Summary:
    """Make the table; the seeds of a row are averaged, rows stay in their order.

    Raises:
        BadValue: no row has an evaluation.
        Clash: the evaluations are not of the same split, images, classes and groups.

    >>> import numpy as np
    >>> from tailwise.counts import ClassCounts
    >>> from tailwise.evaluation import Predictions, SplitPredictions, evaluate
    >>> from tailwise.groups import make_groups
    >>> counts = ClassCounts((200, 50, 4))
    >>> def seed(*answers):
    ...     test = SplitPredictions(("a", "b", "c"), [0, 1, 2], np.eye(3)[list(answers)])
    ...     predictions = Predictions({"test": test}, ("cat", "okapi", "saola"), counts, make_groups(counts.real), "")
    ...     return evaluate(predictions, "test")
    >>> table = summarise([Measured("ce", [seed(0, 1, 0), seed(0, 1, 2)]), Measured("ldam", [seed(0, 1, 2)])])
    >>> print(table.to_markdown().split("\\n\\n")[0])
    |  | overall | macro | many | medium | few | macro_f1 | seeds |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | ce | 83.33 ± 23.57 | 83.33 ± 23.57 | 100.00 ± 0.00 | 100.00 ± 0.00 | 50.00 ± 70.71 | 77.78 ± 31.43 | 2 |
    | ldam | 100.00 | 100.00 | 100.00 | 100.00 | 100.00 | 100.00 | 1 |
    """
    setting = _shared_setting(rows)
    groups = {f"{name} (group)" if name in RESERVED else name: name for name in setting.groups}
    columns = ("overall", "macro", *groups, "macro_f1")
    return Summary(setting, columns, tuple(_summarised(row, setting, groups, columns) for row in rows))


def _shared_setting(rows: Sequence[Measured]) -> Setting:
    found = [(row.name, _setting(evaluation)) for row in rows for evaluation in row.evaluations]
    if not found:
        raise BadValue("a summary needs at least one row with an evaluation")
    first, shared = found[0]
    for name, setting in found:
        for part in fields(Setting):
            ours, theirs = getattr(shared, part.name), getattr(setting, part.name)
            if ours != theirs:
                raise Clash(
                    f"rows {first!r} and {name!r} cannot stand in one table: they differ in {part.name} "
                    f"({_short(ours)} and {_short(theirs)}); evaluate both on the same images with the same groups"
                )
    return shared


def _setting(evaluation: Evaluation) -> Setting:
    return Setting(
        split=evaluation.split,
        images=evaluation.images,
        classes=len(evaluation.per_class),
        absent_classes=evaluation.absent_classes,
        scheme=evaluation.scheme,
        rule=evaluation.rule,
        groups={
            name: GroupSize(group.classes, group.classes_present, group.images, group.train_images)
            for name, group in evaluation.groups.items()
        },
    )


def _summarised(row: Measured, setting: Setting, groups: Mapping[str, str], columns: Sequence[str]) -> SummaryRow:
    values: dict[str, list[float | None]] = {
        "overall": [evaluation.accuracy for evaluation in row.evaluations],
        "macro": [evaluation.macro_accuracy for evaluation in row.evaluations],
        "macro_f1": [evaluation.macro_f1 for evaluation in row.evaluations],
    }
    for column, name in groups.items():
        values[column] = [evaluation.groups[name].accuracy for evaluation in row.evaluations]
    images = {column: setting.groups[groups[column]].images if column in groups else setting.images for column in columns}
    cells = {column: _cell(values[column], images[column]) for column in columns}
    return SummaryRow(row.name, row.note, len(row.evaluations), cells)


def _cell(values: Sequence[float | None], images: int) -> Cell:
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return Cell(mean, statistics.stdev(known) if len(known) > 1 else None, len(values), images)


def _number(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _escaped(text: str) -> str:
    """Keep a name from outside in its cell: no new columns, lines or HTML."""
    line = " ".join(text.split())
    return re.sub(r"[\\|]|<(?=[A-Za-z/!?])", r"\\\g<0>", line)
