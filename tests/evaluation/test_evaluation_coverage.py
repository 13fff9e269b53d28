"""Whether intervals hold the truth as often as they say, in worlds whose truth is known; small here, large in `benchmarks/coverage.py`."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr

from tailwise.evaluation.crossed import ClassMeans, of_answers, of_differences
from tailwise.evaluation.intervals import Estimate

REPETITIONS = 3000
WITHIN = 4 * math.sqrt(0.95 * 0.05 / REPETITIONS)  # four standard errors: 1.6 points
WITHIN_RATIO = 4 * math.sqrt(2 / REPETITIONS + 1 / REPETITIONS)  # of a variance over so many draws, and of a mean of estimates


def worlds(
    classes: int, images: int, seeds: int, difficulty: float, seed_effect: float, stream: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw two methods in `REPETITIONS` worlds at once, by a probit model whose truth has a closed form.

    Right answers (2, k, R, C, n); expected macro accuracy of each network on new images (2, k, R), of each method on new seeds too (2,).
    """
    generator = np.random.default_rng(stream)
    levels = np.stack([np.linspace(-1, 1.5, classes), np.linspace(-0.5, 1.6, classes)])
    networks = levels[:, None, None] + seed_effect * generator.standard_normal((2, seeds, REPETITIONS, 1), dtype=np.float32)
    hard = difficulty * generator.standard_normal((REPETITIONS, classes, images), dtype=np.float32)
    noise = generator.standard_normal((2, seeds, REPETITIONS, classes, images), dtype=np.float32)
    spread = math.hypot(1, difficulty)
    truth = ndtr(levels / math.hypot(spread, seed_effect)).mean(-1)
    return noise < networks[..., None].astype(np.float32) + hard, ndtr(networks / spread).mean(-1), truth


def each(means: ClassMeans, classes: int) -> list[Estimate]:
    """Take the repetitions, measured as so many classes at once, apart again, and estimate macro accuracy in each."""
    parts = [slice(begin, begin + classes) for begin in range(0, REPETITIONS * classes, classes)]
    whole = [
        ClassMeans(means.images[part], means.means[:, part], means.variances[part], means.jeffreys[part], means.least) for part in parts
    ]
    return [one.estimate(np.ones(classes)) for one in whole]


def calibrated(claim: str, classes: int, images: int, seeds: int, **world: float) -> list[tuple[float, float]]:
    """Simulate macro accuracy and its paired difference: for each (coverage, estimated variance by real variance)."""
    right, networks, methods = worlds(classes, images, seeds, **world)
    flat = right.reshape(2, seeds, -1)
    labels = np.repeat(np.arange(REPETITIONS * classes), images)
    truth = networks.mean(1) if claim == "networks" else np.broadcast_to(methods[:, None], (2, REPETITIONS))
    alone = each(of_answers(flat[0], labels, REPETITIONS * classes), classes)
    paired = each(of_differences(flat[0], flat[1], labels, REPETITIONS * classes), classes)
    return [_calibration(alone, truth[0], claim), _calibration(paired, truth[0] - truth[1], claim)]


def _calibration(estimates: list[Estimate], truths: np.ndarray, claim: str) -> tuple[float, float]:
    intervals = [estimate.interval(claim) for estimate in estimates]
    coverage = np.mean([found.low <= truth <= found.high for found, truth in zip(intervals, truths, strict=True)])
    estimated = np.mean([sum(part.value for part in estimate.parts(claim)) for estimate in estimates])
    real = np.mean((np.array([estimate.value for estimate in estimates]) - truths) ** 2)
    return float(coverage), float(estimated / real)


def test_these_networks_with_so_few_images_that_the_divisor_matters():
    """Without n / (n - 1) a third of the variance is missing, and coverage is below 90 %."""
    for coverage, variance in calibrated("networks", classes=15, images=3, seeds=1, difficulty=1.0, seed_effect=0.3, stream=1):
        assert coverage == pytest.approx(0.95, abs=WITHIN)
        assert variance == pytest.approx(1, abs=WITHIN_RATIO)


def test_these_networks_with_many_seeds_that_see_the_same_images():
    """Images drawn anew for each seed, the nested bootstrap, would hold the truth half as often."""
    for coverage, variance in calibrated("networks", classes=5, images=20, seeds=8, difficulty=2.0, seed_effect=0.3, stream=2):
        assert coverage == pytest.approx(0.95, abs=WITHIN)
        assert variance == pytest.approx(1, abs=WITHIN_RATIO)


def test_the_method_at_three_seeds_that_differ_more_than_images():
    """Without k / (k - 1) 30 % of the variance are missing; with normal quantiles 85 % are covered, without the seeds' variance 40 %."""
    for coverage, variance in calibrated("method", classes=10, images=60, seeds=3, difficulty=0.5, seed_effect=0.25, stream=3):
        assert 0.95 - WITHIN < coverage < 0.98
        assert variance == pytest.approx(1.02, abs=WITHIN_RATIO)  # what is chance in single answers counts twice


def test_the_method_without_seed_variance_is_covered_too():
    """Chance in single answers is in both redraws; where it is all there is the variance is twice what it should be, never less."""
    for coverage, variance in calibrated("method", classes=10, images=20, seeds=3, difficulty=1.0, seed_effect=0.0, stream=4):
        assert coverage > 0.95 - WITHIN
        assert 1 < variance < 2 * (1 + WITHIN_RATIO)


@pytest.mark.slow
def test_every_bound_of_the_committed_simulation_is_kept():
    spec = importlib.util.spec_from_file_location("benchmark_coverage", Path(__file__).parents[2] / "benchmarks" / "coverage.py")
    benchmark = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    coverages = [job.measure() for job in benchmark.coverage_jobs(1500)]
    alarms = [job.measure() for job in benchmark.alarm_jobs(1500)]
    assert benchmark.misses(coverages, alarms, 1500) == []
