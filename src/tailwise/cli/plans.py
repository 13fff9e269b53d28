"""What will be trained, said before it is: a screenful, however many methods and classes there are."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text
from rich.tree import Tree

from tailwise.cli import tables
from tailwise.study.elsewhere import describe_processes
from tailwise.study.tree import Branch, count_lines, make_branches, rows_on

if TYPE_CHECKING:
    from tailwise.data import Manifest
    from tailwise.study.estimate import Estimate
    from tailwise.study.setup import Setup
    from tailwise.study.tree import Steps
    from tailwise.training import Plan

ROOM = 25
"""Lines of a terminal for tree, warnings and what is left out: with data and cost a screenful. A tree that is longer is said in brief; what
begins beyond them even so is counted."""

SOME = 10
"""Lines of a tree that are printed however many warnings there are."""

GUIDE = 4
"""Columns of the lines that join a tree."""

NAMED = 8
"""Rows named where many end on one line, or have the same said of them."""

ALL = "--dry-run --json lists all"


def print_study_plan(setup: Setup, seeds: int, plans: Mapping[str, Plan], steps: Steps) -> None:
    """Say what a comparison will do, and what of it is shared.

    Args:
        setup: of the comparison.
        seeds: how many.
        plans: of each row, for one seed.
        steps: of all seeds, counted.
    """
    _print_data(setup.manifest)
    branches = make_branches(plans)
    size, each = f"{len(setup.rows)} methods x {seeds} seeds", "each seed"
    if setup.dealt:
        size, each = f"{size} x {len(setup.dealt)} folds", f"{each} in each fold, here {setup.folds[0].fold}"
    tree = Tree(Text(f"{size} on {setup.network}, recipe {setup.recipe.name}; {each}:"))
    remarks = [f"{kind}: {said}" for kind in ("warning", "note") for said in merged(setup, plans, kind)]
    remarks += [f"left out: {said}" for said in _left_out(setup.left_out)]
    room = max(ROOM - sum(map(_height, remarks)), SOME)
    whole = sys.maxsize - _grow(Tree(""), branches, 0, sys.maxsize, tables.console.width)
    shown = branches if whole <= room else [_in_brief(branch) for branch in branches]
    _grow(tree, shown, 0, room, tables.console.width)
    tables.console.print(tree)
    for remark in remarks:
        _print(remark)
    shared = (
        f" instead of {steps.alone:,}, since equal parts are trained once" if steps.shared < steps.alone else ", no part of them shared"
    )
    more = ", beside what is decided by results" if steps.undecided else ""
    _print(f"{steps.shared:,} steps{shared}{more}; {steps.stored:,} of them are stored already")
    for line in describe_processes(setup.folds[0], setup.rows[0], 0):
        _print(line)


def print_run_plan(setup: Setup, seed: int, plan: Plan, steps: Steps) -> None:
    """Say what a run will do, a line a stage."""
    _print_data(setup.manifest)
    _print(f"{setup.rows[0].text} on {setup.network}, recipe {setup.recipe.name}, seed {seed}:")
    for line in (*plan.sentences(), *(f"warning: {said}" for said in plan.warnings), *(f"note: {said}" for said in plan.notes)):
        _print(line, indent=2)
    _print(f"{steps.shared:,} steps, {steps.stored:,} of them stored already", indent=2)
    for line in describe_processes(setup, setup.rows[0], seed):
        _print(line, indent=2)


def print_estimate(cost: Estimate, indent: int = 0) -> None:
    """Say what it will cost."""
    _print(f"estimate: {cost}", indent)


def plan_record(folder: Path, setup: Setup, plans: Mapping[str, Plan], steps: Steps, cost: Estimate) -> dict[str, Any]:
    """Give the plan as plain values."""
    return {
        "schema": "tailwise.plan/1",
        "out": str(folder),
        "steps_alone": steps.alone,
        "steps_shared": steps.shared,
        "steps_stored": steps.stored,
        "seconds": cost.seconds,
        "plans": {text: plan.sentences() for text, plan in plans.items()},
        "warnings": [warning for plan in plans.values() for warning in plan.warnings],
        "notes": [note for plan in plans.values() for note in plan.notes],
        "left_out": list(setup.left_out),
    }


def merged(setup: Setup, plans: Mapping[str, Plan], kind: str) -> Iterator[str]:
    """Give each warning, or each note, once, with the rows that it is said of."""
    said: dict[str, list[str]] = {}
    for row in setup.rows:
        plan = plans[row.text]
        for warning in plan.warnings if kind == "warning" else plan.notes:
            said.setdefault(warning.removeprefix(str(row.method)).strip(), []).append(row.text)
    for what, (first, *others) in said.items():
        yield f"{first} {what}" + (f"; so do {_named(others)}" if others else "")


def _left_out(reasons: Sequence[str]) -> Iterator[str]:
    """Give each reason once, with all methods that it leaves out."""
    said: dict[str, list[str]] = {}
    for reason in reasons:
        name, _, why = reason.partition(": ")
        said.setdefault(why, []).append(name)
    yield from (f"{', '.join(names)}: {why}" for why, names in said.items())


def _height(text: str) -> int:
    """Count the lines that a line takes on a terminal."""
    return len(Text(text).wrap(tables.console, tables.console.width))


def _print(text: str, indent: int = 0) -> None:
    """Print a line, on a terminal folded between words and indented like its beginning."""
    if tables.WIDTH is not None:
        tables.say(" " * indent + text)
        return
    for line in Text(text).wrap(tables.console, tables.console.width - indent):
        tables.say(" " * indent + line.plain.rstrip())


def _print_data(manifest: Manifest) -> None:
    """Say what the data are, and what was done to them; lists that name only some are left to the record."""
    _print(repr(manifest))
    for line in manifest.provenance:
        _print(re.sub(r": .* and [\d,]+ more$", "", line), indent=2)


def _grow(tree: Tree, branches: Sequence[Branch], end: int, room: int, width: int) -> int:
    """Hang lines on a tree, each with the rows that end on it and the lines that begin on it.

    Args:
        tree: or a branch of it.
        branches: lines that begin there, one after another.
        end: step at which the line before ends.
        room: of the terminal's lines, what may still be printed; the rest is counted.
        width: columns of the tree above.

    Returns:
        The room that is left.
    """
    width -= GUIDE
    for number, branch in enumerate(branches):
        left = branches[number:]
        if room < 1 and count_lines(left) > 1:
            tree.add(Text(f"... {count_lines(left):,} more, on which {_rows(rows_on(left))} end; {ALL}", style="italic"))
            break
        line = _line(branch, end)
        children = sorted(branch.children, key=lambda child: child.at)
        room = _grow(tree.add(line), children, branch.steps, room - len(line.wrap(tables.console, width)), width)
    return room


def _in_brief(branch: Branch) -> Branch:
    """Say of a line, and of all that begin on it, the stage's own name where it has one, else its parts without their numbers."""
    name, _, parts = branch.sentence.partition(": ")
    numbers = r"[a-z][\w.]*=[^(),]+"
    bare = re.sub(rf", {numbers}", "", re.sub(rf"\({numbers}(, {numbers})*\)", "", parts))
    sentence = f"{name}: {bare}" if name.startswith("epochs ") else name
    return replace(branch, sentence=sentence, children=[_in_brief(child) for child in branch.children])


