"""Distances of experts from their mean: against loops, gradients, limits."""

from __future__ import annotations

import math

import pytest
import torch

from tailwise.errors import BadValue
from tailwise.losses import class_temperatures, divergences, diversity

COUNTS = [40, 9, 3, 1]


def logits(rows: int = 3, experts: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, experts, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.reference
@pytest.mark.parametrize("spread", [0.05, 0.5, 1.0])
def test_temperatures_are_those_of_the_formula(spread):
    raw = [spread * 4 * n / sum(COUNTS) + 1 - spread for n in COUNTS]
    expected = [t / max(raw) for t in raw]
    assert class_temperatures(COUNTS, spread).tolist() == pytest.approx(expected, rel=1e-14)
    assert max(expected) == 1.0


def test_temperatures_without_a_spread_are_one():
    assert class_temperatures(COUNTS, 0.0).tolist() == [1.0] * 4
    for wrong in (-0.1, 1.1):
        with pytest.raises(BadValue, match="between 0 and 1"):
            class_temperatures(COUNTS, wrong)


@pytest.mark.reference
def test_diversity_is_the_formula_row_by_row():
    z, t = logits(), class_temperatures(COUNTS, 0.5)
    for row, found in zip(z.tolist(), diversity(z, t).tolist(), strict=True):
        mean = [sum(expert[c] for expert in row) / 3 for c in range(4)]
        tops = [math.exp(mean[c] / t[c]) for c in range(4)]
        p = [top / sum(tops) for top in tops]
        total = 0.0
        for expert in row:
            ups = [math.exp(expert[c] / t[c]) for c in range(4)]
            total += sum(p[c] * (math.log(p[c]) - math.log(ups[c] / sum(ups))) for c in range(4))
        assert found == pytest.approx(total * (sum(t.tolist()) / 4) ** 2, rel=1e-12)


def test_gradients_with_the_mean_held():
    """The mean is a constant, so the slope is that of divergences from fixed aims."""
    z, t = logits().requires_grad_(), class_temperatures(COUNTS, 0.5)
    aims = z.detach().mean(1) / t
    (found,) = torch.autograd.grad(diversity(z, t).sum(), [z])
    (expected,) = torch.autograd.grad((t.mean() ** 2 * divergences(aims, z / t)).sum(), [z])
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(lambda experts: divergences(aims, experts / t), (z,))


def test_equal_experts_are_at_no_distance_and_have_no_slope():
    z = logits(experts=1).expand(3, 4, 4).clone().requires_grad_()
    values = diversity(z, torch.ones(4))
    assert values.tolist() == pytest.approx([0.0] * 3, abs=1e-14)
    (slope,) = torch.autograd.grad(values.sum(), [z])
    assert slope.abs().max() < 1e-14
    assert diversity(logits(experts=1), torch.ones(4)).abs().max() < 1e-14


def test_large_logits_stay_finite():
    z = 30 * torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]])
    assert diversity(100 * z, torch.ones(2)).isfinite().all()
