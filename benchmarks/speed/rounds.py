"""Rounds: variants of one work, each once a round in rotated order, and the ratio to the peer of the same round."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import torch

LIBRARIES = ("torch", "torchvision", "numpy", "pillow")


@dataclass(frozen=True)
class Timed:
    """One variant beside its peer.

    Attributes:
        work: what is done.
        variant: by whom.
        peer: the variant that ratios are of.
        wall: seconds, median over rounds.
        ratio: peer / variant of wall seconds, median over rounds, then the smallest and the largest.
        cpu: the same of CPU seconds of this process and those that it waited for, the median alone.
        setup: seconds before the first round.
        rounds: that were counted.
        bar: least ratio that is promised, or None.
        goal: ratio that is hoped for, or None.
        more: what else is known, such as GFLOP/s.
    """

    work: str
    variant: str
    peer: str
    wall: float
    ratio: tuple[float, float, float]
    cpu: float
    setup: float
    rounds: int
    bar: float | None = None
    goal: float | None = None
    more: Mapping[str, Any] | None = None

    @property
    def is_faster(self) -> bool:
        """Whether it was faster in every round: only then it is said to be."""
        return self.ratio[1] > 1

    def line(self, machine: Mapping[str, Any]) -> str:
        """Give a line of JSON."""
        return json.dumps({**asdict(self), "machine": dict(machine)}, ensure_ascii=False)


def machine() -> dict[str, Any]:
    """Say what was measured on."""
    name = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), name)
    except OSError:
        pass
    return {
        "cpu": name,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def cpu_seconds() -> float:
    """Give the CPU seconds of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def race(
    work: str,
    variants: Mapping[str, Callable[[int], object]],
    rounds: int,
    bars: Mapping[str, tuple[float, float]] | None = None,
    more: Callable[[str, float], Mapping[str, Any]] = lambda name, wall: {},
    before: Mapping[str, float] = MappingProxyType({}),
) -> list[Timed]:
    """Time variants against the first of them.

    A first call of each is its set-up, and one more round is thrown away, but where one round is asked for. The order rotates by one
    each round and turns round in odd ones.

    Args:
        work: what is done.
        variants: name -> one pass of the work, given the number of the round; the first is the peer.
        rounds: that count.
        bars: name -> bar and goal.
        more: of name and median seconds, what else to record.
        before: name -> seconds of set-up that are over already.
    """
    names = list(variants)
    alone = rounds == 1  # to see that all of it runs
    setup = {name: before.get(name, 0.0) + (0.0 if alone else _took(variants[name], 0)[0]) for name in names}
    taken: list[dict[str, tuple[float, float]]] = []
    for number in range(1, 2) if alone else range(rounds + 1):
        first = number % len(names)
        order = names[first:] + names[:first]
        found = {name: _took(variants[name], number + 1) for name in (order[::-1] if number % 2 else order)}
        if number:
            taken.append(found)
    made = []
    for name in names[1:]:
        ratios = [found[names[0]][0] / found[name][0] for found in taken]
        wall = statistics.median(found[name][0] for found in taken)
        bar, goal = (bars or {}).get(name, (None, None))
        cpu = statistics.median(found[names[0]][1] / max(found[name][1], 1e-9) for found in taken)
        spread = (statistics.median(ratios), min(ratios), max(ratios))
        made.append(Timed(work, name, names[0], wall, spread, cpu, setup[name], rounds, bar, goal, more(name, wall)))
    return made


def race_fresh(
    work: str,
    variants: Mapping[str, Sequence[str]],
    rounds: int,
    bars: Mapping[str, tuple[float, float]],
    memory_bars: Mapping[str, tuple[float, float]],
) -> list[Timed]:
    """Time commands against the first of them, each in a process of its own that says what it took, as `readers.py` does.

    Returns:
        A row of seconds and one of peak memory for each but the first; of memory the share of the first's, so less is better.

    Raises:
        SystemExit: they say different things.
    """
    names = list(variants)
    taken = []
    for number in range(rounds):
        order = names if number % 2 else names[::-1]
        done = {name: subprocess.run(variants[name], check=True, capture_output=True, text=True).stdout for name in order}
        found = {name: json.loads(text) for name, text in done.items()}
        if len({one["said"] for one in found.values()}) > 1:
            raise SystemExit(f"{work}: {found}: nothing is timed")
        taken.append(found)
    made = []
    for name in names[1:]:

        def spread(of: str, turned: bool, name: str = name) -> tuple[float, float, float]:
            ratios = [found[names[0]][of] / found[name][of] for found in taken]
            ratios = [1 / ratio for ratio in ratios] if turned else ratios
            return statistics.median(ratios), min(ratios), max(ratios)

        wall = statistics.median(found[name]["seconds"] for found in taken)
        bar, goal = bars[name]
        faster, less = spread("seconds", False), spread("bytes", True)
        made.append(Timed(work, name, names[0], wall, faster, spread("cpu", False)[0], 0.0, rounds, bar, goal))
        bar, goal = memory_bars[name]
        peak = statistics.median(found[name]["bytes"] for found in taken) / 2**20
        more = {"share_of_memory": True, "megabytes": round(peak)}
        made.append(Timed(f"{work}: peak memory", name, names[0], wall, less, 0.0, 0.0, rounds, bar, goal, more))
    return made


def _took(one: Callable[[int], object], number: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    one(number)
    return time.perf_counter() - wall, cpu_seconds() - cpu
