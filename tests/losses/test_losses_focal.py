"""Focal loss: against a slow loop, the authors' values, its limits, and at probabilities of 0 and 1."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.errors import BadValue
from tailwise.losses import ClassWeighted, CrossEntropyLoss, FocalLoss, effective_number_weights, focal_factor

LOGITS = torch.randn(9, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 3, 3, 0, 2, 1, 0])
GAMMAS = pytest.mark.parametrize("gamma", [0.0, 0.2, 0.5, 1.0, 2.0, 5.0])


def slow(z: list[float], y: int, gamma: float) -> float:
    p = math.exp(z[y]) / sum(math.exp(v) for v in z)
    return -((1 - p) ** gamma) * math.log(p)


@GAMMAS
@pytest.mark.reference
def test_equals_a_slow_loop(gamma):
    rows = [slow(z, y, gamma) for z, y in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True)]
    for detach in (False, True):
        assert FocalLoss(gamma, detach)(LOGITS, TARGETS).item() == pytest.approx(sum(rows) / 9, rel=1e-12)
        assert FocalLoss(gamma, detach, reduction="sum")(LOGITS, TARGETS).item() == pytest.approx(sum(rows), rel=1e-12)


@GAMMAS
def test_gradcheck(gamma):
    assert torch.autograd.gradcheck(lambda z: FocalLoss(gamma)(z, TARGETS), LOGITS.clone().requires_grad_())


@pytest.mark.reference
def test_detached_gradient_is_the_factor_times_that_of_cross_entropy():
    z = LOGITS.clone().requires_grad_()
    FocalLoss(2.0, detach=True)(z, TARGETS).backward()
    p = torch.softmax(LOGITS, 1)
    expected = (1 - p[range(9), TARGETS])[:, None] ** 2 * (p - torch.nn.functional.one_hot(TARGETS, 4)) / 9
    torch.testing.assert_close(z.grad, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.limit
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [False, True])
def test_no_focusing_is_cross_entropy_to_the_bit(dtype, detach):
    logits = torch.cat([LOGITS, torch.tensor([[900.0, 0, 0, 0]])]).to(dtype)
    targets = torch.cat([TARGETS, torch.tensor([0])])
    made = []
    for criterion in (FocalLoss(0.0, detach), CrossEntropyLoss()):
        z = logits.clone().requires_grad_()
        loss = criterion(z, targets)
        loss.backward()
        made.append((loss.detach(), z.grad))
    assert torch.equal(made[0][0], made[1][0])
    assert torch.equal(made[0][1], made[1][1])


@GAMMAS
@pytest.mark.limit
def test_detached_or_not_is_one_value_and_one_gradient_without_focusing_only(gamma):
    made = []
    for detach in (False, True):
        z = LOGITS.clone().requires_grad_()
        loss = FocalLoss(gamma, detach)(z, TARGETS)
        loss.backward()
        made.append((loss.detach(), z.grad))
    assert torch.equal(made[0][0], made[1][0])
    assert torch.equal(made[0][1], made[1][1]) == (gamma == 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("lead", [1e-6, 8.0, 16.7, 17.5, 36.5, 37.5, 88.0, 104.0, 746.0, 1e4])
def test_sure_and_right_or_sure_and_wrong_is_finite(dtype, gamma, lead):
    """Right: the loss goes to 0 with its gradient. Wrong: it is cross-entropy, and so is its gradient."""
    logits = torch.tensor([[lead, 0.0], [lead, 0.0]], dtype=dtype, requires_grad=True)
    values, _ = FocalLoss(gamma).rows(logits, torch.tensor([0, 1]))
    values.sum().backward()
    assert bool(torch.isfinite(values).all())
    assert bool(torch.isfinite(logits.grad).all())
    assert 0 <= values[0].item() <= math.log(2)
    if lead > 50:
        assert values[0].item() < 1e-20
        assert logits.grad[0].abs().max().item() < 1e-20
        assert values[1].item() == pytest.approx(lead, rel=1e-6)
        torch.testing.assert_close(logits.grad[1], torch.tensor([1.0, -1.0], dtype=dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_keeps_its_digits_near_certainty(gamma):
    """For a small c = -log p, (1 - exp(-c))^gamma c is c^(1 + gamma) to first order: 1 - p itself would be 0 in float32."""
    losses = torch.tensor([1e-9, 1e-12], dtype=torch.float32)
    torch.testing.assert_close(focal_factor(losses, gamma), losses**gamma, rtol=1e-5, atol=0)


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), st.integers(0, 2), st.floats(0, 6))
def test_never_more_than_cross_entropy_and_always_finite(z, y, gamma):
    logits = torch.tensor([z], dtype=torch.float32, requires_grad=True)
    loss = FocalLoss(gamma)(logits, torch.tensor([y]))
    loss.backward()
    assert 0 <= loss.item() <= CrossEntropyLoss()(logits.detach(), torch.tensor([y])).item()
    assert bool(torch.isfinite(logits.grad).all())


def test_leaves_the_callers_logits_alone():
    logits = LOGITS.clone()
    FocalLoss()(logits, TARGETS)
    assert torch.equal(logits, LOGITS)


def test_the_prior_stays_in_the_logits():
    assert FocalLoss().prior_left((3.0, 1.0)) == (3.0, 1.0)
    assert FocalLoss().logit_scale == 1.0
    assert FocalLoss().rows(LOGITS, TARGETS)[1] is None


@pytest.mark.parametrize("gamma", [-0.5, math.inf, math.nan])
def test_a_gamma_outside_its_range_is_refused(gamma):
    with pytest.raises(BadValue, match="gamma is a finite number >= 0"):
        FocalLoss(gamma)


# --- the authors' code --------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize(("method", "detach"), [("focal_softmax", False), ("focal_softmax_detached", True)])
def test_equals_the_authors(records, method, detach):
    for record in records(method):
        logits = torch.tensor(record["inputs"]["logits"], dtype=torch.float64, requires_grad=True)
        loss = FocalLoss(record["params"]["gamma"], detach)(logits, torch.tensor(record["inputs"]["targets"]))
        loss.backward()
        assert loss.item() == pytest.approx(record["loss"], rel=1e-9)
        torch.testing.assert_close(logits.grad, torch.tensor(record["grad_logits"], dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.reference
def test_ldam_drws_weighted_form_has_the_weight_inside_the_factor(records):
    """Theirs takes p^w for p: the factor of the weighted losses. Ours over class weights keeps p, and multiplies afterwards."""
    for record in records("focal_softmax_weighted"):
        inputs, params = record["inputs"], record["params"]
        logits, targets = torch.tensor(inputs["logits"], dtype=torch.float64), torch.tensor(inputs["targets"])
        weights = effective_number_weights(inputs["counts"], params["beta"])[targets]
        losses = weights * CrossEntropyLoss(reduction="none")(logits, targets)
        assert (focal_factor(losses, params["gamma"]) * losses).mean().item() == pytest.approx(record["loss"], rel=1e-9)
        outside = ClassWeighted(FocalLoss(params["gamma"]), inputs["counts"], params["beta"], divisor="rows")
        p = torch.softmax(logits, 1)[range(len(targets)), targets]
        expected = (weights * (1 - p) ** params["gamma"] * -torch.log(p)).mean()
        assert outside(logits, targets).item() == pytest.approx(expected.item(), rel=1e-9)
