"""What a comparison will cost, measured on a few steps before it begins."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tailwise.study.frozen import absent, seconds_an_image
from tailwise.study.prepare import ordered
from tailwise.study.setup import Setup
from tailwise.training import Leg
from tailwise.training.line import make_loop, threads
from tailwise.training.states import stored_steps
from tailwise.training.streams import StreamReader, read_batch

BUDGET = 3.0
"""Seconds that measuring may take; lines that are not reached are taken to cost what the others do on average."""

SWEEP = 0.4
"""What a step's rows cost in a test pass, as a share of a training step: a forward is about a third of it."""

FOLDER = 0.1
"""Seconds to leave a run's folder."""


@dataclass(frozen=True)
class Estimate:
    """Seconds ahead.

    Attributes:
        features: of frozen features that are not stored yet.
        images: those images.
        training: of all steps that the store does not have.
        leaving: of test passes and folders.
    """

    features: float
    images: int
    training: float
    leaving: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.features + self.training + self.leaving

    def __str__(self) -> str:
        parts = [f"{roughly(self.features)} for the features of {self.images:,} images"] if self.images else []
        parts += [f"{roughly(self.training)} of training", f"{roughly(self.leaving)} for predictions and folders"]
        return f"{roughly(self.seconds)}: {', '.join(parts)}"


def roughly(seconds: float) -> str:
    """Say a duration as an estimate deserves it.

    >>> roughly(3.2), roughly(41), roughly(130), roughly(9000)
    ('a few seconds', 'about 50 s', 'about 3 min', 'about 2.5 h')
    """
    if seconds < 8:
        return "a few seconds"
    if seconds < 90:
        return f"about {10 * math.ceil(seconds / 10)} s"
    return f"about {math.ceil(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def estimate(setup: Setup, seeds: Sequence[int]) -> Estimate:
    """Estimate a comparison, by running a few steps of its lines and a few images through the frozen network.

    Args:
        setup: ready or not.
        seeds: of the comparison.
    """
    images, features = 0, 0.0
    if setup.frozen is not None and setup.standardise is None:
        contents = ordered(setup.manifest)["content"].to_list()
        images = absent(setup.frozen, contents, setup.store)
        features = images * seconds_an_image(setup.frozen, setup.device) if images else 0.0
    plans = [[setup.plan(row, seed) for row in setup.rows] for seed in seeds]
    ahead: dict[str, tuple[Leg, int]] = {}
    for leg in (leg for of_seed in plans for plan in of_seed for leg in plan.legs):
        if leg.line not in ahead or leg.stop > ahead[leg.line][1]:
            ahead[leg.line] = (leg, leg.stop)
    left = {line: stop - _stored(setup, line, stop) for line, (_, stop) in ahead.items()}
    paces = _paces(setup, [plan.legs for plan in plans[0]])
    usual = sum(paces.values()) / len(paces)

    def pace(leg: Leg) -> float:
        return paces.get(_kind(leg), usual)

    training = sum(steps * pace(ahead[line][0]) for line, steps in left.items())
    swept = sum(map(len, setup.splits.rows.values())) / setup.recipe.batch_size
    networks = {(plan.legs[-1].line, plan.legs[-1].stop): plan.legs[-1] for of_seed in plans for plan in of_seed}
    leaving = FOLDER * len(seeds) * len(setup.rows) + SWEEP * swept * sum(map(pace, networks.values()))
    return Estimate(features, images, training, leaving)


def _stored(setup: Setup, line: str, stop: int) -> int:
    return max((step for step in stored_steps(setup.store, line) if step <= stop), default=0)


def _kind(leg: Leg) -> str:
    """Name what a leg's step costs: the same for all seeds."""
    return repr((leg.stage.objective, leg.stage.gradient, leg.stage.average, leg.stage.mixing, leg.learn, leg.net.head))


def _paces(setup: Setup, rows: Sequence[Sequence[Leg]]) -> dict[str, float]:
    """Measure seconds a step of each kind of leg, as far as the budget goes."""
    paces: dict[str, float] = {}
    begun = time.perf_counter()
    for leg in (leg for legs in rows for leg in legs):
        if _kind(leg) not in paces and (not paces or time.perf_counter() - begun < BUDGET):
            paces[_kind(leg)] = _seconds_a_step(setup, leg)
    return paces


def _seconds_a_step(setup: Setup, leg: Leg) -> float:
    root = setup.root(0)
    with threads(leg.recipe.threads):
        loop = make_loop(root, leg, None, setup.device)
        readers = {name: StreamReader(name, stream, root, leg, setup.device) for name, stream in leg.stage.streams.items()}
        taken: list[float] = []
        while len(taken) < 2 or (sum(taken) < 0.1 and len(taken) < 20):
            begun = time.perf_counter()
            batch, now = read_batch(readers, leg, len(taken), root.seed)
            loop.run_step(batch, now)
            taken.append(time.perf_counter() - begun)
        return min(taken)
