"""Limits: each criterion equals a simpler one, in value and gradient (table A of the reference)."""

import pytest
import torch
from torch import Tensor

from tailwise.losses import BalancedSoftmaxLoss, ClassWeighted, CrossEntropyLoss, FrequencyWeighted, LDAMLoss, effective_number_weights
from tailwise.objective import Criterion

pytestmark = pytest.mark.limit

COUNTS = [500, 100, 20, 4]
EVEN = [7, 7, 7, 7]
LOGITS = torch.randn(9, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 3, 3, 0, 2, 1, 0])
CE = CrossEntropyLoss()


def results(criterion, targets: Tensor = TARGETS, logits: Tensor = LOGITS) -> tuple[Tensor, Tensor]:
    z = logits.clone().requires_grad_()
    loss = criterion(z, targets)
    return loss.detach(), torch.autograd.grad(loss, z)[0]


def assert_equal(one, other, targets: Tensor = TARGETS, rtol: float = 1e-12) -> None:
    for a, b in zip(results(one, targets), results(other, targets), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-13)


def scaled(criterion: Criterion, factor: float):
    return lambda z, y: criterion(factor * z, y)


def test_zero_tau_is_cross_entropy():
    assert_equal(BalancedSoftmaxLoss(COUNTS, tau=0.0), CE, rtol=0)


def test_zero_tau_is_cross_entropy_with_an_empty_class():
    assert_equal(BalancedSoftmaxLoss([5, 0, 3, 1], tau=0.0), CE, rtol=0)


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
def test_balanced_softmax_on_even_counts_is_cross_entropy(tau):
    assert_equal(BalancedSoftmaxLoss(EVEN, tau), CE)


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_balanced_softmax_takes_proportions_only(tau):
    assert_equal(BalancedSoftmaxLoss([10 * n for n in COUNTS], tau), BalancedSoftmaxLoss(COUNTS, tau))


def test_balanced_softmax_counts_need_no_normalisation():
    """Published with log n_k in place of log pi_k."""
    log_counts = torch.log(torch.tensor(COUNTS, dtype=torch.float64))
    assert_equal(BalancedSoftmaxLoss(COUNTS), lambda z, y: CE(z + log_counts, y))


def test_no_margin_is_scaled_cross_entropy():
    assert_equal(LDAMLoss(COUNTS, max_margin=0.0, scale=30.0), scaled(CE, 30.0))


def test_no_margin_and_scale_one_is_cross_entropy():
    assert_equal(LDAMLoss(COUNTS, max_margin=0.0, scale=1.0), CE)


def test_margins_of_even_counts_are_one_margin():
    """CosFace: every target's cosine is lowered by the same margin."""

    def cosface(u: Tensor, y: Tensor) -> Tensor:
        margin = 0.5 * torch.nn.functional.one_hot(y, 4)
        return CE(30.0 * (u - margin), y)

    assert_equal(LDAMLoss(EVEN, max_margin=0.5, scale=30.0), cosface)


@pytest.mark.parametrize("inner", [CE, LDAMLoss(COUNTS), BalancedSoftmaxLoss(COUNTS)])
def test_zero_beta_leaves_the_criterion(inner):
    assert_equal(ClassWeighted(inner, COUNTS, beta=0.0), inner)


@pytest.mark.parametrize("inner", [CE, LDAMLoss(COUNTS)])
def test_weights_of_even_counts_leave_the_criterion(inner):
    assert_equal(ClassWeighted(inner, EVEN, beta=0.99), inner)


@pytest.mark.parametrize("inner", [CE, LDAMLoss(COUNTS), BalancedSoftmaxLoss(COUNTS)])
@pytest.mark.parametrize("label", range(4))
def test_a_batch_of_one_class_is_unweighted(inner, label):
    assert_equal(ClassWeighted(inner, COUNTS, beta=0.9999), inner, torch.full((9,), label))


@pytest.mark.parametrize("beta", [0.9, 0.9999])
def test_weighted_cross_entropy_is_torchs(beta):
    weights = effective_number_weights(COUNTS, beta)
    assert_equal(ClassWeighted(CE, COUNTS, beta), lambda z, y: torch.nn.functional.cross_entropy(z, y, weight=weights))


