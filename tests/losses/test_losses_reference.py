"""Every criterion against a slow loop over its formula, against the authors' values, and against numerical gradients."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tailwise.losses import BalancedSoftmaxLoss, ClassWeighted, CrossEntropyLoss, LDAMLoss, effective_number_weights
from tailwise.losses.ldam import ldam_margins
from tailwise.objective import Criterion

COUNTS = [500, 100, 20, 4]
LOGITS = torch.randn(9, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 3, 3, 0, 2, 1, 0])

# --- slow versions, one number at a time --------------------------------------------------------------------------------


def slow_ce(z: list[float], y: int) -> float:
    return math.log(sum(math.exp(v - z[y]) for v in z))


def slow_balanced_softmax(z: list[float], y: int, counts: list[float], tau: float) -> float:
    total = sum(counts)
    return slow_ce([v + tau * math.log(n / total) for v, n in zip(z, counts, strict=True)], y)


def slow_ldam(u: list[float], y: int, counts: list[float], max_margin: float, scale: float) -> float:
    margin = max_margin * (min(counts) / counts[y]) ** 0.25
    return slow_ce([scale * (v - margin if k == y else v) for k, v in enumerate(u)], y)


def slow_weights(counts: list[float], beta: float) -> list[float]:
    raw = [(1 - beta) / (1 - beta**n) for n in counts]
    return [w * len(counts) / sum(raw) for w in raw]


def slow_values(name: str, z: list[float], y: int) -> float:
    match name:
        case "ce" | "ce weighted":
            return slow_ce(z, y)
        case "balanced softmax":
            return slow_balanced_softmax(z, y, COUNTS, 1.0)
        case "logit adjustment":
            return slow_balanced_softmax(z, y, COUNTS, 1.7)
        case _:
            return slow_ldam(z, y, COUNTS, 0.4, 12.0)


CRITERIA = {
    "ce": lambda **more: CrossEntropyLoss(**more),
    "balanced softmax": lambda **more: BalancedSoftmaxLoss(COUNTS, **more),
    "logit adjustment": lambda **more: BalancedSoftmaxLoss(COUNTS, tau=1.7, **more),
    "ldam": lambda **more: LDAMLoss(COUNTS, max_margin=0.4, scale=12.0, **more),
    "ce weighted": lambda **more: ClassWeighted(CrossEntropyLoss(), COUNTS, 0.99, **more),
    "ldam weighted": lambda **more: ClassWeighted(LDAMLoss(COUNTS, max_margin=0.4, scale=12.0), COUNTS, 0.99, **more),
}
EACH = pytest.mark.parametrize("name", CRITERIA)


def slow_all(name: str, logits: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
    """Give each row's loss and weight."""
    class_weights = slow_weights(COUNTS, 0.99) if "weighted" in name else [1.0] * 4
    rows = [slow_values(name, z.tolist(), y) for z, y in zip(logits, targets.tolist(), strict=True)]
    return rows, [class_weights[y] for y in targets.tolist()]