def _line(branch: Branch, end: int) -> Text:
    """Say what is trained on a line, from where, and which rows end on it."""
    begins = "" if branch.goes_on or not branch.at else "then " if branch.at == end else f"from step {branch.at:,}: "
    ends = ((ends, "bold") for ends in _ends(branch))
    return Text.assemble(begins + branch.sentence, *(part for end in ends for part in (" → ", end)))


def _ends(branch: Branch) -> Iterator[str]:
    """Name the rows that end on a line, those together that end at one step; what ends before its end first."""
    for step in sorted({end.step for end in branch.ends}):
        here = [end for end in branch.ends if end.step == step]
        kinds = {
            "": [end for end in here if not end.corrected and not end.undecided],
            "on its predictions ": [end for end in here if end.corrected and not end.undecided],
            "decided by results ": [end for end in here if end.undecided],
        }
        said = "; ".join(kind + _named([end.row for end in ends]) for kind, ends in kinds.items() if ends)
        yield said if step == branch.steps else f"at step {step:,} {said}"


def _named(rows: Sequence[str]) -> str:
    more = f" and {_rows(len(rows) - NAMED)} more" if len(rows) > NAMED else ""
    return ", ".join(rows[:NAMED]) + more


def _rows(count: int) -> str:
    return f"{count:,} row" + ("s" if count != 1 else "")
