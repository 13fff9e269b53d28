"""Several seeds make a row, several rows a table: means over seeds, their spread, and what is needed to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.errors import BadValue, Clash, UnknownName
from tailwise.evaluation.answers import Answers
from tailwise.evaluation.cells import Cell, make_cell
from tailwise.evaluation.crossed import FEW_IMAGES, group_weights, of_answers
from tailwise.evaluation.differences import Answered, Difference, differences
from tailwise.evaluation.evaluation import Evaluation
from tailwise.evaluation.intervals import Estimate
from tailwise.evaluation.latex import tables_to_latex
from tailwise.evaluation.redraws import estimate, redraw
from tailwise.evaluation.sheets import Sheet, expert_sheet, level_sheet
from tailwise.evaluation.tables import Table, figures_caption, make_csv, make_tables

SCHEMA = "tailwise.summary/2"
RESERVED = ("overall", "macro", "macro_f1")
BASELINE = "ce"
"""The row that others are held against where there is one of that name."""


@dataclass(frozen=True)
class Measured:
    """What becomes one line of the table.

    Attributes:
        name: what the line is called, a method for instance.
        evaluations: one a seed, all of the same split; none for a method that did not finish.
        note: a remark that stands below the table.
        seeds: the seeds, as many as evaluations; rows are held against each other seed by seed. Default: 0, 1, 2...
        effort: what it took, by what is counted: steps, images seen, seconds.
        differs: what is not as in the row that it is held against, in phrases.
    """

    name: str
    evaluations: Sequence[Evaluation]
    note: str = ""
    seeds: Sequence[int] = ()
    effort: Mapping[str, float] = field(default_factory=dict)
    differs: Sequence[str] = ()


@dataclass(frozen=True)
class SummaryRow:
    """One line: its name, its note, its number of seeds, a cell for each column, and what it took."""

    name: str
    note: str
    seeds: int
    cells: Mapping[str, Cell]
    effort: Mapping[str, float]
    differs: tuple[str, ...]


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
        small_classes: names of the classes with fewer than five images in the split, whose own figures say little.
        expected: (C,) class distribution that overall and macro_f1 stand for; None for the split's own.
        unmeasured: share of it that lies in classes without images in the split, 0-1; they are left out.
        scheme: name of the group scheme.
        rule: its thresholds in words.
        members: group name -> labels of its classes.
        groups: group name -> size, from frequent to rare.
    """

    split: str
    images: int
    classes: int
    absent_classes: tuple[str, ...]
    small_classes: tuple[str, ...]
    expected: tuple[float, ...] | None
    unmeasured: float
    scheme: str
    rule: str
    members: Mapping[str, tuple[int, ...]]
    groups: Mapping[str, GroupSize]