def value_and_gradient(criterion: Criterion, logits: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    z = logits.clone().requires_grad_()
    loss = criterion(z, targets)
    loss.backward()
    return loss.item(), z.grad


@EACH
@pytest.mark.reference
def test_equals_a_slow_loop_in_every_reduction(name):
    rows, weights = slow_all(name, LOGITS, TARGETS)
    weighted = [w * v for w, v in zip(weights, rows, strict=True)]
    expected = {"none": weighted, "sum": sum(weighted), "mean": sum(weighted) / sum(weights)}
    for reduction, value in expected.items():
        made = CRITERIA[name](reduction=reduction)(LOGITS, TARGETS)
        torch.testing.assert_close(made, torch.tensor(value, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@EACH
@pytest.mark.reference
def test_gradient_equals_differences_of_the_slow_loop(name):
    def mean(logits: Tensor) -> float:
        rows, weights = slow_all(name, logits, TARGETS)
        return sum(w * v for w, v in zip(weights, rows, strict=True)) / sum(weights)

    _, gradient = value_and_gradient(CRITERIA[name](), LOGITS, TARGETS)
    step = 1e-5
    for i in range(0, 9, 4):
        for k in range(4):
            offset = torch.zeros_like(LOGITS)
            offset[i, k] = step
            difference = (mean(LOGITS + offset) - mean(LOGITS - offset)) / (2 * step)
            assert gradient[i, k].item() == pytest.approx(difference, abs=1e-7)  # second-order differences: about scale^3 step^2


@EACH
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck(name, reduction):
    criterion = CRITERIA[name](reduction=reduction)
    assert torch.autograd.gradcheck(lambda z: criterion(z, TARGETS), LOGITS.clone().requires_grad_())


@EACH
def test_leaves_the_callers_logits_alone(name):
    logits = LOGITS.clone()
    CRITERIA[name]()(logits, TARGETS)
    assert torch.equal(logits, LOGITS)


@EACH
def test_keeps_the_dtype_of_the_logits(name):
    for dtype in (torch.float32, torch.float64):
        assert CRITERIA[name]()(LOGITS.to(dtype), TARGETS).dtype == dtype


@EACH
def test_float32_is_near_float64(name):
    near = CRITERIA[name]()(LOGITS.float(), TARGETS).item()
    assert near == pytest.approx(CRITERIA[name]()(LOGITS, TARGETS).item(), rel=1e-5)


@EACH
def test_has_no_saved_state(name):
    assert CRITERIA[name]().state_dict() == {}


@EACH
@pytest.mark.parametrize("size", [1e3, -1e3])
def test_large_logits_are_finite(name, size):
    for k in range(4):
        logits = torch.zeros(4, 4)
        logits[:, k] = size
        value, gradient = value_and_gradient(CRITERIA[name](), logits, torch.arange(4))
        assert math.isfinite(value)
        assert bool(torch.isfinite(gradient).all())


@EACH
@pytest.mark.fuzz
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.permutations(range(4)))
def test_permuting_classes_changes_nothing(name, seed, order):
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    targets = torch.tensor([0, 1, 2, 3, 0])
    counts = [COUNTS[k] for k in order]
    permuted = {
        "ce": CrossEntropyLoss(),
        "balanced softmax": BalancedSoftmaxLoss(counts),
        "logit adjustment": BalancedSoftmaxLoss(counts, tau=1.7),
        "ldam": LDAMLoss(counts, 0.4, 12.0),
        "ce weighted": ClassWeighted(CrossEntropyLoss(), counts, 0.99),
        "ldam weighted": ClassWeighted(LDAMLoss(counts, 0.4, 12.0), counts, 0.99),
    }[name]
    moved = torch.tensor([order.index(y) for y in targets.tolist()])
    torch.testing.assert_close(permuted(logits[:, order], moved), CRITERIA[name]()(logits, targets), rtol=1e-10, atol=1e-12)


# --- the authors' code --------------------------------------------------------------------------------------------------


def check(record: dict, criterion: Criterion) -> None:
    inputs = record["inputs"]
    logits = torch.tensor(inputs["logits"], dtype=torch.float64)
    value, gradient = value_and_gradient(criterion, logits, torch.tensor(inputs["targets"]))
    assert value == pytest.approx(record["loss"], rel=1e-9), record["id"]
    # 12 digits are stored, so an entry near zero is known to 1e-12 of the largest
    torch.testing.assert_close(gradient, torch.tensor(record["grad_logits"], dtype=torch.float64), rtol=1e-9, atol=1e-12, msg=record["id"])


@pytest.mark.reference
def test_cross_entropy_equals_the_authors(records):
    for record in records("cross_entropy"):
        check(record, CrossEntropyLoss())


@pytest.mark.reference
def test_balanced_softmax_equals_the_authors(records):
    for record in records("balanced_softmax"):
        check(record, BalancedSoftmaxLoss(record["inputs"]["counts"]))


@pytest.mark.reference
def test_logit_adjustment_equals_the_authors(records):
    for record in records("logit_adjustment"):
        check(record, BalancedSoftmaxLoss(record["inputs"]["counts"], record["params"]["tau"]))


@pytest.mark.reference
def test_ldam_equals_the_authors(records):
    for record in records("ldam"):
        check(record, LDAMLoss(record["inputs"]["counts"], record["params"]["max_m"], record["params"]["s"]))


@pytest.mark.reference
def test_ldam_drw_equals_the_authors(records):
    for record in records("ldam_drw"):
        counts, params = record["inputs"]["counts"], record["params"]
        check(record, ClassWeighted(LDAMLoss(counts, params["max_m"], params["s"]), counts, params["beta"]))


@pytest.mark.reference
def test_class_balanced_cross_entropy_equals_the_authors(records):
    for record in records("class_balanced_ce"):
        check(record, ClassWeighted(CrossEntropyLoss(), record["inputs"]["counts"], record["params"]["beta"]))


@pytest.mark.reference
def test_class_balanced_weights_equal_the_authors(records):
    for record in records("class_balanced_weights"):
        made = effective_number_weights(record["inputs"]["counts"], record["params"]["beta"])
        torch.testing.assert_close(made, torch.tensor(record["outputs"]["weights"], dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.reference
def test_deferred_weights_equal_the_authors(records):
    """Their beta is 0 before the start and 0.9999 from it on."""
    for record in records("drw_weights"):
        params = record["params"]
        made = effective_number_weights(record["inputs"]["counts"], 0.9999 if params["epoch"] >= params["start"] else 0.0)
        torch.testing.assert_close(made, torch.tensor(record["outputs"]["weights"], dtype=torch.float64), rtol=1e-9, atol=0)


# --- the constants by hand ----------------------------------------------------------------------------------------------


def test_margins_by_hand():
    """(1 / 81)^(1/4) = 1/3 and (1 / 16)^(1/4) = 1/2; an empty class has none and does not count as the smallest."""
    torch.testing.assert_close(ldam_margins([81, 16, 1, 0], 0.6), torch.tensor([0.2, 0.3, 0.6, 0.0], dtype=torch.float64))


def test_weights_by_hand():
    """With beta = 1/2 a class of 1, 2 and 3 images has 1, 3/2 and 7/4 effective images: weights 1, 2/3, 4/7, times 3 over their sum."""
    total = 1 + 2 / 3 + 4 / 7
    made = effective_number_weights([1, 2, 3], 0.5).tolist()
    assert made == pytest.approx([3 / total, 2 / total, 12 / 7 / total], rel=1e-12)


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30).filter(any), st.floats(0, 1, exclude_max=True))
def test_weights_sum_to_the_classes_that_have_images(counts, beta):
    made = effective_number_weights(counts, beta)
    present = [n for n in counts if n > 0]
    assert made.sum().item() == pytest.approx(len(present), rel=1e-9)
    assert all((w == 0) == (n == 0) for w, n in zip(made.tolist(), counts, strict=True))
    ordered = sorted((n, w) for n, w in zip(counts, made.tolist(), strict=True) if n > 0)
    assert all(a[1] >= b[1] * (1 - 1e-9) for a, b in itertools.pairwise(ordered))
