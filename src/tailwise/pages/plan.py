"""What was trained, as a tree: rows that begin alike share their beginning, which was trained once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Line:
    """A line of training in the tree.

    Attributes:
        sentence: what is trained on it.
        begins: step of the line before at which it branches off; 0 at a root.
        steps: that it was trained for, as far as the longest row on it.
        seconds: that these took.
        rows: row -> step at which it leaves the line, of those that end on it.
        lines: those that branch off.
    """

    sentence: str
    begins: int = 0
    steps: int = 0
    seconds: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)

    @property
    def ends(self) -> list[str]:
        """The rows that end here, each with its step where that is not the last."""
        return [row if step == self.steps else f"{row} (at step {step:,})" for row, step in self.rows.items()]


def plan_tree(records: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """Lay the stages of rows out as a tree.

    Args:
        records: row -> `run.json` of one of its runs, all of one seed and fold.
    """
    root = Line("")
    for row, record in records.items():
        here, at = root, 0
        for leg, sentence in zip(record.get("legs", ()), _sentences(record), strict=False):
            here = here.lines.setdefault(leg["line"], Line(sentence, at))
            if leg["stop"] > here.steps:
                here.sentence, here.steps, here.seconds = sentence, leg["stop"], max(here.seconds, leg["seconds"])
            at = leg["stop"]
        if here is not root:
            here.rows[row] = at
    return list(root.lines.values())


def _sentences(record: Mapping[str, Any]) -> Iterable[str]:
    """Give a sentence for each stage that was run; the plan of a method that results decide may hold fewer."""
    planned = list(record.get("plan", ()))
    return [planned[i] if i < len(planned) else str(leg.get("name", "")) for i, leg in enumerate(record.get("legs", ()))]
