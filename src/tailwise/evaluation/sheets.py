"""Sheets: further figures of the same rows, each a cell with its interval, such as the levels of a hierarchy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tailwise.evaluation.cells import Cell, cell_of
from tailwise.evaluation.crossed import group_weights, of_answers
from tailwise.evaluation.intervals import LEVEL, Interval
from tailwise.evaluation.tables import NOTHING, Table

if TYPE_CHECKING:
    from tailwise.evaluation.summary import Measured


SHIFTS = {"as it is": "shift", "known prior": "shift-known", "estimated prior": "shift-estimated"}
"""How rows answer under other class distributions at test -> the sheet of it: as they are; moved to the distribution; moved to the one that
is read off the images without their labels."""


@dataclass(frozen=True)
class Sheet:
    """A table of cells.

    Attributes:
        name: of the sheet, one word: `levels`, `experts`, `shift`, `shift-known`, `shift-estimated`, `relative`.
        title: heading of its first column.
        columns: in their order.
        rows: row's name -> column -> cell; a column that a row lacks stays empty.
        caption: what it shows, of how many images.
        said: on single rows, a line each.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Cell]]
    caption: str
    said: tuple[str, ...] = ()

    @property
    def table(self) -> Table:
        """The sheet as text, in percent with two decimals."""
        lines = [
            (name, *(str(cells[column]) if column in cells else NOTHING for column in self.columns)) for name, cells in self.rows.items()
        ]
        return Table((self.title, *self.columns), tuple(lines), self.caption, self.said)

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values, shares 0-1 unrounded: `name`, `title`, `columns`, `caption`, `said`, `rows` (name -> column -> cell)."""
        rows = {name: {column: asdict(cell) for column, cell in cells.items()} for name, cells in self.rows.items()}
        return {**asdict(self), "columns": list(self.columns), "said": list(self.said), "rows": rows}


def level_sheet(rows: Sequence[Measured]) -> Sheet | None:
    """Measure rows at each level of the classes' hierarchy: an answer is right there where it is of the true class's genus, say.

    Accuracy at a level is the mean over its members (genera), each the share of the images whose true class is of it. Images of classes
    without a known member are left out there. None where the classes have no hierarchy.
    """
    made = [row for row in rows if row.evaluations]
    levels = made[0].evaluations[0].levels if made else {}
    if not levels:
        return None
    cells: dict[str, dict[str, Cell]] = {row.name: {} for row in made}
    sizes = {}
    for level, names in levels.items():
        member, members = _members(names)
        for row in made:
            answers = [evaluation.answers for evaluation in row.evaluations]
            truth = member[answers[0].labels]
            known = truth >= 0
            correct = np.stack([member[one.predicted] == truth for one in answers])[:, known]
            means = of_answers(correct, truth[known], members)
            cells[row.name][level] = cell_of(means.estimate(np.ones(members)), len(answers), int(known.sum()))
        sizes[level] = f"{members:,} at level {level}"
    columns = tuple(levels)
    for row in made:
        cells[row.name]["macro"] = cell_of(_macro(row), len(row.evaluations), row.evaluations[0].images)
    caption = (
        f"Accuracy on {made[0].evaluations[0].split} at the levels of the classes' hierarchy ({', '.join(sizes.values())}): an answer is "
        "right at a level where it is a class of the true class's member there; mean over the members. macro: over the classes."
    )
    return Sheet("levels", "level", (*columns, "macro"), cells, caption)


def expert_sheet(rows: Sequence[Measured]) -> Sheet | None:
    """Measure the experts of rows whose networks have several, one by one; None where there are none.

    A network that several rows have, each with another correction, stands once, by the first of them.
    """
    made = [row for row in rows if row.evaluations and row.evaluations[0].answers.experts is not None]
    if not made:
        return None
    first = made[0].evaluations[0]
    columns = {"macro": range(len(first.per_class)), **first.members}
    cells: dict[str, dict[str, Cell]] = {}
    networks: set[bytes] = set()
    for row in made:
        answers = [evaluation.answers for evaluation in row.evaluations]
        found = np.stack([one.experts for one in answers if one.experts is not None])
        if found.tobytes() in networks:
            continue
        networks.add(found.tobytes())
        for expert in range(found.shape[1]):
            means = of_answers(found[:, expert] == answers[0].labels, answers[0].labels, answers[0].classes)
            cells[f"{row.name}, expert {expert + 1}"] = {
                column: cell_of(
                    means.estimate(group_weights(labels, answers[0].classes)), len(answers), int(np.isin(answers[0].labels, labels).sum())
                )
                for column, labels in columns.items()
            }
    caption = f"Accuracy on {first.split} of each expert by itself, before anything is corrected; mean over the classes of a group."
    return Sheet("experts", "expert", tuple(columns), cells, caption)


def _macro(row: Measured) -> Any:
    answers = [evaluation.answers for evaluation in row.evaluations]
    means = of_answers(np.stack([one.correct for one in answers]), answers[0].labels, answers[0].classes)
    return means.estimate(np.ones(answers[0].classes))


def _members(names: Sequence[str | None]) -> tuple[NDArray[np.int64], int]:
    """Number the members of a level: (C,) number of each class, -1 where it is not known; and how many there are."""
    numbers = {name: place for place, name in enumerate(sorted({name for name in names if name is not None}))}
    return np.array([-1 if name is None else numbers[name] for name in names], dtype=np.int64), len(numbers)


def relative_sheet(rows: Mapping[str, Cell], plain: Cell | None, twins: Mapping[str, Cell], split: str, baseline: str) -> Sheet:
    """Relate accuracies on long-tailed data to what balanced data of the same size would have given: A_t / A_u, A_u = max(A_v, A_b).

    Args:
        rows: row's name -> macro accuracy of the row, A_t.
        plain: that of the baseline trained on the balanced twin, A_v; None where there is none.
        twins: row's name -> that of the same row trained on the balanced twin, A_b.
        split: that was measured, the same images for all.
        baseline: name of the row behind A_v.

    Source: Zhang et al., "Deep long-tailed learning: a survey", TPAMI 2023, section 4.1.
    """
    made: dict[str, dict[str, Cell]] = {}
    said = []
    for name, reached in rows.items():
        found = {"A_t": reached, **({"A_v": plain} if plain else {}), **({"A_b": twins[name]} if name in twins else {})}
        upper = max((cell for column, cell in found.items() if column != "A_t" and cell.mean is not None), key=_mean, default=None)
        if upper is not None and upper.mean and reached.mean is not None:
            found |= {"A_u": upper, "relative": _ratio(reached, upper)}
        lacking = [part for part in ("A_v", "A_b") if part not in found]
        said += [f"{name}: without {' and '.join(lacking)}, so A_u may be too low"] if lacking else []
        made[name] = found
    caption = (
        f"Relative accuracy A_t / A_u on {split}: how much is reached of what balanced training data of the same size would have given. "
        f"A_t: macro accuracy; A_v: of {baseline} on the balanced twin; A_b: of the same method there; A_u: the larger of the two. A "
        "method that lifts A_u as well is a better network or augmentation, not a better answer to imbalance. The interval of the ratio "
        "takes its parts for independent, which errs to the safe side. Never to be mixed with accuracies."
    )
    return Sheet("relative", "method", ("A_t", "A_v", "A_b", "A_u", "relative"), made, caption, tuple(said))


def _mean(cell: Cell) -> float:
    return -1.0 if cell.mean is None else cell.mean


def _ratio(reached: Cell, upper: Cell) -> Cell:
    """Give the ratio of two accuracies; its relative half width is that of its parts in quadrature."""
    assert reached.mean is not None
    assert upper.mean
    ratio = reached.mean / upper.mean
    of_method = reached.method is not None and upper.method is not None
    intervals = [cell.method if of_method else cell.networks for cell in (reached, upper)]
    halves = [
        max(cell.mean - interval.low, interval.high - cell.mean) / cell.mean if interval and cell.mean else None
        for cell, interval in zip((reached, upper), intervals, strict=True)
    ]
    seeds = min(reached.seeds, upper.seeds)
    if None in halves:
        return Cell(ratio, None, None, None, seeds, reached.images)
    half = ratio * float(np.sqrt(sum(part**2 for part in halves if part is not None)))
    interval = Interval(max(ratio - half, 0.0), ratio + half, LEVEL)
    return Cell(ratio, None, None if of_method else interval, interval if of_method else None, seeds, reached.images)
