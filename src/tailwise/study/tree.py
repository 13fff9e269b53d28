"""The tree of lines of many methods and seeds: what must be trained, and what sharing saves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tailwise import processes
from tailwise.store import Store
from tailwise.training.plan import Plan
from tailwise.training.sentences import line_sentence
from tailwise.training.states import stored_steps


@dataclass(frozen=True)
class Steps:
    """Steps of a comparison.

    Attributes:
        alone: when every row is trained by itself.
        shared: when equal parts are trained once.
        stored: of the shared ones, those that the store already has.
        left: line -> its steps that the store does not have.
        undecided: whether rows follow whose later stages are decided by results, and are not counted.
    """

    alone: int
    shared: int
    stored: int
    left: Mapping[str, int]
    undecided: bool

    @property
    def ahead(self) -> int:
        """Steps to be trained now."""
        return self.shared - self.stored


def count_steps(plans: Iterable[Plan], store: Store) -> Steps:
    """Merge plans into the tree of their lines.

    A line is trained as far as the longest of its stages asks; what the store has of it is not trained again.
    """
    plans = list(plans)
    longest: dict[str, int] = {}
    for plan in plans:
        for leg in plan.legs:
            longest[leg.line] = max(longest.get(leg.line, 0), leg.stop)
    stored = processes.told(lambda: {line: _stored(store, line, stop) for line, stop in longest.items()})
    return Steps(
        alone=sum(plan.steps for plan in plans),
        shared=sum(longest.values()),
        stored=sum(stored.values()),
        left={line: stop - stored[line] for line, stop in longest.items()},
        undecided=any(plan.decided_by_results for plan in plans),
    )


def _stored(store: Store, line: str, stop: int) -> int:
    """Give the last step of a line, at most `stop`, whose state is stored."""
    return max((step for step in stored_steps(store, line) if step <= stop), default=0)


@dataclass(frozen=True)
class End:
    """A row whose training ends on a line.

    Attributes:
        row: its text.
        step: of the line.
        corrected: whether something is done to its predictions afterwards.
        undecided: whether stages follow that are decided by results.
    """

    row: str
    step: int
    corrected: bool
    undecided: bool


@dataclass
class Branch:
    """A line in the tree of a comparison.

    Attributes:
        sentence: what is trained on it.
        steps: that it is trained for, as far as the longest of its stages asks.
        at: step of the line before at which it begins.
        goes_on: whether its clock goes on from there.
        ends: rows that end on it.
        children: lines that begin on it.
    """

    sentence: str
    steps: int
    at: int
    goes_on: bool
    ends: list[End]
    children: list[Branch]


def make_branches(plans: Mapping[str, Plan]) -> list[Branch]:
    """Lay the plans of rows, of one seed, out as the tree of their lines."""
    lines: dict[str, Branch] = {}
    roots: list[Branch] = []
    for row, plan in plans.items():
        for leg in plan.legs:
            if leg.line not in lines:
                at = leg.parent[1] if leg.parent else 0
                lines[leg.line] = Branch(line_sentence(leg), leg.stop, at, leg.stage.start.clock == "continue", [], [])
                (lines[leg.parent[0]].children if leg.parent else roots).append(lines[leg.line])
            elif leg.stop > lines[leg.line].steps:
                lines[leg.line].sentence, lines[leg.line].steps = line_sentence(leg), leg.stop
        last = plan.legs[-1]
        lines[last.line].ends.append(End(row, last.stop, plan.posthoc is not None, plan.decided_by_results))
    return roots


def count_lines(branches: Iterable[Branch]) -> int:
    """Count the lines of a tree."""
    return sum(1 + count_lines(branch.children) for branch in branches)


def rows_on(branches: Iterable[Branch]) -> int:
    """Count the rows that end on a tree's lines."""
    return sum(len(branch.ends) + rows_on(branch.children) for branch in branches)


@dataclass(frozen=True)
class Saving:
    """What sharing saved, counted from the records of finished runs.

    Attributes:
        steps_alone: of all rows, each by itself.
        steps_shared: that were needed.
        seconds_alone: that training each row by itself would have taken.
        seconds_shared: that the needed steps took, in this call or earlier ones.
    """

    steps_alone: int
    steps_shared: int
    seconds_alone: float
    seconds_shared: float

    def to_dict(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)

    def __str__(self) -> str:
        if self.steps_shared == self.steps_alone:
            return f"none: {self.steps_shared:,} steps, {self.seconds_shared:.0f} s of training"
        part = 100 * (1 - self.steps_shared / self.steps_alone) if self.steps_alone else 0.0
        return (
            f"{self.steps_shared:,} steps instead of {self.steps_alone:,} ({part:.0f} % saved by sharing equal parts), "
            f"{self.seconds_shared:.0f} s of training instead of about {self.seconds_alone:.0f} s"
        )


def saving(records: Sequence[Mapping[str, Any]]) -> Saving:
    """Count from run records: a stretch of a line that several runs have is counted once."""
    legs = [leg for record in records for leg in record["legs"]]
    steps_alone = sum(leg["stop"] - leg["start"] for leg in legs)
    seconds_alone = sum(leg["seconds"] for leg in legs)
    steps_shared, seconds_shared = 0, 0.0
    for line in dict.fromkeys(leg["line"] for leg in legs):  # in their order, so that a sum of seconds is the same every time
        mine = sorted((leg for leg in legs if leg["line"] == line), key=lambda leg: leg["stop"])
        reached = 0
        for leg in mine:
            new = max(0, leg["stop"] - max(reached, leg["start"]))
            steps_shared += new
            seconds_shared += leg["seconds"] * new / max(1, leg["stop"] - leg["start"])
            reached = max(reached, leg["stop"])
    return Saving(steps_alone, steps_shared, seconds_alone, seconds_shared)
