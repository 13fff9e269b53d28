"""SAM against the authors' values, a loop of its own, and the plain gradient."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from tailwise.optim import SAM


def network(seed: int = 0) -> tuple[dict[str, Tensor], list[bool], Callable[[bool], dict[str, Tensor]]]:
    """Give two layers' parameters, what `compute` was told, and `compute`."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(shape, generator=generator, requires_grad=True) for name, shape in {"a": (5, 6), "b": (3, 5), "c": (3,)}.items()
    }
    inputs, targets = torch.randn(8, 6, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    told: list[bool] = []

    def compute(moves_statistics: bool) -> dict[str, Tensor]:
        told.append(moves_statistics)
        loss = cross_entropy(linear(linear(inputs, weights["a"]).relu(), weights["b"], weights["c"]), targets)
        return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))

    return weights, told, compute


def linear_step(rule: SAM, inputs: dict) -> tuple[Tensor, list[Tensor], Tensor]:
    """Give a linear model's weight after the rule, the weights at which gradients were taken, and the rule's gradient."""
    features, weight = (torch.tensor(inputs[name], dtype=torch.float64) for name in ("features", "weight"))
    targets = torch.tensor(inputs["targets"])
    weight.requires_grad_()
    seen: list[Tensor] = []

    def compute(_: bool) -> dict[str, Tensor]:
        seen.append(weight.detach().clone())
        return {"weight": torch.autograd.grad(cross_entropy(linear(features, weight), targets), weight)[0]}

    gradient = rule(compute, {"weight": weight})["weight"]
    return weight.detach(), seen, gradient


@pytest.mark.reference
def test_equals_the_authors(records):
    """One step of plain SGD on a linear model: the ascended weights, and the weights after the step."""
    for record in records("sam"):
        params, inputs = record["params"], record["inputs"]
        weight, seen, gradient = linear_step(SAM(params["rho"], params["adaptive"]), inputs)
        expected = {name: torch.tensor(values, dtype=torch.float64) for name, values in record["outputs"].items()}
        torch.testing.assert_close(seen[1], expected["perturbed_weight"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(weight - params["lr"] * gradient, expected["weight"], rtol=1e-9, atol=1e-12)


@pytest.mark.reference
@pytest.mark.parametrize("adaptive", [False, True])
def test_offsets_equal_a_loop_over_numbers(adaptive):
    """One norm over all parameters, not one each."""
    weights = {"a": torch.tensor([3.0, -1.0], dtype=torch.float64), "b": torch.tensor([[0.5]], dtype=torch.float64)}
    gradients = {"a": torch.tensor([0.2, 0.4], dtype=torch.float64), "b": torch.tensor([[-2.0]], dtype=torch.float64)}
    pairs = [(3.0, 0.2), (-1.0, 0.4), (0.5, -2.0)]
    norm = math.sqrt(sum((abs(w) * g if adaptive else g) ** 2 for w, g in pairs)) + 1e-12
    expected = [0.3 * (w * w * g if adaptive else g) / norm for w, g in pairs]
    made = SAM(0.3, adaptive).ascent(weights, gradients)
    assert [*made["a"].tolist(), *made["b"].flatten().tolist()] == pytest.approx(expected, rel=1e-12)


def test_the_plain_offset_has_length_rho():
    weights, _, compute = network()
    made = SAM(0.7).ascent(weights, compute(True))
    assert math.sqrt(sum(e.square().sum().item() for e in made.values())) == pytest.approx(0.7, rel=1e-5)


@pytest.mark.limit
@pytest.mark.parametrize("adaptive", [False, True])
def test_no_radius_is_the_plain_gradient_to_the_bit(adaptive):
    weights, _, compute = network()
    plain = compute(True)
    made = SAM(0.0, adaptive)(compute, weights)
    assert all(torch.equal(made[name], plain[name]) for name in weights)


@pytest.mark.parametrize("adaptive", [False, True])
def test_parameters_are_restored_to_the_bit(adaptive):
    weights, _, compute = network()
    before = {name: w.detach().clone() for name, w in weights.items()}
    SAM(0.37, adaptive)(compute, weights)
    assert all(torch.equal(weights[name], before[name]) for name in weights)


def test_parameters_are_restored_when_the_second_pass_fails():
    weights, _, compute = network()
    before = {name: w.detach().clone() for name, w in weights.items()}

    def failing(first: bool) -> dict[str, Tensor]:
        if not first:
            raise RuntimeError("on the way")
        return compute(first)

    with pytest.raises(RuntimeError, match="on the way"):
        SAM(0.5)(failing, weights)
    assert all(torch.equal(weights[name], before[name]) for name in weights)


def test_statistics_move_in_the_first_pass_only():
    weights, told, compute = network()
    SAM()(compute, weights)
    assert told == [True, False]


def test_only_parameters_with_a_gradient_move():
    weights, _, compute = network()
    resting = torch.ones(2)

    def part(first: bool) -> dict[str, Tensor]:
        assert torch.equal(resting, torch.ones(2))
        return compute(first)

    assert set(SAM()(part, {**weights, "resting": resting})) == set(weights)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_gradient_of_zero_goes_nowhere(adaptive):
    made = SAM(0.5, adaptive).ascent({"a": torch.ones(3)}, {"a": torch.zeros(3)})
    assert made["a"].tolist() == [0.0, 0.0, 0.0]
