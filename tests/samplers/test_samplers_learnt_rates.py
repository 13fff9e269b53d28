"""Draws by rates a class: the law of the draws, and their straight-through gradient."""

import math

import numpy as np
import pytest
import torch

from tailwise.errors import BadValue
from tailwise.samplers import LearntRateSampler, PowerSampler, chance_of_draw, first_rate_logits, straight_through

COUNTS = (40, 13, 6, 0, 1)
LABELS = np.repeat(np.arange(5), COUNTS)[np.random.default_rng(9).permutation(60)]
RATES = np.array([-1.0, 0.5, 0.0, 2.0, 1.5])
KEYS = torch.tensor(np.random.default_rng(1).gumbel(size=(4, 3)))


@pytest.mark.reference
def test_images_are_drawn_in_proportion_to_the_rates_of_their_classes():
    draws = 40_000
    rows, _ = LearntRateSampler().draw(LABELS, RATES, draws, np.random.default_rng(0))
    rates = 1 / (1 + np.exp(-RATES))[LABELS]
    np.testing.assert_allclose(np.bincount(rows, minlength=60) / draws, rates / rates.sum(), atol=4 * math.sqrt(0.05 / draws))


@pytest.mark.reference
def test_class_first_is_the_published_draw_over_all_images_in_law():
    """Noise over all images, as theirs: the chances of classes agree with those of ours."""
    draws, rng = 20_000, np.random.default_rng(0)
    log_rates = -np.log1p(np.exp(-RATES))
    theirs = LABELS[(log_rates[LABELS] + rng.gumbel(size=(draws, 60))).argmax(1)]
    ours = LABELS[LearntRateSampler().draw(LABELS, RATES, draws, rng)[0]]
    np.testing.assert_allclose(*(np.bincount(drawn, minlength=5) / draws for drawn in (ours, theirs)), atol=4 * math.sqrt(0.5 / draws))


def test_the_keys_are_those_of_the_draw():
    rows, keys = LearntRateSampler().draw(LABELS, RATES, 50, np.random.default_rng(0))
    scores = keys - np.log1p(np.exp(-RATES))
    assert np.array_equal(scores.argmax(1), LABELS[rows])
    assert np.isneginf(keys[:, 3]).all()
    assert keys.shape == (50, 5)


@pytest.mark.reference
@pytest.mark.parametrize("power", [0.0, 0.1, 0.3, 1.0, 5.0])
def test_first_rates_equal_the_formula(power):
    powers = [n**-power for n in COUNTS if n]
    expected = [n**-power / (min(powers) + max(powers)) if n else 0.5 for n in COUNTS]
    np.testing.assert_allclose(first_rate_logits(COUNTS, power).sigmoid(), expected, rtol=1e-9)


def test_first_rates_are_finite_and_even_about_zero_however_uneven_the_counts():
    logits = first_rate_logits([10**6, 1000, 1], 2.0)
    assert float(logits[0]) == pytest.approx(-float(logits[2]), rel=1e-9)
    assert float(logits[2]) == pytest.approx(12 * math.log(10), rel=1e-9)


@pytest.mark.limit
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_first_draws_are_those_of_power_sampling(power):
    np.testing.assert_allclose(LearntRateSampler(power).shown(COUNTS), PowerSampler(1 - power).shown(COUNTS), rtol=1e-9)


@pytest.mark.reference
def test_the_gradient_is_that_of_the_soft_draw_at_the_drawn_entry():
    """`l y` is l, and its gradient in a is l times the soft chance's, written out."""
    a = torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64, requires_grad=True)
    drawn, losses = torch.tensor([2, 0, 0, 1]), [2.0, 0.5, 1.0, 3.0]
    ones = straight_through(chance_of_draw(a, KEYS, drawn))
    assert ones.tolist() == [1.0] * 4
    (ones * torch.tensor(losses)).sum().backward()
    rates, expected = [1 / (1 + math.exp(-x)) for x in a.tolist()], [0.0] * 3
    for keys, entry, loss in zip(KEYS.tolist(), drawn.tolist(), losses, strict=True):
        masses = [rate * math.exp(key) for rate, key in zip(rates, keys, strict=True)]
        soft = [mass / sum(masses) for mass in masses]
        for k in range(3):
            expected[k] += loss * soft[entry] * ((k == entry) - soft[k]) * (1 - rates[k])
    np.testing.assert_allclose(a.grad, expected, rtol=1e-12)


def test_chances_pass_the_check_of_differences_and_an_empty_class_gets_no_gradient():
    a = torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64, requires_grad=True)
    keys = KEYS.clone()
    keys[:, 1] = -math.inf
    drawn = torch.tensor([2, 0, 0, 2])
    assert torch.autograd.gradcheck(lambda a: chance_of_draw(a, keys, drawn), a)
    chance_of_draw(a, keys, drawn).sum().backward()
    assert float(a.grad[1]) == 0


@pytest.mark.parametrize("power", [-0.1, math.inf, math.nan])
def test_a_power_that_is_none_is_refused(power):
    with pytest.raises(BadValue, match="at least 0 and finite"):
        LearntRateSampler(power)
