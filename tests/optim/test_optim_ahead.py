"""A step that is looked at before it is made: torch's own optimisers, and second derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tailwise.optim import SGD, Adam, AdamW

OPTIMISERS = {
    "plain": SGD(0.1, momentum=0.0),
    "momentum": SGD(0.1, weight_decay=0.3),
    "nesterov": SGD(0.1, weight_decay=0.3, nesterov=True),
    "adam": Adam(0.1, weight_decay=0.3),
    "adam, other moments": Adam(0.1, beta1=0.5, beta2=0.7),
    "adamw": AdamW(0.1, weight_decay=0.3),
}
BY_NAME = pytest.mark.parametrize("name", OPTIMISERS)


def started(part: Any, decay: float, steps: int) -> tuple[torch.optim.Optimizer, Tensor]:
    """An optimiser after some steps, and its parameter."""
    generator = torch.Generator().manual_seed(1)
    parameter = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    made = part.make([{"params": [parameter], "lr": part.rate, "weight_decay": decay}])
    for _ in range(steps):
        parameter.grad = torch.randn(4, generator=generator, dtype=torch.float64)
        made.step()
    return made, parameter


@pytest.mark.reference
@BY_NAME
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_is_where_torchs_own_step_goes(name: str, steps: int) -> None:
    part = OPTIMISERS[name]
    made, parameter = started(part, 0.2, steps)
    slope = torch.tensor([0.5, -2.0, 0.0, 1e-9], dtype=torch.float64)
    before = parameter.detach().clone()
    ahead = part.ahead(parameter, slope, made.state.get(parameter, {}), part.rate, 0.2)
    assert torch.equal(parameter.detach(), before)
    parameter.grad = slope.clone()
    made.step()
    torch.testing.assert_close(ahead.detach(), parameter.detach(), rtol=1e-12, atol=1e-14)
    assert not torch.equal(parameter.detach(), before)


@BY_NAME
def test_the_slope_of_the_step_is_that_of_differences(name: str) -> None:
    part = OPTIMISERS[name]
    made, parameter = started(part, 0.2, 2)
    slope = torch.tensor([0.5, -2.0, 0.1, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: part.ahead(parameter.detach(), g, made.state[parameter], part.rate, 0.2), slope)


@BY_NAME
def test_a_slope_of_zero_at_the_first_step_has_a_finite_derivative(name: str) -> None:
    slope = torch.zeros(3, requires_grad=True)
    OPTIMISERS[name].ahead(torch.ones(3), slope, {}, 0.1, 0.0).sum().backward()
    assert slope.grad is not None
    assert bool(slope.grad.isfinite().all())


def test_decay_in_the_gradient_is_not_decoupled_decay() -> None:
    """Adam normalises the decay away where it is all there is; AdamW takes its share of the weight."""
    weight, none = torch.tensor([10.0], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert float(Adam(0.1).ahead(weight, none, {}, 0.1, 0.01)) == pytest.approx(10 - 0.1)
    assert float(AdamW(0.1).ahead(weight, none, {}, 0.1, 0.01)) == pytest.approx(10 - 0.1 * 0.01 * 10)


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"rate": 0.1, "weight_decay": -1.0}, {"rate": 0.1, "beta1": 1.0}])
def test_adam_refuses_what_is_out_of_range(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"learning rate|Adam takes"):
        Adam(**wrong)
