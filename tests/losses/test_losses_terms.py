"""Terms, mixed labels and row weights against a plain loop over rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tailwise.errors import BadValue
from tailwise.losses import BalancedSoftmaxLoss, ClassWeighted, CrossEntropyLoss, LDAMLoss
from tailwise.objective import Clock, Objective, Out, Sample, Scaled, Supervised, Term, as_counts, mixed, weighted

COUNTS = [500, 100, 20, 4]
GENERATOR = torch.Generator().manual_seed(11)
LOGITS = torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64)
FIRST, SECOND = torch.tensor([0, 1, 2, 3, 0, 2]), torch.tensor([3, 1, 0, 2, 1, 2])
SHARE = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0, 0.3], dtype=torch.float64)
ROW_WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 0.0, 3.0, 0.25], dtype=torch.float64)
CRITERIA = [
    CrossEntropyLoss(),
    BalancedSoftmaxLoss(COUNTS),
    LDAMLoss(COUNTS),
    ClassWeighted(CrossEntropyLoss(), COUNTS, 0.99),
    ClassWeighted(LDAMLoss(COUNTS), COUNTS, 0.99),
]
EACH = pytest.mark.parametrize("criterion", CRITERIA, ids=["ce", "bsm", "ldam", "ce-weighted", "ldam-weighted"])


def reduced(term: Term) -> Tensor:
    return term.factor * term.numerator() / term.denominator()


def one_row(criterion, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    values, weights = criterion.rows(logits[None], target[None])
    return values[0], torch.ones((), dtype=torch.float64) if weights is None else weights[0]


def slow_mixed(criterion, logits: Tensor) -> Tensor:
    """lam w_a l_a + (1 - lam) w_b l_b a row, over the rows, or over lam w_a + (1 - lam) w_b where the criterion divides by weights."""
    top, bottom = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for i in range(6):
        a, w_a = one_row(criterion, logits[i], FIRST[i])
        b, w_b = one_row(criterion, logits[i], SECOND[i])
        top = top + SHARE[i] * w_a * a + (1 - SHARE[i]) * w_b * b
        bottom = bottom + (SHARE[i] * w_a + (1 - SHARE[i]) * w_b if criterion.divisor == "weights" else 1.0)
    return top / bottom


def slow_weighted(criterion, logits: Tensor) -> Tensor:
    top, bottom = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for i in range(6):
        value, weight = one_row(criterion, logits[i], FIRST[i])
        top, bottom = top + ROW_WEIGHTS[i] * weight * value, bottom + ROW_WEIGHTS[i] * weight
    return top / bottom


def assert_same(one, other) -> None:
    for a, b in zip(value_and_gradient(one), value_and_gradient(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def value_and_gradient(function) -> tuple[Tensor, Tensor]:
    logits = LOGITS.clone().requires_grad_()
    value = function(logits)
    return value.detach(), torch.autograd.grad(value, logits)[0]


@EACH
@pytest.mark.reference
def test_mixed_labels_equal_a_loop(criterion):
    assert_same(
        lambda z: reduced(mixed(criterion.term(z, FIRST), criterion.term(z, SECOND), SHARE)),
        lambda z: slow_mixed(criterion, z),
    )


@pytest.mark.reference
def test_mixed_cross_entropy_is_that_of_soft_labels():
    one_hot = nn.functional.one_hot
    soft = SHARE[:, None] * one_hot(FIRST, 4) + (1 - SHARE)[:, None] * one_hot(SECOND, 4)
    ce = CrossEntropyLoss()
    assert_same(lambda z: reduced(mixed(ce.term(z, FIRST), ce.term(z, SECOND), SHARE)), lambda z: -(soft * z.log_softmax(1)).sum() / len(z))


@EACH
@pytest.mark.reference
def test_weighted_rows_equal_a_loop(criterion):
    assert_same(lambda z: reduced(weighted(criterion.term(z, FIRST), ROW_WEIGHTS)), lambda z: slow_weighted(criterion, z))


@EACH
@pytest.mark.limit
def test_a_whole_share_is_no_mixing(criterion):
    ones = torch.ones(6, dtype=torch.float64)
    assert_same(
        lambda z: reduced(mixed(criterion.term(z, FIRST), criterion.term(z, SECOND), ones)), lambda z: reduced(criterion.term(z, FIRST))
    )
    assert_same(
        lambda z: reduced(mixed(criterion.term(z, FIRST), criterion.term(z, SECOND), 0 * ones)),
        lambda z: reduced(criterion.term(z, SECOND)),
    )


@EACH
@pytest.mark.limit
def test_row_weights_of_one_change_nothing(criterion):
    assert_same(
        lambda z: reduced(weighted(criterion.term(z, FIRST), torch.ones(6, dtype=torch.float64))),
        lambda z: reduced(criterion.term(z, FIRST)),
    )


@EACH
@pytest.mark.limit
def test_a_whole_share_is_no_mixing_of_weighted_rows(criterion):
    ones = torch.ones(6, dtype=torch.float64)
    assert_same(
        lambda z: reduced(weighted(mixed(criterion.term(z, FIRST), criterion.term(z, SECOND), ones), ROW_WEIGHTS)),
        lambda z: reduced(weighted(criterion.term(z, FIRST), ROW_WEIGHTS)),
    )


@EACH
@pytest.mark.limit
def test_rescaled_row_weights_change_nothing_of_mixed_rows(criterion):
    """The divisor counts rows by their weight, mixed or not."""

    def loss(z: Tensor, factor: float) -> Tensor:
        return reduced(weighted(mixed(criterion.term(z, FIRST), criterion.term(z, SECOND), SHARE), factor * ROW_WEIGHTS))

    assert_same(lambda z: loss(z, 1.0), lambda z: loss(z, 7.0))


def test_mixing_keeps_divisor_and_factor():
    term = Term(torch.ones(2), None, "rows", 0.5)
    made = mixed(term, Term(torch.zeros(2)), torch.tensor([1.0, 0.5]))
    assert (made.divisor, made.factor) == ("rows", 0.5)
    assert reduced(made).item() == pytest.approx(0.5 * 1.5 / 2)


def test_classes_without_weight_mix_to_zero():
    """Both labels of a class that has no images: no loss, no weight, and a finite gradient."""
    criterion = ClassWeighted(CrossEntropyLoss(), [5, 0])
    logits = torch.zeros(2, 2, requires_grad=True)
    term = mixed(criterion.term(logits, torch.tensor([1, 0])), criterion.term(logits, torch.tensor([1, 0])), torch.tensor([0.5, 0.5]))
    reduced(term).backward()
    assert term.weights.tolist() == [0.0, 1.0]
    assert bool(torch.isfinite(logits.grad).all())
    assert logits.grad[0].tolist() == [0.0, 0.0]


def test_no_row_weights_leave_the_term():
    term = CrossEntropyLoss().term(LOGITS, FIRST)
    assert weighted(term, None) is term


def test_a_batch_term_is_divided_by_one():
    term = Term(torch.tensor(3.0), divisor="batch")
    assert reduced(term).item() == 3.0


def test_the_denominator_is_a_constant():
    weights = torch.ones(3, requires_grad=True)
    assert not Term(torch.ones(3), weights, "weights").denominator().requires_grad


@pytest.mark.fuzz
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 5), st.sampled_from(CRITERIA))
def test_parts_of_a_batch_add_up(cut, criterion):
    """Numerators and denominators of two parts give the whole batch's mean."""
    parts = [criterion.term(LOGITS[rows], FIRST[rows]) for rows in (slice(0, cut), slice(cut, 6))]
    joined = sum(p.numerator() for p in parts) / sum(p.denominator() for p in parts)
    torch.testing.assert_close(joined, criterion(LOGITS, FIRST), rtol=1e-12, atol=0)


