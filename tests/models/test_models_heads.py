"""The scaled linear head: a linear head at scale one, and always a linear map."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from tailwise.models.heads import LinearHead, NormalisedHead, ScaledLinearHead, linear_weights

FEATURES = torch.randn(7, 5, generator=torch.Generator().manual_seed(2))


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def scaled_like(linear: torch.nn.Module, scale: list[float] | None = None) -> torch.nn.Module:
    head = ScaledLinearHead().build(5, 3)
    head.load_state_dict({**linear.state_dict(), "scale": torch.tensor(scale or [1.0] * 3)})
    return head


@pytest.mark.limit
def test_scale_one_is_the_linear_head_to_the_bit():
    """And so is the gradient in the features."""
    linear, gradients = LinearHead().build(5, 3), []
    for head in (linear, scaled_like(linear)):
        features = FEATURES.clone().requires_grad_()
        cross_entropy(head(features), torch.tensor([0, 1, 2, 0, 1, 2, 0])).backward()
        gradients.append(features.grad)
    assert torch.equal(scaled_like(linear)(FEATURES), linear(FEATURES))
    assert torch.equal(*gradients)


@pytest.mark.reference
def test_scales_each_classs_logit_bias_included():
    """As the authors' code: s_k (w_k h + b_k), one class at a time."""
    linear, scale = LinearHead().build(5, 3), [2.0, -1.0, 0.5]
    made = scaled_like(linear, scale)(FEATURES)
    for k in range(3):
        torch.testing.assert_close(made[:, k], scale[k] * (FEATURES @ linear.weight[k] + linear.bias[k]))


def test_names_are_those_of_the_linear_head_and_a_scale():
    linear, scaled = LinearHead().build(5, 3), ScaledLinearHead().build(5, 3)
    assert set(scaled.state_dict()) == {*linear.state_dict(), "scale"}
    assert scaled.scale.tolist() == [1.0, 1.0, 1.0]


def test_fresh_values_leave_the_scale_at_one():
    scaled = ScaledLinearHead().build(5, 3)
    before = scaled.weight.clone()
    scaled.reset_parameters()
    assert not torch.equal(scaled.weight, before)
    assert scaled.scale.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.reference
def test_its_linear_weights_give_its_logits():
    head = scaled_like(LinearHead().build(5, 3), [2.0, -1.0, 0.5])
    weight, bias = linear_weights(head)
    torch.testing.assert_close(FEATURES @ weight.T + bias, head(FEATURES))


def test_a_head_that_is_not_linear_has_none():
    assert linear_weights(NormalisedHead().build(5, 3)) is None


def test_gradient_of_the_scale_equals_differences():
    linear = LinearHead().build(5, 3).double()
    head = scaled_like(linear, [1.5, 0.7, 1.0]).double()
    targets = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    features = FEATURES.double()

    def loss(scale: torch.Tensor) -> torch.Tensor:
        return cross_entropy(torch.func.functional_call(head, {"scale": scale}, features), targets)

    assert torch.autograd.gradcheck(loss, head.scale.detach().clone().requires_grad_())


def test_it_counts_as_linear():
    """Post-hoc parts that need `W h + b` take it, as `linear_weights` gives them."""
    assert isinstance(ScaledLinearHead(), LinearHead)
    assert ScaledLinearHead() != LinearHead()
