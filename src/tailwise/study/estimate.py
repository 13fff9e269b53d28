"""What a comparison will cost, measured on a few steps before it begins."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tailwise.study.extractor import absent, seconds_an_image
from tailwise.study.prepare import ordered
from tailwise.study.setup import Setup
from tailwise.study.tree import count_steps
from tailwise.training import Leg, Plan
from tailwise.training.line import make_loop, threads
from tailwise.training.streams import StreamReader, read_batch

BUDGET = 3.0
"""Seconds that measuring may take; lines that are not reached are taken to cost what the others do on average."""

SWEEP = 0.4
"""Cost of a test pass as a share of training on the same rows: a forward is a third of a step, and rows are read as well."""

FOLDER = 0.1
"""Seconds to write a run's folder to disk, as measured on runs of a head."""


A_FEW = 8.0
"""Seconds below which no number is said."""


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
        parts = {
            f"the features of {self.images:,} images": self.features,
            "training": self.training,
            "predictions and folders": self.leaving,
        }
        said = [f"{roughly(seconds)} for {what}" for what, seconds in parts.items() if seconds >= A_FEW]
        return f"{roughly(self.seconds)} ({', '.join(said)})" if said else roughly(self.seconds)


def roughly(seconds: float) -> str:
    """Say a duration as an estimate deserves it.

    >>> roughly(3.2), roughly(41), roughly(130), roughly(9000)
    ('a few seconds', 'about 50 s', 'about 3 min', 'about 2.5 h')
    """
    if seconds < A_FEW:
        return "a few seconds"
    if seconds < 90:
        return f"about {10 * math.ceil(seconds / 10)} s"
    return f"about {math.ceil(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def estimate(setup: Setup, seeds: Sequence[int]) -> Estimate:
    """Estimate a comparison, by running a few steps of its lines and a few images through the extractor.

    Nothing is stored, and no bit of a result depends on it.

    Args:
        setup: ready or not.
        seeds: of the comparison.
    """
    plans = [setup.plan(row, seed) for seed in seeds for row in setup.rows]
    paces = _paces(setup, [leg for plan in plans[: len(setup.rows)] for leg in plan.legs])
    usual = sum(paces.values()) / len(paces)
    pace = {leg.line: paces.get(_kind(leg), usual) for plan in plans for leg in plan.legs}
    images, features = _features(setup)
    training = sum(left * pace[line] for line, left in count_steps(plans, setup.store).left.items())
    return Estimate(features, images, training, _leaving(setup, plans, pace))


def _features(setup: Setup) -> tuple[int, float]:
    """Count the images whose features are to be computed, and the seconds that this takes."""
    if setup.extractor is None or setup.standardise is not None:
        return 0, 0.0
    images = absent(setup.extractor, ordered(setup.manifest)["content"].to_list(), setup.store)
    return images, images * seconds_an_image(setup.extractor, setup.device) if images else 0.0


def _leaving(setup: Setup, plans: Sequence[Plan], pace: Mapping[str, float]) -> float:
    """Seconds of the test passes of all networks, and of the folders of all runs."""
    batches = sum(map(len, setup.splits.rows.values())) / setup.recipe.batch_size
    networks = {(plan.legs[-1].line, plan.legs[-1].stop) for plan in plans}
    return FOLDER * len(plans) + SWEEP * batches * sum(pace[line] for line, _ in networks)


def _kind(leg: Leg) -> str:
    """Describe all that a leg's step costs: the same for all seeds. Its text, since parts are modules and compare by identity."""
    return repr((leg.stage.objective, leg.stage.gradient, leg.stage.average, leg.stage.mixing, leg.learn, leg.net.head))


def _paces(setup: Setup, legs: Sequence[Leg]) -> dict[str, float]:
    """Measure seconds a step of each kind of leg, as far as the budget goes."""
    paces: dict[str, float] = {}
    begun = time.perf_counter()
    for leg in legs:
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
