"""How often the intervals hold the truth, how often equal methods are called different, and what can be shown at all.

    python benchmarks/coverage.py            # about ten minutes on two cores; rewrites the tables of docs/statistics.md
    python benchmarks/coverage.py --draft    # a twentieth of the repetitions, printed only

Each repetition draws test images and networks from a world whose truth is known, and asks `tailwise.evaluation` for its intervals. A
network answers image i of class c right with the chance sigmoid(level_c + difficulty_i + seed effect): difficulty is shared by all seeds
and largely by both methods, a seed's effect has a part for all classes and one for each. What is left is chance in the single answer.
Exit 1 where a bound is missed: coverage of *these networks* within two points of 95 %, of *the method* no more than two points below,
false alarms no more than 5 % (but for three standard errors of the simulation).
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tailwise.evaluation.crossed import of_answers, of_differences
from tailwise.evaluation.holm import ALPHA, holm
from tailwise.evaluation.intervals import LEAST_SEEDS, LEVEL, Claim, Estimate

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
SEEDS = (1, 3, 10)
REPETITIONS = 5400
"""A coverage of 95 % is known to 0.3 points."""

DIFFICULTY = 1.5
"""Standard deviation of the images' difficulty within a class, on the logit scale."""

COMMON = 0.9
"""Correlation of the difficulty that an image has for one method with the one that it has for another."""

SLOPE = np.linspace(-15, 15, 6001)
"""Logits at which chances are tabulated."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """What a seed does, on the logit scale: standard deviations of its effect on all classes and on each."""

    name: str
    overall: float
    by_class: float


NONE, SMALL, LARGE = Effect("none", 0.0, 0.0), Effect("small", 0.04, 0.2), Effect("large", 0.2, 0.6)
EFFECTS = (NONE, SMALL, LARGE)


def chance(deviation: float) -> Floats:
    """Tabulate E[sigmoid(x + N(0, deviation^2))] at `SLOPE`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    return np.asarray((1 / (1 + np.exp(-(SLOPE[:, None] + deviation * nodes)))) @ weights / weights.sum())


@dataclass(frozen=True, eq=False)
class World:
    """Where images and networks come from.

    Attributes:
        images: (C,) test images of each class.
        accuracies: (M, C) what each method reaches in each class, over all seeds and images.
        effect: of a seed.
        equal_seeds: whether the seeds of all methods have the same effects, so that networks of equal methods are equal too.
    """

    images: NDArray[np.int64]
    accuracies: Floats
    effect: Effect
    equal_seeds: bool = False

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class of each image."""
        return np.repeat(np.arange(len(self.images)), self.images)

    @cached_property
    def levels(self) -> Floats:
        """(M, C) logits from which the accuracies follow."""
        spread = math.hypot(DIFFICULTY, self.effect.overall, self.effect.by_class)
        return np.interp(self.accuracies, chance(spread), SLOPE)

    @cached_property
    def table(self) -> Floats:
        """Chance of a right answer on a new image, by logit."""
        return chance(DIFFICULTY)

    def draw(self, generator: np.random.Generator, seeds: int) -> tuple[NDArray[np.bool_], Floats]:
        """Train and test: (M, k, N) right answers, and (M, k) the macro accuracy of each network over all images that there could be."""
        methods, classes = self.levels.shape
        kinds = 1 if self.equal_seeds else methods
        effects = self.effect.overall * generator.standard_normal((kinds, seeds, 1))
        effects = effects + self.effect.by_class * generator.standard_normal((kinds, seeds, classes))
        networks = self.levels[:, None] + effects
        shared, own = generator.standard_normal((1, len(self.labels))), generator.standard_normal((methods, len(self.labels)))
        difficulty = DIFFICULTY * (math.sqrt(COMMON) * shared + math.sqrt(1 - COMMON) * own)
        logits = (networks[:, :, self.labels] + difficulty[:, None]).astype(np.float32)
        right = generator.random(logits.shape, dtype=np.float32) < 1 / (1 + np.exp(-logits))
        return right, np.interp(networks, SLOPE, self.table).mean(-1)


def macro(estimated: Estimate | None) -> Estimate:
    """There are images of every class."""
    assert estimated is not None
    return estimated


def compare(right: NDArray[np.bool_], against: NDArray[np.bool_], labels: NDArray[np.int64], classes: int) -> Estimate:
    """Estimate the difference in macro accuracy of two methods' (k, N) right answers."""
    return macro(of_differences(right, against, labels, classes).estimate(np.ones(classes)))


# ---------------------------------------------------------------------------------------------------------------------------- coverage


LAYOUTS: dict[str, Callable[[int], NDArray[np.int64]]] = {
    "20": lambda classes: np.full(classes, 20),
    "50": lambda classes: np.full(classes, 50),
    "20-200": lambda classes: np.geomspace(20, 200, classes).round().astype(np.int64),
}
CLAIMS_AT: tuple[tuple[Claim, int], ...] = (("networks", 1), ("networks", 3), ("networks", 10), ("method", 3), ("method", 10))


