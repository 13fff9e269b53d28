"""Empty classes, counts that are still to come, what is refused, and what criteria say about themselves."""

import numpy as np
import pytest
import torch

from tailwise.counts import SHOWN
from tailwise.errors import BadValue
from tailwise.losses import BalancedSoftmaxLoss, ClassWeighted, CrossEntropyLoss, LDAMLoss, effective_number_weights
from tailwise.objective import Criterion
from tailwise.specification import fill_shown

EMPTY = [50, 0, 5, 1]
LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 2, 3, 0, 2, 3])
OVER_EMPTY = [
    BalancedSoftmaxLoss(EMPTY),
    BalancedSoftmaxLoss(EMPTY, tau=2.5),
    LDAMLoss(EMPTY),
    ClassWeighted(CrossEntropyLoss(), EMPTY),
    ClassWeighted(LDAMLoss(EMPTY), EMPTY),
    ClassWeighted(BalancedSoftmaxLoss(EMPTY), EMPTY),
]


@pytest.mark.parametrize("criterion", OVER_EMPTY)
def test_an_empty_class_leaves_value_and_gradient_finite(criterion):
    logits = LOGITS.clone().requires_grad_()
    criterion(logits, TARGETS).backward()
    assert bool(torch.isfinite(logits.grad).all())
    assert float(logits.grad.abs().sum()) > 0


def test_balanced_softmax_leaves_an_empty_class_out():
    """The shifted logit is minus infinity: the others form the softmax alone, and the empty class gets no gradient."""
    logits = LOGITS.double().requires_grad_()
    BalancedSoftmaxLoss(EMPTY)(logits, TARGETS).backward()
    assert bool((logits.grad[:, 1] == 0).all())
    rest = LOGITS.double()[:, [0, 2, 3]].requires_grad_()
    loss = BalancedSoftmaxLoss([50, 5, 1])(rest, torch.tensor([0, 1, 2, 0, 1, 2]))
    loss.backward()
    torch.testing.assert_close(logits.grad[:, [0, 2, 3]], rest.grad)


def test_an_empty_class_leaves_the_other_margins():
    with_empty, without = LDAMLoss(EMPTY), LDAMLoss([50, 5, 1])
    torch.testing.assert_close(with_empty.margins[[0, 2, 3]], without.margins)
    assert float(with_empty.margins[1]) == 0


def test_an_empty_class_leaves_the_other_weights():
    made = effective_number_weights(EMPTY, 0.99)
    torch.testing.assert_close(made[[0, 2, 3]], effective_number_weights([50, 5, 1], 0.99))
    assert float(made[1]) == 0


@pytest.mark.parametrize("counts", [[-1, 2], [], [float("nan"), 1], [float("inf"), 1], [[1, 2], [3, 4]], 7, {"a": 1}])
@pytest.mark.parametrize(
    "make", [BalancedSoftmaxLoss, LDAMLoss, lambda counts: ClassWeighted(CrossEntropyLoss(), counts)], ids=["bsm", "ldam", "weighted"]
)
def test_counts_that_are_none_are_refused(make, counts):
    with pytest.raises(BadValue, match="class counts") as refused:
        make(counts)
    assert "\n" not in str(refused.value)


def test_counts_that_are_all_zero_are_refused():
    """So says the docstring: there is no prior."""
    with pytest.raises(BadValue):
        BalancedSoftmaxLoss([0, 0])


@pytest.mark.parametrize("beta", [1.0, 1.5, -0.1, float("nan")])
def test_beta_outside_its_range_is_refused(beta):
    with pytest.raises(BadValue, match="beta"):
        effective_number_weights([3, 2], beta)


@pytest.mark.parametrize("counts", [[30, 10], (30.0, 10.0), np.array([30, 10]), torch.tensor([30, 10])])
def test_counts_may_be_any_flat_sequence(counts):
    assert BalancedSoftmaxLoss(counts)(torch.zeros(1, 2), torch.tensor([0])).item() == pytest.approx(-np.log(0.75), rel=1e-6)