# --- the ready-made objective -------------------------------------------------------------------------------------------


class Direct(nn.Module):
    """The images are the logits."""

    def forward(self, images: Tensor) -> Out:
        return Out(images, images)


NOW = Clock(epoch=0, epochs=1, step=0, steps=1, total=0, seed=0)


def sample(**extra: Tensor) -> dict[str, Sample]:
    return {"main": Sample((LOGITS,), FIRST, torch.arange(6), extra)}


@EACH
def test_supervised_is_its_criterion(criterion):
    torch.testing.assert_close(reduced(Supervised(criterion).loss(Direct(), sample(), NOW)), criterion(LOGITS, FIRST))


@EACH
def test_supervised_uses_mixed_labels_and_row_weights(criterion):
    objective = Supervised(criterion)
    made = reduced(objective.loss(Direct(), sample(mixed_targets=SECOND, share=SHARE), NOW))
    torch.testing.assert_close(made, slow_mixed(criterion, LOGITS))
    torch.testing.assert_close(reduced(objective.loss(Direct(), sample(weight=ROW_WEIGHTS), NOW)), slow_weighted(criterion, LOGITS))


def test_predictions_are_on_the_scale_of_the_softmax():
    predictor = Supervised(LDAMLoss(COUNTS, scale=12.0)).predictor(Direct())
    assert isinstance(predictor, Scaled)
    out = predictor(LOGITS)
    torch.testing.assert_close(out.logits, 12 * LOGITS)
    assert torch.equal(out.features, LOGITS)
    net = Direct()
    assert Supervised(CrossEntropyLoss()).predictor(net) is net


def test_unlabelled_rows_refuse_labels():
    with pytest.raises(BadValue, match="unlabelled"):
        _ = Sample((LOGITS,), None, torch.arange(6)).labels


def test_kept_rows_are_joined_in_order_once():
    objective = Objective()
    a, b = torch.ones(2, 3, requires_grad=True), torch.zeros(1, 3)
    objective.keep(rows=a)
    objective.keep(rows=b)
    kept = objective.take_kept()
    assert torch.equal(kept["rows"], torch.cat([a, b]))
    assert not kept["rows"].requires_grad
    assert objective.take_kept() == {}


def test_the_clock_draws_by_purpose_and_step():
    def draw(purpose: str, total: int, epoch: int = 0) -> float:
        return Clock(epoch, 10, 0, 5, total, seed=3).rng(purpose).random()

    assert draw("noise", 4) == draw("noise", 4)
    assert draw("noise", 4) == draw("noise", 4, epoch=7)  # the total says it all
    assert len({draw("noise", 4), draw("noise", 5), draw("other", 4)}) == 3


def test_progress_is_the_share_of_the_recipe():
    assert Clock(epoch=3, epochs=4, step=1, steps=2, total=7, seed=0).progress == 0.875


def test_counts_become_a_float64_tensor():
    made = as_counts((3, 1))
    assert made.dtype == torch.float64
    assert made.tolist() == [3.0, 1.0]