def test_rescaling_the_weights_changes_nothing():
    one, other = ClassWeighted(CE, COUNTS), ClassWeighted(CE, COUNTS)
    other.class_weights.mul_(37.0)
    assert_equal(one, other)


def test_weights_over_weights_multiply():
    """Two wrappers with beta near 1 weigh by 1 / n^2."""
    twice = ClassWeighted(ClassWeighted(CE, COUNTS, 1 - 1e-12), COUNTS, 1 - 1e-12)
    inverse = torch.tensor([1 / n**2 for n in COUNTS], dtype=torch.float64)
    assert_equal(twice, lambda z, y: torch.nn.functional.cross_entropy(z, y, weight=inverse), rtol=1e-6)


def test_weights_over_ldam_are_the_published_combination():
    weights = effective_number_weights(COUNTS, 0.999)

    def published(u: Tensor, y: Tensor) -> Tensor:
        margins = torch.tensor([0.5 * (4 / n) ** 0.25 for n in COUNTS], dtype=torch.float64)
        lowered = u - torch.nn.functional.one_hot(y, 4) * margins
        return torch.nn.functional.cross_entropy(30 * lowered, y, weight=weights)

    assert_equal(ClassWeighted(LDAMLoss(COUNTS), COUNTS, 0.999), published)


def test_zero_beta_gives_ones():
    assert effective_number_weights(COUNTS, 0.0).tolist() == [1.0] * 4


@pytest.mark.parametrize("gap", [1e-9, 1e-12, 1e-15])
def test_beta_near_one_gives_inverse_frequency(gap):
    """The plain form (1 - beta) / (1 - beta^n) keeps no digit at 1e-15."""
    inverse = torch.tensor([1 / n for n in COUNTS], dtype=torch.float64)
    made = effective_number_weights(COUNTS, 1 - gap)
    torch.testing.assert_close(made, inverse * 4 / inverse.sum(), rtol=max(COUNTS) * gap + 1e-12, atol=0)


@pytest.mark.parametrize("divisor", ["weights", "rows"])
def test_beta_near_one_is_inverse_frequency_in_value_and_gradient(divisor):
    assert_equal(ClassWeighted(CE, COUNTS, 1 - 1e-12, divisor=divisor), FrequencyWeighted(CE, COUNTS, divisor=divisor), rtol=1e-9)


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0, 1.2])
def test_generalised_re_weighting_is_cost_sensitive_cross_entropy(power):
    """Published as pi_k^-rho and as (n_min / n_k)^g; over the sum of weights a common factor is none."""
    n = torch.tensor(COUNTS, dtype=torch.float64)
    for weights in ((n / n.sum()) ** -power, (n.min() / n) ** power):
        published = lambda z, y, weights=weights: torch.nn.functional.cross_entropy(z, y, weight=weights)  # noqa: E731
        assert_equal(FrequencyWeighted(CE, COUNTS, power), published)


def test_balanced_softmax_is_adjusted_cross_entropy_prior_ce_and_bayias():
    """PriorCE has log(pi + 1e-9), which moves results by some 1e-9 / pi; Bayias takes log q off, which is a constant for a uniform q."""
    prior = torch.tensor(COUNTS, dtype=torch.float64) / sum(COUNTS)
    uniform = torch.full((4,), 0.25, dtype=torch.float64)
    assert_equal(BalancedSoftmaxLoss(COUNTS), BalancedSoftmaxLoss(COUNTS, tau=1.0), rtol=0)
    assert_equal(BalancedSoftmaxLoss(COUNTS), lambda z, y: CE(z + prior.log() - uniform.log(), y))
    for a, b in zip(results(BalancedSoftmaxLoss(COUNTS)), results(lambda z, y: CE(z + (prior + 1e-9).log(), y)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9 / float(prior.min()), atol=1e-9)


def test_a_margin_of_zero_for_all_is_scaled_cross_entropy():
    """CosFace at m = 0: even counts and no margin."""
    assert_equal(LDAMLoss(EVEN, max_margin=0.0, scale=16.0), scaled(CE, 16.0), rtol=0)
