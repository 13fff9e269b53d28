"""What a comparison will cost, measured on a few steps before it begins."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from tailwise import processes
from tailwise.data import Manifest
from tailwise.data.images import read_pixels
from tailwise.models.engines import GAIN, SETUP
from tailwise.objective import Supervised
from tailwise.pixels.cores import cores
from tailwise.study.extractor import absent, seconds_an_image
from tailwise.study.pace import seconds_a_step
from tailwise.study.prepare import ordered, paths_of, pixels_absent
from tailwise.study.setup import Setup
from tailwise.study.tree import Steps
from tailwise.training import Leg, Plan

BUDGET = 0.5
"""Seconds that measuring steps may take; kinds of lines that are not reached are taken to cost what the others do on average."""

SEEN = 16
"""Images whose decoding is measured, at most."""

LOOK = 0.1
"""Seconds that measuring the decoding of images may take."""

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
        decoding: of images that are not packed yet.
        features: of frozen features that are not stored yet.
        images: those images, of the one or of the other.
        training: of all steps that the store does not have.
        leaving: of test passes and folders.
        longest: of training, the chain of lines that takes longest: no number of jobs is faster.
        jobs: processes that share the runs.
    """

    decoding: float
    features: float
    images: int
    training: float
    leaving: float
    longest: float = 0.0
    jobs: int = 1

    def on(self, jobs: int) -> Estimate:
        """Give what it takes where so many processes share the runs, at best: the longest chain begins first and nobody waits."""
        return replace(self, training=max(self.longest, self.training / jobs), leaving=self.leaving / jobs, jobs=jobs)

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.decoding + self.features + self.training + self.leaving

    def __str__(self) -> str:
        parts = {
            f"decoding {self.images:,} images": self.decoding,
            f"the features of {self.images:,} images": self.features,
            "training": self.training,
            "predictions and folders": self.leaving,
        }
        said = [f"{roughly(seconds)} for {what}" for what, seconds in parts.items() if seconds >= A_FEW]
        shared = f" on {self.jobs} jobs at best" if self.jobs > 1 else ""
        return f"{roughly(self.seconds)}{shared} ({', '.join(said)})" if said else f"{roughly(self.seconds)}{shared}"


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


def estimate(setup: Setup, seeds: Sequence[int], steps: Steps) -> Estimate:
    """Estimate a comparison, by decoding a few images and running a few steps of its lines.

    Nothing is stored, and no bit of a result depends on it.

    Args:
        setup: ready or not.
        seeds: of the comparison.
        steps: of it, counted.

    Raises:
        BadData: one of the few images cannot be decoded.
    """
    planned = [(fold, fold.plan(row, seed)) for seed in seeds for fold in setup.folds for row in setup.rows]
    plans = [plan for _, plan in planned]
    legs = {leg.line: (fold, leg) for fold, plan in planned for leg in plan.legs}
    kinds = {line: _kind(leg) for line, (_, leg) in legs.items()}
    paces = _paces(legs, kinds, steps)
    usual = sum(paces.values()) / len(paces)
    pace = {line: paces.get(kind, usual) for line, kind in kinds.items()}
    training = sum(left * pace[line] for line, left in steps.left.items())
    leaving = _leaving(setup, plans, pace)
    longest = max(sum(steps.left.get(line, 0) * pace[line] for line in {leg.line for leg in plan.legs}) for plan in plans)

    def said() -> Estimate:
        images, decoding, features = _seeing(setup)
        return Estimate(decoding, features, images, training, leaving, longest)

    return processes.told(said)


def _seeing(setup: Setup) -> tuple[int, float, float]:
    """Count the images that are to be decoded, or whose features are to be computed, and the seconds that each of the two takes."""
    if setup.is_ready:
        return 0, 0.0, 0.0
    if setup.extractor is None:
        images = pixels_absent(setup.splits, setup.manifest, setup.recipe, setup.store)
        return images, images * seconds_a_decoding(setup.manifest, setup.recipe.image_size) if images else 0.0, 0.0
    images = absent(setup.extractor, ordered(setup.manifest)["content"].to_list(), setup.store)
    if not images:
        return 0, 0.0, 0.0
    decoding = 0.0 if setup.manifest.arrays else seconds_a_decoding(setup.manifest, setup.extractor.size)
    # One thread decodes while the network runs on all cores, itself included.
    engine = setup.extractor.engine
    network = seconds_an_image(setup.extractor, setup.device) / GAIN[engine]
    return images, 0.0, SETUP[engine] + images * max(decoding * cores(), network + decoding)


def seconds_a_decoding(manifest: Manifest, size: int | None) -> float:
    """Measure how long an image takes to be decoded where all cores decode, on a few from all over the set.

    Args:
        manifest: of image files.
        size: to which they are brought.

    Raises:
        BadData: one of them cannot be decoded.
    """
    paths = paths_of(manifest, ordered(manifest))
    few = paths[:: max(1, len(paths) // SEEN)][:SEEN]
    read_pixels(few[0], size)  # what the first one loads is no part of the others
    done, begun = 0, time.perf_counter()
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        while done < len(few) and (done == 0 or time.perf_counter() - begun < LOOK):
            part = few[done : done + 2 * cores()]
            list(pool.map(lambda path: read_pixels(path, size), part))
            done += len(part)
    return (time.perf_counter() - begun) / done


def _leaving(setup: Setup, plans: Sequence[Plan], pace: Mapping[str, float]) -> float:
    """Seconds of the test passes of all networks, and of the folders of all runs."""
    batches = sum(map(len, setup.splits.rows.values())) / setup.recipe.batch_size
    networks = {(plan.legs[-1].line, plan.legs[-1].stop) for plan in plans}
    return FOLDER * len(plans) + SWEEP * batches * sum(pace[line] for line, _ in networks)


def _kind(leg: Leg) -> str:
    """Describe what a leg's step costs: the same for all seeds, and for all knobs that decide a loss's values alone.

    Its text, since parts are modules and compare by identity. A criterion sees logits and no more: beside a network it costs nothing.
    """
    stage = leg.stage
    objective = "" if type(stage.objective) is Supervised else repr(stage.objective)
    streams = [(name, stream.views, stream.batch_size, stream.batch_share) for name, stream in stage.streams.items()]
    parts = [type(part).__name__ for part in (stage.gradient, stage.average, stage.mixing)]
    learns = [entry.pattern for entry in leg.learn]
    return repr((objective, streams, parts, learns, leg.net.branches, leg.recipe.batch_size, leg.recipe.accumulate))


def _paces(legs: dict[str, tuple[Setup, Leg]], kinds: Mapping[str, str], steps: Steps) -> dict[str, float]:
    """Measure seconds a step of each kind of leg, those that most steps are left of first, as far as the budget goes.

    Several processes make their steps together, so the first says for all whether another kind is measured.
    """
    left: dict[str, int] = {}
    for line, kind in kinds.items():
        left[kind] = left.get(kind, 0) + steps.left[line]
    examples = {kinds[line]: found for line, found in reversed(legs.items())}
    paces: dict[str, float] = {}
    begun = time.perf_counter()
    for kind in sorted(left, key=lambda kind: -left[kind]):
        if not paces or (left[kind] and processes.told(lambda: time.perf_counter() - begun < BUDGET)):
            setup, leg = examples[kind]
            paces[kind] = seconds_a_step(setup.root(0), leg, setup.device)
    return paces