@pytest.mark.parametrize(
    "criterion", [BalancedSoftmaxLoss(), BalancedSoftmaxLoss(SHOWN, 2.0), LDAMLoss(SHOWN), ClassWeighted(CrossEntropyLoss(), SHOWN)]
)
def test_counts_to_come_refuse_a_call(criterion):
    with pytest.raises(BadValue, match="needs class counts") as refused:
        criterion(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert "\n" not in str(refused.value)


def test_counts_to_come_underneath_refuse_a_call():
    with pytest.raises(BadValue, match="needs class counts"):
        ClassWeighted(BalancedSoftmaxLoss(SHOWN), [3, 1])(torch.zeros(2, 2), torch.tensor([0, 1]))


def test_counts_are_filled_in_everywhere():
    made = fill_shown(ClassWeighted(BalancedSoftmaxLoss(SHOWN), SHOWN), (3.0, 1.0))
    torch.testing.assert_close(
        made(torch.zeros(1, 2), torch.tensor([0])), BalancedSoftmaxLoss([3, 1])(torch.zeros(1, 2), torch.tensor([0]))
    )


def test_every_criterion_says_what_prior_it_leaves():
    def left(criterion: Criterion, *masses: float) -> list[float]:
        found = criterion.prior_left(masses or (3.0, 1.0))
        return [mass / sum(found) for mass in found]

    assert left(BalancedSoftmaxLoss([3, 1])) == left(BalancedSoftmaxLoss(SHOWN)) == pytest.approx([1 / 2, 1 / 2])
    assert left(BalancedSoftmaxLoss([3, 1], tau=0.5)) == pytest.approx([3**0.5 / (3**0.5 + 1), 1 / (3**0.5 + 1)])
    assert left(BalancedSoftmaxLoss([1, 3])) == pytest.approx([9 / 10, 1 / 10])
    assert left(ClassWeighted(CrossEntropyLoss(), [3, 1], beta=0.999999)) == pytest.approx([1 / 2, 1 / 2], rel=1e-4)
    for nothing in (
        CrossEntropyLoss(),
        LDAMLoss([3, 1]),
        BalancedSoftmaxLoss([3, 1], tau=0.0),
        BalancedSoftmaxLoss([3, 3]),
        ClassWeighted(CrossEntropyLoss(), [3, 1], beta=0.0),
        ClassWeighted(BalancedSoftmaxLoss([3, 1]), [3, 3]),  # its own effect alone
    ):
        assert left(nothing) == pytest.approx([3 / 4, 1 / 4])
    assert left(BalancedSoftmaxLoss([3, 1, 0]), 3.0, 1.0, 0.0) == pytest.approx([1 / 2, 1 / 2, 0])


def test_the_scale_of_the_softmax_is_said():
    assert LDAMLoss([3, 1], scale=12.0).logit_scale == 12.0
    assert ClassWeighted(LDAMLoss([3, 1], scale=12.0), [3, 1]).logit_scale == 12.0
    assert BalancedSoftmaxLoss([3, 1]).logit_scale == CrossEntropyLoss().logit_scale == 1.0


@pytest.mark.parametrize(
    "criterion",
    [CrossEntropyLoss(), BalancedSoftmaxLoss([9] * 1000), LDAMLoss(range(1, 1001)), ClassWeighted(CrossEntropyLoss(), range(1, 1001))],
)
def test_a_thousand_classes(criterion):
    logits = torch.zeros(3, 1000, requires_grad=True)
    criterion(logits, torch.tensor([0, 500, 999])).backward()
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("criterion", [CrossEntropyLoss(), BalancedSoftmaxLoss([9, 1]), LDAMLoss([9, 1])])
def test_one_row_is_its_own_mean(criterion):
    logits, target = torch.tensor([[0.3, -0.2]]), torch.tensor([1])
    values, weights = criterion.rows(logits, target)
    assert weights is None
    assert criterion(logits, target).item() == values.item()
