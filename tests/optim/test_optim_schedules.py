"""Schedules and optimisers against published schedules and hand-written steps."""

import itertools
import math

import pytest
import torch

from tailwise.errors import BadValue
from tailwise.optim import SGD, AdamW, Constant, Cosine, Steps

LDAM_DRW = Steps(5, (0.8, 0.9), (0.01, 0.0001))


def published_rate(epoch: int) -> float:
    """The rate of LDAM-DRW's cifar_train.py in a 0-based epoch, as its table states it: 1-based epochs."""
    number = epoch + 1
    if 1 <= number <= 5:
        return 0.1 * number / 5
    if 6 <= number <= 160:
        return 0.1
    if 161 <= number <= 180:
        return 0.001
    return 0.00001


@pytest.mark.reference
def test_steps_are_the_published_schedule_in_every_epoch():
    for epoch in range(200):
        assert 0.1 * LDAM_DRW.factor(epoch, 200) == pytest.approx(published_rate(epoch), rel=1e-12), epoch


@pytest.mark.reference
def test_a_warm_up_from_a_third_is_bbns():
    """WarmupMultiStepLR of their code: lr (1/3 + 2/3 e/5) for e < 5, x0.01 from 120 on and once more from 160 on."""
    bbn = Steps(5, (0.6, 0.8), (0.01, 0.0001), first=1 / 3)
    for epoch in range(200):
        expected = 1 / 3 * (1 - epoch / 5) + epoch / 5 if epoch < 5 else 0.01 ** ((epoch >= 120) + (epoch >= 160))
        assert bbn.factor(epoch, 200) == pytest.approx(expected, rel=1e-12), epoch


@pytest.mark.parametrize(("warmup", "first"), [(0, 0.5), (5, 0.0), (5, 1.5), (5, -1.0)])
def test_a_beginning_that_is_none_is_refused(warmup, first):
    with pytest.raises(BadValue, match="warm-up of at least one epoch begins at a factor in"):
        Steps(warmup, first=first)


@pytest.mark.parametrize(("epochs", "first"), [(200, 160), (40, 32), (30, 24), (10, 8), (7, 5), (100, 80)])
def test_a_drop_begins_at_its_share(epochs, first):
    factors = [Steps(0, (0.8,), (0.1,)).factor(epoch, epochs) for epoch in range(epochs)]
    assert factors.index(0.1) == first
    assert factors == [1.0] * first + [0.1] * (epochs - first)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
def test_a_drop_is_not_late_by_rounding(share):
    """0.7 * 10 is 7.000000000000001 and 0.29 * 100 is 28.999999999999996 in binary; both mean the whole number."""
    factors = [Steps(0, (share,), (0.5,)).factor(epoch, 10) for epoch in range(10)]
    assert factors.index(0.5) == round(10 * share)
    assert [Steps(0, (0.29,), (0.5,)).factor(epoch, 100) for epoch in range(100)].index(0.5) == 29


@pytest.mark.parametrize(("drops", "factors"), [((0.5,), ()), ((0.9, 0.8), (0.1, 0.01)), ((), (0.1,))])
def test_uneven_drops_are_refused(drops, factors):
    with pytest.raises(BadValue, match="one factor for each drop"):
        Steps(0, drops, factors)


def test_no_drops_and_no_warm_up_is_constant():
    assert {Steps().factor(epoch, 9) for epoch in range(9)} == {Constant().factor(epoch, 9) for epoch in range(9)} == {1.0}


@pytest.mark.reference
def test_cosine_is_half_a_cosine():
    for epoch in range(10):
        assert Cosine().factor(epoch, 10) == pytest.approx((1 + math.cos(math.pi * epoch / 10)) / 2, rel=1e-12)
    assert Cosine().factor(0, 10) == 1.0
    assert Cosine().factor(5, 10) == pytest.approx(0.5)


def test_cosine_begins_after_its_warm_up():
    made = [Cosine(warmup=2).factor(epoch, 10) for epoch in range(10)]
    assert made[:3] == [0.5, 1.0, 1.0]
    assert made[6] == pytest.approx(0.5)  # half of the eight epochs that are left
    assert all(a > b for a, b in itertools.pairwise(made[2:]))


def test_a_recipe_within_its_warm_up_has_a_rate():
    assert [Cosine(warmup=5).factor(epoch, 3) for epoch in range(3)] == pytest.approx([0.2, 0.4, 0.6])


def parameters(rate: float, decay: float) -> tuple[torch.Tensor, list[dict]]:
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    return weight, [{"params": [weight], "lr": rate, "weight_decay": decay}]


GRADIENTS = [[0.3, -0.1, 2.0], [0.1, 0.2, -1.0], [0.0, -0.4, 0.7]]


@pytest.mark.reference
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_the_heavy_ball(nesterov):
    """g <- g + wd w; v <- m v + g, v = g first; w <- w - lr v, or - lr (g + m v) of Nesterov."""
    weight, groups = parameters(0.1, 0.01)
    optimiser = SGD(0.5, momentum=0.9, weight_decay=0.7, nesterov=nesterov).make(groups)  # the groups' own rate and decay count
    w, v = [1.0, -2.0, 0.5], [0.0, 0.0, 0.0]
    for gradient in GRADIENTS:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
        for k in range(3):
            g = gradient[k] + 0.01 * w[k]
            v[k] = 0.9 * v[k] + g
            w[k] -= 0.1 * (g + 0.9 * v[k] if nesterov else v[k])
    assert weight.tolist() == pytest.approx(w, rel=1e-12)


@pytest.mark.reference
def test_adamw_decays_apart_from_the_gradient():
    weight, groups = parameters(0.1, 0.01)
    optimiser = AdamW(0.5, weight_decay=0.7, beta1=0.8, beta2=0.95).make(groups)
    w, m, s = [1.0, -2.0, 0.5], [0.0] * 3, [0.0] * 3
    for t, gradient in enumerate(GRADIENTS, start=1):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
        for k, g in enumerate(gradient):
            m[k], s[k] = 0.8 * m[k] + 0.2 * g, 0.95 * s[k] + 0.05 * g * g
            w[k] -= 0.1 * 0.01 * w[k]
            w[k] -= 0.1 * (m[k] / (1 - 0.8**t)) / (math.sqrt(s[k] / (1 - 0.95**t)) + 1e-8)
    assert weight.tolist() == pytest.approx(w, rel=1e-10)
