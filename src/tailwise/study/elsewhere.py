"""What the store has of a run on another number of processes: bits differ there, so that none of it can be taken up."""

from __future__ import annotations

from dataclasses import replace

from tailwise import processes
from tailwise.registry import Row
from tailwise.study.setup import Setup
from tailwise.study.tree import count_steps
from tailwise.training import plan_method

USUAL = (1, 2, 3, 4, 6, 8, 12, 16)
"""Numbers of processes that are looked for."""


def stored_elsewhere(setup: Setup, row: Row, seed: int) -> dict[int, int]:
    """Give the steps of a row that the store has, by the other numbers of processes that trained them."""
    root = setup.root(seed)

    def find() -> dict[int, int]:
        found: dict[int, int] = {}
        for count in USUAL:
            there = replace(root, numerics={**root.numerics, "processes": str(count)})
            if there.numerics != root.numerics:
                steps = count_steps([plan_method(there, row.method, row.modifiers)], setup.store).stored
                found |= {count: steps} if steps else {}
        return found

    return processes.told(find)


def describe_processes(setup: Setup, row: Row, seed: int) -> list[str]:
    """Say how many processes train together, and what others than these have left; nothing where one trains as always."""
    mine = processes.count()
    said = [f"on {mine} processes, which share every batch"] if mine > 1 else []
    said += [
        f"the store has {steps:,} steps of this run on {_count(count)}: rounding differs, so that it begins anew here"
        for count, steps in stored_elsewhere(setup, row, seed).items()
    ]
    return said


def _count(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"
