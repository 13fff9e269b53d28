"""Means over classes under redraws of images and seeds, against real draws, slow loops and the t-tests of SciPy."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from tailwise.evaluation.crossed import group_weights, of_answers, of_differences
from tailwise.evaluation.intervals import Estimate, Variance, half_width

IMAGES = (5, 8, 30)
LABELS = np.repeat(np.arange(len(IMAGES)), IMAGES)


def answers(seeds: int, labels: np.ndarray = LABELS, stream: int = 0) -> np.ndarray:
    """(k, N) right answers; images differ in difficulty, networks in skill."""
    generator = np.random.default_rng(stream)
    difficulty, skill = generator.normal(0, 1.5, len(labels)), generator.normal(0, 0.7, (seeds, 1))
    return difficulty + skill + generator.logistic(size=(seeds, len(labels))) > 0


def slow(values: np.ndarray, labels: np.ndarray, weights: dict[int, float]) -> tuple[float, float, float, float]:
    """Figure, variance by images with its degrees of freedom, and variance by seeds, written out; classes of two images or more."""
    seeds, whole = len(values), sum(weights.values())
    figures, by_images, doubt = [0.0] * seeds, 0.0, 0.0
    for label, weight in weights.items():
        rows = [i for i in range(len(labels)) if labels[i] == label]
        n = len(rows)
        over_seeds = [math.fsum(float(values[s, i]) for s in range(seeds)) / seeds for i in rows]
        centre = math.fsum(over_seeds) / n
        part = (weight / whole) ** 2 * math.fsum((one - centre) ** 2 for one in over_seeds) / (n - 1) / n
        by_images, doubt = by_images + part, doubt + part**2 / (n - 1)
        for s in range(seeds):
            figures[s] += weight / whole * math.fsum(float(values[s, i]) for i in rows) / n
    value = math.fsum(figures) / seeds
    by_seeds = math.fsum((figure - value) ** 2 for figure in figures) / (seeds - 1) / seeds if seeds > 1 else math.nan
    return value, by_images, by_images**2 / doubt, by_seeds


@pytest.mark.reference
@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.0, 2.0, 2.0), IMAGES, (0.2, 0.7, 0.1)])
def test_equals_a_slow_loop(seeds, weights):
    ours, theirs = answers(seeds, stream=1), answers(seeds, stream=2)
    given_weights = {label: float(weight) for label, weight in enumerate(weights) if weight}
    for found, values in (
        (of_answers(ours, LABELS, 3), ours.astype(np.float64)),
        (of_differences(ours, theirs, LABELS, 3), ours.astype(np.float64) - theirs),
    ):
        estimate = found.estimate(np.array(weights, dtype=np.float64))
        value, by_images, freedom, by_seeds = slow(values, LABELS, given_weights)
        assert estimate.value == pytest.approx(value, abs=1e-14)
        assert estimate.seeds == seeds
        assert estimate.by_images.value == pytest.approx(by_images, rel=1e-12)
        assert estimate.by_images.freedom == pytest.approx(freedom, rel=1e-12)
        if seeds == 1:
            assert estimate.by_seeds is None
        else:
            assert (estimate.by_seeds.value, estimate.by_seeds.freedom) == (pytest.approx(by_seeds, rel=1e-10, abs=1e-30), seeds - 1)


@pytest.mark.reference
@pytest.mark.parametrize("paired", [False, True])
def test_equals_the_crossed_bootstrap_with_its_corrections(paired):
    draws, seeds, weights = 20_000, 4, np.array([1.0, 1.0, 2.0])
    values = answers(seeds, stream=3).astype(np.float64) - (answers(seeds, stream=4) if paired else 0)
    found = of_differences(answers(seeds, stream=3), answers(seeds, stream=4), LABELS, 3) if paired else of_answers(values > 0, LABELS, 3)
    estimate = found.estimate(weights)
    generator = np.random.default_rng(5)

    share, by_images = weights / weights.sum(), 0.0  # images again, within their class, one draw for all seeds
    for label, n in enumerate(IMAGES):
        of_class = values[:, label == LABELS]
        drawn = generator.integers(n, size=(draws, n))
        figures = share[label] * of_class[:, drawn].mean(axis=(0, 2))
        by_images += figures.var() * n / (n - 1)
    by_seed = np.stack([values[:, label == LABELS].mean(1) for label in range(3)], axis=1) @ share
    redrawn = by_seed[generator.integers(seeds, size=(draws, seeds))].mean(1)  # seeds again, with all images
    within = 5 * math.sqrt(2 / draws)  # five standard errors of a variance over so many draws
    assert estimate.by_images.value == pytest.approx(by_images, rel=within)
    assert estimate.by_seeds.value == pytest.approx(redrawn.var() * seeds / (seeds - 1), rel=within)


def test_one_draw_of_images_serves_all_seeds_so_more_equal_seeds_do_not_help():
    one = answers(1)
    few, many = (of_answers(np.repeat(one, seeds, axis=0), LABELS, 3).estimate(np.ones(3)) for seeds in (1, 10))
    assert many.by_images == few.by_images  # a nested bootstrap would say a tenth
    assert many.by_seeds.value == pytest.approx(0.0, abs=1e-30)


# ------------------------------------------------------------------------------------------------------------------- the t-tests of SciPy


def difference_of(estimate: Estimate, p: float, low: float, high: float) -> None:
    assert estimate.p_value("networks") == pytest.approx(p, rel=1e-10)
    found = estimate.interval("networks")
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-10)


@pytest.mark.limit
def test_one_class_and_one_seed_is_the_paired_t_test():
    labels = np.zeros(40, dtype=np.int64)
    ours, theirs = answers(1, labels, 6), answers(1, labels, 7)
    known = stats.ttest_rel(ours[0].astype(float), theirs[0].astype(float))
    difference_of(of_differences(ours, theirs, labels, 1).estimate(np.ones(1)), known.pvalue, *known.confidence_interval())


@pytest.mark.limit
def test_one_class_and_several_seeds_is_the_t_test_of_the_images_means():
    labels = np.zeros(40, dtype=np.int64)
    ours, theirs = answers(3, labels, 6), answers(3, labels, 7)
    known = stats.ttest_rel(ours.mean(0), theirs.mean(0))
    difference_of(of_differences(ours, theirs, labels, 1).estimate(np.ones(1)), known.pvalue, *known.confidence_interval())
    alone = stats.ttest_1samp(ours.mean(0), 0.0)
    difference_of(of_answers(ours, labels, 1).estimate(np.ones(1)), alone.pvalue, *alone.confidence_interval())


@pytest.mark.limit
def test_two_classes_are_welchs_t_test():
    labels = np.repeat([0, 1], [12, 30])
    ours, theirs = answers(3, labels, 8), answers(3, labels, 9)
    first, second = (ours.mean(0) - theirs.mean(0))[labels == 0], (ours.mean(0) - theirs.mean(0))[labels == 1]
    known = stats.ttest_ind(first, -second, equal_var=False)  # first + second, with Satterthwaite's degrees of freedom
    ends = known.confidence_interval()
    difference_of(of_differences(ours, theirs, labels, 2).estimate(np.ones(2)), known.pvalue, ends.low / 2, ends.high / 2)


@pytest.mark.limit
def test_a_class_without_variance_adds_none_and_no_freedom():
    labels = np.repeat([0, 1], [40, 25])
    ours, theirs = answers(1, labels, 6), answers(1, labels, 7)
    ours[:, labels == 1] = theirs[:, labels == 1]
    known = stats.ttest_rel(ours[0, :40].astype(float), theirs[0, :40].astype(float))
    ends = known.confidence_interval()
    difference_of(of_differences(ours, theirs, labels, 2).estimate(np.ones(2)), known.pvalue, ends.low / 2, ends.high / 2)


@pytest.mark.limit
@pytest.mark.parametrize("freedom", [19.0, math.inf])
def test_the_method_without_variance_of_images_is_the_t_test_over_seeds(freedom):
    figures = np.array([0.03, 0.01, 0.05, 0.02])
    estimate = Estimate(float(figures.mean()), 4, Variance(0.0, freedom), Variance(float(figures.var(ddof=1)) / 4, 3), least=-1.0)
    known = stats.ttest_1samp(figures, 0.0)
    assert estimate.p_value("method") == pytest.approx(known.pvalue, rel=1e-10)
    found = estimate.interval("method", 0.99)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval(0.99)), rel=1e-10)


# ------------------------------------------------------------------------------------------------------------------------- both together


def test_for_the_method_each_variance_has_its_own_quantile():
    estimate = of_answers(answers(3), LABELS, 3).estimate(np.ones(3))
    images, seeds = estimate.by_images, estimate.by_seeds
    half = math.hypot(stats.t.ppf(0.95, images.freedom) * math.sqrt(images.value), stats.t.ppf(0.95, 2) * math.sqrt(seeds.value))
    found = estimate.interval("method", 0.9)
    assert (found.low, found.high) == pytest.approx((max(0.0, estimate.value - half), min(1.0, estimate.value + half)), rel=1e-12)


PARTS = st.lists(
    st.builds(Variance, st.floats(1e-12, 0.1), st.one_of(st.floats(1, 1e5), st.just(math.inf), st.just(2.0))), min_size=1, max_size=3
)


@pytest.mark.fuzz
@settings(deadline=None)
@given(PARTS, st.sampled_from([0.05, 0.05 / 11, 1e-6]))
def test_an_interval_is_never_narrower_than_with_satterthwaites_freedom(parts, alpha):
    total = sum(part.value for part in parts)
    doubt = sum((part.value / total) ** 2 / part.freedom for part in parts)
    quantile = stats.t.isf(alpha / 2, 1 / doubt) if doubt else stats.norm.isf(alpha / 2)
    assert half_width(parts, alpha) >= quantile * math.sqrt(total) * (1 - 1e-9)


@pytest.mark.fuzz
@settings(deadline=None)
@given(
    st.floats(0, 1), st.floats(1e-12, 0.1), st.one_of(st.floats(1, 1e5), st.just(math.inf)), st.floats(0, 0.1), st.sampled_from([3, 4, 10])
)
def test_the_p_value_is_the_level_at_which_the_interval_ends_at_0(value, images, freedom, seeds_variance, seeds):
    estimate = Estimate(value, seeds, Variance(images, freedom), Variance(seeds_variance, seeds - 1), least=-1.0)
    p = estimate.p_value("method")
    assert 0 <= p <= 1
    if p > 1e-100:
        assert half_width(estimate.parts("method"), p) == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_a_known_variance_and_one_of_equal_seeds_make_an_interval():
    estimate = Estimate(0.5, 3, Variance(0.01, math.inf), Variance(0.0, 2))
    assert estimate.interval("method") == estimate.interval("networks")
    assert estimate.p_value("method") == estimate.p_value("networks")
    nothing = Estimate(0.5, 3, Variance(0.0, math.inf), Variance(0.0, 2))
    assert (nothing.p_value("method"), nothing.interval("method").low) == (0.0, 0.5)


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_say_nothing_of_the_method(seeds):
    estimate = of_answers(answers(seeds), LABELS, 3).estimate(np.ones(3))
    assert estimate.claim == "networks"
    assert [estimate.interval("method"), estimate.p_value("method"), estimate.detectable("method")] == [None] * 3
    assert estimate.parts("method") == ()
    assert of_answers(answers(3), LABELS, 3).estimate(np.ones(3)).claim == "method"


def test_what_is_called_detectable_is_shown_in_four_of_five_repetitions():
    error = 0.01
    found = Estimate(0.0, 1, Variance(error**2, math.inf), None, least=-1.0).detectable("networks")
    values = found + error * np.random.default_rng(0).standard_normal(20_000)
    shown = np.mean([Estimate(value, 1, Variance(error**2, math.inf), None).p_value("networks") <= 0.05 for value in values])
    assert shown == pytest.approx(0.8, abs=0.01)


# --------------------------------------------------------------------------------------------------------------------- edges of the data


def test_classes_without_images_are_in_no_mean():
    labels = np.array([0, 0, 0, 3, 3])
    correct = np.array([[True, False, True, True, False]])
    found = of_answers(correct, labels, classes=5)
    assert np.isnan(found.means[0]).tolist() == [False, True, True, False, True]
    assert found.estimate(np.ones(5)) == of_answers(correct, (labels > 0).astype(np.int64), classes=2).estimate(np.ones(2))
    assert found.estimate(group_weights([1, 2], 5)) is None
    assert found.estimate(group_weights([0, 1], 5)) == found.estimate(group_weights([0], 5))


@pytest.mark.reference
@pytest.mark.parametrize("right", [[True], [False], [True, True, False]])
def test_a_class_with_one_image_has_the_variance_of_its_jeffreys_posterior(right):
    correct = np.array(right)[:, None]
    share = float(np.mean(right))
    estimate = of_answers(correct, np.zeros(1, dtype=np.int64), 1).estimate(np.ones(1))
    assert estimate.by_images.value == pytest.approx(stats.beta(share + 0.5, 1 - share + 0.5).var())
    assert estimate.by_images.freedom == 1
    paired = of_differences(correct, np.ones_like(correct), np.zeros(1, dtype=np.int64), 1).estimate(np.ones(1))
    covariance = stats.dirichlet([0.5, 1 - share + 0.5, share + 0.5]).cov()  # won, lost, the same
    assert paired.by_images.value == pytest.approx(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


@pytest.mark.reference
@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_is_not_sure(right):
    estimate = of_answers(np.full((2, len(LABELS)), right), LABELS, 3).estimate(np.ones(3))
    assert estimate.value == float(right)
    assert estimate.by_images.value == pytest.approx(sum(stats.beta(n + 0.5, 0.5).var() for n in IMAGES) / 9)
    found = estimate.interval("networks")
    assert (found.low, found.high) == ((pytest.approx(found.low), 1.0) if right else (0.0, pytest.approx(found.high)))
    assert 0.05 < found.high - found.low < 0.3


def test_equal_answers_do_not_differ():
    correct = answers(3)
    estimate = of_differences(correct, correct, LABELS, 3).estimate(np.ones(3))
    assert (estimate.value, estimate.p_value("networks"), estimate.p_value("method")) == (0.0, 1.0, 1.0)
    found = estimate.interval("method")
    assert found.low == -found.high < 0


def test_a_difference_may_be_below_0_and_a_share_may_not():
    labels = np.zeros(3, dtype=np.int64)
    right, wrong = np.array([[True, True, True]]), np.array([[False, False, True]])
    assert of_differences(wrong, right, labels, 1).estimate(np.ones(1)).interval("networks").low == -1.0
    assert of_answers(wrong, labels, 1).estimate(np.ones(1)).interval("networks").low == 0.0


@pytest.mark.fuzz
@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_the_order_of_images_classes_and_seeds_changes_nothing(stream, seeds):
    generator = np.random.default_rng(stream)
    labels = np.sort(generator.integers(6, size=40))
    ours, theirs, weights = answers(seeds, labels, stream), answers(seeds, labels, stream + 1), generator.random(6) + 0.01
    images, classes, networks = generator.permutation(40), generator.permutation(6), generator.permutation(seeds)
    shuffled_weights = np.empty(6)
    shuffled_weights[classes] = weights

    def shuffled(correct: np.ndarray) -> np.ndarray:
        return correct[networks][:, images]

    for first, second in (
        (of_answers(ours, labels, 6), of_answers(shuffled(ours), classes[labels][images], 6)),
        (of_differences(ours, theirs, labels, 6), of_differences(shuffled(ours), shuffled(theirs), classes[labels][images], 6)),
    ):
        before, after = first.estimate(weights), second.estimate(shuffled_weights)
        for claim in ("networks", "method") if seeds >= 3 else ("networks",):
            for one, other in zip((before, after), (after, before), strict=True):
                assert one.value == pytest.approx(other.value, abs=1e-12)
                for part, shuffled_part in zip(one.parts(claim), other.parts(claim), strict=True):
                    assert part.value == pytest.approx(shuffled_part.value, rel=1e-12, abs=1e-15)
                    assert part.freedom == pytest.approx(shuffled_part.freedom, rel=1e-9)
    assert (of_differences(theirs, ours, labels, 6).estimate(weights).value) == pytest.approx(
        -of_differences(ours, theirs, labels, 6).estimate(weights).value, abs=1e-15
    )


def test_counts_as_weights_give_the_share_of_all_images():
    correct = answers(2)
    assert of_answers(correct, LABELS, 3).estimate(np.array(IMAGES, dtype=np.float64)).value == pytest.approx(correct.mean())