@dataclass(frozen=True)
class Summary:
    """Figures over seeds with their intervals, differences from one row, and what each row took; printed it is Markdown.

    Attributes:
        setting: split, groups and their sizes, the same for every line.
        columns: `overall` (share of all images), `macro` (mean over classes), the groups' names (mean over the group's
            classes), `macro_f1`. A group that is called like one of the others has ` (group)` after its name.
        rows: the lines, in the order given.
        differences: of every other row from the one that it is held against; empty where there is one row.
        equal: what is the same for all rows, in a sentence.
        sheets: further figures of the same rows.
    """

    setting: Setting
    columns: tuple[str, ...]
    rows: tuple[SummaryRow, ...]
    differences: tuple[Difference, ...] = ()
    equal: str = ""
    sheets: tuple[Sheet, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """The figures; the differences, where rows are held against one; further sheets; what each row took, where that is known."""
        return make_tables(self)

    @property
    def caption(self) -> str:
        """What the figures show, of how many images and seeds, and how the classes are grouped: one paragraph."""
        return figures_caption(self)

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values, shares 0-1 unrounded.

        Keys: `schema`, the fields of `Setting`, `columns`, `caption`, `equal`, `rows`: objects with `name`, `note`, `seeds`, `effort`,
        `differs` and `cells`, by column name objects with `mean`, `spread`, `networks`, `method`, `seeds`, `images`; `differences`, see
        `Difference.to_dict`; and `sheets`, see `Sheet.to_dict`.
        """
        setting = asdict(self.setting)
        lists = {name: list(value) for name, value in setting.items() if isinstance(value, tuple)}
        return {
            "schema": SCHEMA,
            **setting,
            **lists,
            "members": {name: list(labels) for name, labels in self.setting.members.items()},
            "columns": list(self.columns),
            "caption": self.caption,
            "equal": self.equal,
            "rows": [{**asdict(row), "differs": list(row.differs)} for row in self.rows],
            "differences": [difference.to_dict() for difference in self.differences],
            "sheets": [sheet.to_dict() for sheet in self.sheets],
        }

    def to_markdown(self) -> str:
        """Give the tables with what is said of them as Markdown, in percent with two decimals; names from outside are escaped."""
        return "\n".join(table.to_markdown() for table in self.tables)

    def to_csv(self) -> str:
        """Give one line a row, shares 0-1.

        `name`, `seeds`, `images`; for each column its mean and `COLUMN spread`, `COLUMN low`, `COLUMN high`; the difference in macro
        accuracy with its ends, `p_holm` and `more_than_noise`; what the row took; `note`.
        """
        return make_csv(self)

    def to_latex(self) -> str:
        """Give the tables as LaTeX floats with booktabs, in percent with two decimals; names from outside are escaped."""
        return tables_to_latex(self.tables)

    def __str__(self) -> str:
        return self.to_markdown()

    def _repr_html_(self) -> str:
        return "".join(table.to_html() for table in self.tables)


def summarise(rows: Sequence[Measured], against: str | None = None, equal: str = "") -> Summary:
    """Make the tables; the seeds of a row are averaged, rows stay in their order.

    Args:
        rows: what was measured.
        against: the row that the others are held against; None for `ce`, or the first where there is no such row.
        equal: what is the same for all rows, in a sentence.

    Raises:
        BadValue: no row has an evaluation, or a row has not as many seeds as evaluations.
        UnknownName: no row is called like `against`.
        Clash: the evaluations are not of the same split, images, classes and groups.

    >>> import numpy as np
    >>> from tailwise.counts import ClassCounts
    >>> from tailwise.evaluation import Predictions, SplitPredictions, evaluate
    >>> from tailwise.groups import make_groups
    >>> counts = ClassCounts((200, 50, 4))
    >>> def seed(*right):
    ...     labels = np.repeat([0, 1, 2], 20)
    ...     answers = np.where(np.arange(60) % 20 < np.array(right)[labels], labels, (labels + 1) % 3)
    ...     test = SplitPredictions(tuple(f"{i:02}" for i in range(60)), labels, np.eye(3)[answers])
    ...     return evaluate(Predictions({"test": test}, ("cat", "okapi", "saola"), counts, make_groups(counts.real), ""), "test")
    >>> table = summarise([Measured("ce", [seed(19, 14, 6)]), Measured("ldam", [seed(18, 16, 13)])])
    >>> print(table.differences[0].words.split(". ")[0])
    ldam: better than ce by more than noise: macro +13.33 [+4.00, +22.67] points (p = 0.0062)
    """
    setting = _shared_setting(rows)
    _check_paired(rows)
    groups = {f"{name} (group)" if name in RESERVED else name: name for name in setting.groups}
    columns = ("overall", "macro", *groups, "macro_f1")
    images = {column: setting.groups[groups[column]].images if column in groups else setting.images for column in columns}
    evaluations = [evaluation for row in rows for evaluation in row.evaluations]
    weights = _weights(evaluations[0], groups)
    redrawn = iter(redraw([evaluation.answers for evaluation in evaluations]))
    made = []
    for row in rows:
        values = _values(row, groups)
        estimates = _estimates(row, weights, [next(redrawn) for _ in row.evaluations])
        cells = {column: make_cell(values[column], estimates.get(column), images[column]) for column in columns}
        if len(row.evaluations) == 1:
            cells["overall"] = replace(cells["overall"], networks=row.evaluations[0].accuracy_interval)  # one pooled proportion
        made.append(SummaryRow(row.name, row.note, len(row.evaluations), cells, dict(row.effort), tuple(row.differs)))
    sheets = tuple(sheet for sheet in (level_sheet(rows), expert_sheet(rows)) if sheet)
    return Summary(setting, columns, tuple(made), _held_against(rows, against, weights, images), equal, sheets)


def _values(row: Measured, groups: Mapping[str, str]) -> dict[str, list[float | None]]:
    """Give each column's figures, one a seed."""
    found: dict[str, list[float | None]] = {
        "overall": [evaluation.accuracy for evaluation in row.evaluations],
        "macro": [evaluation.macro_accuracy for evaluation in row.evaluations],
        "macro_f1": [evaluation.macro_f1 for evaluation in row.evaluations],
    }
    return found | {column: [evaluation.groups[name].accuracy for evaluation in row.evaluations] for column, name in groups.items()}


def _estimates(
    row: Measured, weights: Mapping[str, NDArray[np.float64]], redrawn: Sequence[NDArray[np.float64]]
) -> dict[str, Estimate | None]:
    """Give the estimate behind each column; none where nothing is there to measure."""
    if not row.evaluations or not row.evaluations[0].images:
        return {}
    answers = [evaluation.answers for evaluation in row.evaluations]
    means = of_answers(np.stack([found.correct for found in answers]), answers[0].labels, answers[0].classes)
    found = {column: means.estimate(of_classes) for column, of_classes in weights.items()}
    f1 = [evaluation.macro_f1 for evaluation in row.evaluations if evaluation.macro_f1 is not None]
    return found | {"macro_f1": estimate(f1, redrawn)}


def _weights(evaluation: Evaluation, groups: Mapping[str, str]) -> dict[str, NDArray[np.float64]]:
    """Give the weights of classes in each column that is a mean over classes: column -> (C,)."""
    classes = len(evaluation.per_class)
    shares = evaluation.expected or [result.n for result in evaluation.per_class]
    of_groups = {column: group_weights(evaluation.members[name], classes) for column, name in groups.items()}
    return {"overall": np.asarray(shares, dtype=np.float64), "macro": np.ones(classes), **of_groups}


def _held_against(
    rows: Sequence[Measured], against: str | None, weights: Mapping[str, NDArray[np.float64]], images: Mapping[str, int]
) -> tuple[Difference, ...]:
    """Hold all rows against one of them."""
    answered = {row.name: Answered(row.name, _by_seed(row)) for row in rows if row.evaluations}
    name = choose_baseline(list(answered), against)
    others = [row for row in answered.values() if row.name != name]
    return tuple(differences(others, answered[name], weights, images))


def choose_baseline(names: Sequence[str], against: str | None = None) -> str:
    """Name the row that the others are held against: the one asked for, else `ce`, else the first.

    Raises:
        UnknownName: no row is called like `against`.
    """
    if against is not None and against not in names:
        raise UnknownName("row", against, names)
    return against or (BASELINE if BASELINE in names else names[0])


def _by_seed(row: Measured) -> dict[int, Answers]:
    seeds = row.seeds or range(len(row.evaluations))
    if len(seeds) != len(row.evaluations):
        raise BadValue(f"row {row.name!r} has {len(row.evaluations)} evaluations and names {len(seeds)} seeds; give one each")
    return {seed: evaluation.answers for seed, evaluation in zip(seeds, row.evaluations, strict=True)}


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


def _check_paired(rows: Sequence[Measured]) -> None:
    """Refuse rows that have as many images as each other, but others."""
    (first, shared), *others = [(row.name, evaluation) for row in rows for evaluation in row.evaluations]
    for name, evaluation in others:
        ours, theirs = shared.answers, evaluation.answers
        if ours.ids != theirs.ids or (ours.labels != theirs.labels).any():
            raise Clash(
                f"rows {first!r} and {name!r} were measured on other images, or the same with other labels; evaluate both on the same"
            )


def _setting(evaluation: Evaluation) -> Setting:
    return Setting(
        split=evaluation.split,
        images=evaluation.images,
        classes=len(evaluation.per_class),
        absent_classes=evaluation.absent_classes,
        small_classes=tuple(result.name for result in evaluation.per_class if 0 < result.n < FEW_IMAGES),
        expected=evaluation.expected,
        unmeasured=sum(share for share, found in zip(evaluation.expected or (), evaluation.per_class, strict=False) if not found.n),
        scheme=evaluation.scheme,
        rule=evaluation.rule,
        members=evaluation.members,
        groups={
            name: GroupSize(group.classes, group.classes_present, group.images, group.train_images)
            for name, group in evaluation.groups.items()
        },
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