def two_methods(images: NDArray[np.int64], effect: Effect) -> World:
    """Make a baseline with 20 % in the hardest class to 97 % in the easiest, and a method with 6 points more to 2 points less."""
    base = np.linspace(0.2, 0.97, len(images))
    return World(images, np.stack([base, base + np.linspace(0.06, -0.02, len(images))]), effect)


def coverage(world: World, repetitions: int, stream: int) -> NDArray[np.float64]:
    """Give the share of repetitions whose interval holds the truth: (figure: macro, difference; claim as in `CLAIMS_AT`)."""
    generator, classes = np.random.default_rng([1, stream]), len(world.images)
    whole = world.accuracies.mean(1)
    hits = np.zeros((2, len(CLAIMS_AT)))
    for _ in range(repetitions):
        right, networks = world.draw(generator, max(SEEDS))
        estimates = {
            seeds: (
                macro(of_answers(right[1, :seeds], world.labels, classes).estimate(np.ones(classes))),
                compare(right[1, :seeds], right[0, :seeds], world.labels, classes),
            )
            for seeds in SEEDS
        }
        for at, (claim, seeds) in enumerate(CLAIMS_AT):
            ours, base = (networks[1, :seeds].mean(), networks[0, :seeds].mean()) if claim == "networks" else (whole[1], whole[0])
            for figure, truth in enumerate((ours, ours - base)):
                interval = estimates[seeds][figure].interval(claim)
                assert interval is not None
                hits[figure, at] += interval.low <= truth <= interval.high
    return hits / repetitions


# -------------------------------------------------------------------------------------------------------------- false alarms and power


def equal_methods(images: NDArray[np.int64], methods: int, effect: Effect, equal_seeds: bool) -> World:
    """Methods that all reach the same; their networks do too where seeds have equal effects."""
    return World(images, np.tile(np.linspace(0.2, 0.97, len(images)), (methods, 1)), effect, equal_seeds)


FAMILIES = (1, 5, 11)
"""How many methods are compared with one."""


def p_values(right: NDArray[np.bool_], labels: NDArray[np.int64], classes: int) -> list[float]:
    """Hold all methods of (M, k, N) right answers against the first."""
    estimates = [compare(ours, right[0], labels, classes) for ours in right[1:]]
    return [found.p_value(found.claim) or 0.0 for found in estimates]


def shown(world: World, seeds: int, repetitions: int, stream: int, families: Sequence[int]) -> Floats:
    """Give the share of repetitions in which Holm's procedure shows any difference from method 0, among so many others each."""
    generator, classes = np.random.default_rng([2, stream]), len(world.images)
    alarms = np.zeros(len(families))
    for _ in range(repetitions):
        found = p_values(world.draw(generator, seeds)[0], world.labels, classes)
        alarms += [any(test.is_shown for test in holm(found[:size])) for size in families]
    return alarms / repetitions


def power(world: World, seeds: int, repetitions: int, stream: int) -> Floats:
    """Give the share of repetitions in which two methods are told apart: compared alone, and as the first step over the largest family."""
    generator, classes = np.random.default_rng([3, stream]), len(world.images)
    found = [p_values(world.draw(generator, seeds)[0], world.labels, classes)[0] for _ in range(repetitions)]
    return np.array([np.mean(np.array(found) <= ALPHA / size) for size in (1, max(FAMILIES))])


def better_by(points: float, images: NDArray[np.int64], effect: Effect, equal_seeds: bool) -> World:
    """Two methods of which one reaches so many points more, by the same shift in all classes on the logit scale."""
    base = np.linspace(0.2, 0.95, len(images))
    logits = np.log(base / (1 - base))
    shifts = np.linspace(0, 3, 3001)
    gained = (1 / (1 + np.exp(-(logits + shifts[:, None])))).mean(1) - base.mean()
    shift = np.interp(points / 100, gained, shifts)
    return World(images, np.stack([base, 1 / (1 + np.exp(-(logits + shift)))]), effect, equal_seeds)


# --------------------------------------------------------------------------------------------------------------------------- the tables


@dataclass(frozen=True)
class Job:
    """One row of a table: what it is called, and the function that makes its figures, 0-1."""

    names: tuple[str, ...]
    measure: Callable[[], Sequence[float]]


def coverage_jobs(repetitions: int) -> Iterator[Job]:
    """Rows of the coverage table: macro at each claim, then the difference."""
    cells = [(classes, layout, effect) for effect in EFFECTS for classes in (10, 100) for layout in LAYOUTS]
    for stream, (classes, layout, effect) in enumerate(cells):
        world = two_methods(LAYOUTS[layout](classes), effect)
        yield Job((effect.name, str(classes), layout), partial(_coverage_row, world, repetitions, stream))


def _coverage_row(world: World, repetitions: int, stream: int) -> list[float]:
    return coverage(world, repetitions, stream).ravel().tolist()


def alarm_jobs(repetitions: int) -> Iterator[Job]:
    """Rows of the table of false alarms: one for each size of the family."""
    sizes = {"10 x 50": np.full(10, 50), "100 x 20": np.full(100, 20)}
    cells = [(seeds, effect, size) for seeds in SEEDS for effect in EFFECTS for size in sizes]
    for stream, (seeds, effect, size) in enumerate(cells):
        claim = "method" if seeds >= LEAST_SEEDS else "networks"
        world = equal_methods(sizes[size], 1 + max(FAMILIES), effect, equal_seeds=claim == "networks")
        yield Job((claim, str(seeds), effect.name, size), partial(_shown_row, world, seeds, repetitions, stream))


POINTS = (1, 2, 3, 5, 10)


def power_jobs(repetitions: int) -> Iterator[Job]:
    """Rows of the table of power: one figure for each true difference, compared alone; then with the largest family."""
    sizes = {"1,000 (10 x 100)": np.full(10, 100), "10,000 (100 x 100)": np.full(100, 100)}
    cells = [(size, seeds) for size in sizes for seeds in SEEDS]
    for stream, (size, seeds) in enumerate(cells):
        claim = "method" if seeds >= LEAST_SEEDS else "networks"
        worlds = [better_by(points, sizes[size], SMALL, equal_seeds=claim == "networks") for points in POINTS]
        yield Job((size, claim, str(seeds)), partial(_power_row, worlds, seeds, repetitions, stream))


def _shown_row(world: World, seeds: int, repetitions: int, stream: int) -> list[float]:
    return shown(world, seeds, repetitions, stream, FAMILIES).tolist()


def _power_row(worlds: Sequence[World], seeds: int, repetitions: int, stream: int) -> list[float]:
    return np.ravel([power(world, seeds, repetitions, stream) for world in worlds], order="F").tolist()


def table(head: Sequence[str], rows: Iterable[tuple[Job, Sequence[float]]], digits: int) -> str:
    """Write Markdown, in percent."""
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join([*job.names, *(f'{100 * share:.{digits}f}' for share in shares)])} |" for job, shares in rows]
    return "\n".join(lines)


def misses(covered: Sequence[Sequence[float]], alarmed: Sequence[Sequence[float]], repetitions: int) -> list[str]:
    """Say which bounds are missed: those of coverage as they are, that of false alarms but for three standard errors."""
    low = np.array(covered) < LEVEL - 0.02
    high = np.array(covered).reshape(-1, 2, len(CLAIMS_AT))[:, :, : len(SEEDS)] > LEVEL + 0.02  # these networks
    found = [f"coverage too low in {low.sum()} cells"] if low.any() else []
    found += [f"coverage of these networks too high in {high.sum()} cells"] if high.any() else []
    alarms = np.array(alarmed) > ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / repetitions)
    return found + ([f"too many false alarms in {alarms.sum()} cells"] if alarms.any() else [])


def main() -> int:
    """Simulate, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draft", action="store_true", help="a twentieth of the repetitions, printed only")
    draft = parser.parse_args().draft
    repetitions = REPETITIONS // 20 if draft else REPETITIONS
    jobs = [list(coverage_jobs(repetitions)), list(alarm_jobs(repetitions)), list(power_jobs(repetitions // 3))]
    at = [f"{'M' if claim == 'method' else 'N'}{seeds}" for claim, seeds in CLAIMS_AT]
    heads = [
        ["seed effect", "classes", "images a class", *at, *(f"Δ {name}" for name in at)],
        ["claim", "seeds", "seed effect", "classes x images", *(f"{size} compared" for size in FAMILIES)],
        ["images", "claim", "seeds", *(f"{points} pt{of}" for of in ("", " of 11") for points in POINTS)],
    ]
    names, found = ("coverage", "alarms", "power"), {}
    with ProcessPoolExecutor() as pool:
        futures = [[pool.submit(job.measure) for job in of_table] for of_table in jobs]
        for name, head, of_table, coming in zip(names, heads, jobs, futures, strict=True):
            found[name] = [future.result() for future in coming]
            text = table(head, zip(of_table, found[name], strict=True), digits=0 if name == "power" else 1)
            print(f"{name}, in percent\n\n{text}\n", flush=True)
            if not draft:
                write(name, text)
    missed = misses(found["coverage"], found["alarms"], repetitions)
    print("; ".join(missed) or "every bound is kept")
    return 1 if missed else 0


def write(name: str, text: str) -> None:
    """Put a table between its markers on the page."""
    begin, end = f"<!-- {name}: made by benchmarks/coverage.py -->", f"<!-- end of {name} -->"
    between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    page = between.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", PAGE.read_text("utf-8"))
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
