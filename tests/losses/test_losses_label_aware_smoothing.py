"""Label-aware smoothing: shares by hand, the loss against a slow loop, its limits, classes without images."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from tailwise.errors import BadValue
from tailwise.losses import CrossEntropyLoss, LabelAwareSmoothingLoss, label_smoothing_factors

COUNTS = (120, 45, 20, 4)
LOGITS = 2 * torch.randn(9, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 3, 3, 0, 2, 1, 0])
SHAPES = pytest.mark.parametrize("shape", ["concave", "convex", 1.0, 2.0, 0.5])


def slow_share(n: float, counts: tuple[int, ...], head: float, tail: float, shape: object) -> float:
    """The formulas of the reference, one class at a time."""
    u = (n - min(counts)) / (max(counts) - min(counts))
    if shape == "concave":
        return tail + (head - tail) * math.sin(math.pi / 2 * u)
    if shape == "convex":
        return head + (head - tail) * math.sin(1.5 * math.pi + math.pi / 2 * u)
    return tail + (head - tail) * u**shape


def slow(z: list[float], y: int, shares: list[float]) -> float:
    log_sum = math.log(sum(math.exp(v) for v in z))
    costs = [log_sum - v for v in z]
    return (1 - shares[y]) * costs[y] + sum(shares[y] / (len(z) - 1) * cost for k, cost in enumerate(costs) if k != y)


@SHAPES
@pytest.mark.reference
def test_shares_and_loss_equal_a_slow_loop(shape):
    shares = [slow_share(n, COUNTS, 0.4, 0.1, shape) for n in COUNTS]
    loss = LabelAwareSmoothingLoss(COUNTS, 0.4, 0.1, shape)
    assert loss.smoothing.tolist() == pytest.approx(shares, rel=1e-12)
    rows = [slow(z, y, shares) for z, y in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True)]
    assert loss(LOGITS, TARGETS).item() == pytest.approx(sum(rows) / 9, rel=1e-12)
    loss.reduction = "none"
    assert loss(LOGITS, TARGETS).tolist() == pytest.approx(rows, rel=1e-12)


@SHAPES
def test_the_most_frequent_class_gives_most_and_the_rarest_least(shape):
    shares = label_smoothing_factors((4, 120, 45, 20), 0.4, 0.1, shape).tolist()
    assert shares[1] == pytest.approx(0.4, rel=1e-12)
    assert shares[0] == pytest.approx(0.1, rel=1e-12)
    assert shares[1] > shares[2] > shares[3] > shares[0]


@pytest.mark.reference
def test_the_gradient_is_probability_less_smoothed_label():
    loss, z = LabelAwareSmoothingLoss(COUNTS), LOGITS.clone().requires_grad_()
    loss(z, TARGETS).backward()
    labels = torch.zeros(9, 4, dtype=torch.float64)
    for row, y in enumerate(TARGETS.tolist()):
        labels[row] = loss.smoothing[y] / 3
        labels[row, y] = 1 - loss.smoothing[y]
    torch.testing.assert_close(z.grad, (torch.softmax(LOGITS, 1) - labels) / 9, rtol=1e-12, atol=1e-15)


@SHAPES
def test_gradcheck(shape):
    loss = LabelAwareSmoothingLoss((120, 45, 0, 4), 0.4, 0.1, shape)
    assert torch.autograd.gradcheck(lambda z: loss(z, TARGETS), LOGITS.clone().requires_grad_())


@pytest.mark.reference
def test_with_a_share_less_it_is_the_authors_over_all_classes(records):
    for record in records("label_aware_smoothing"):
        params, inputs = record["params"], record["inputs"]
        counts = inputs["counts"]
        less = (len(counts) - 1) / len(counts)
        shape = {"linear": 1.0, "exp": params["power"]}.get(params["shape"], params["shape"])
        z = torch.tensor(inputs["logits"], dtype=torch.float64, requires_grad=True)
        value = LabelAwareSmoothingLoss(counts, less * params["head"], less * params["tail"], shape)(
            z, torch.tensor(record["inputs"]["targets"])
        )
        value.backward()
        assert value.item() == pytest.approx(record["loss"], rel=1e-9)
        torch.testing.assert_close(z.grad, torch.tensor(record["grad_logits"], dtype=torch.float64), rtol=1e-9, atol=1e-11)


@pytest.mark.limit
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_smoothing_is_cross_entropy_to_the_bit(dtype):
    made = []
    for criterion in (LabelAwareSmoothingLoss(COUNTS, 0.0, 0.0), CrossEntropyLoss()):
        z = LOGITS.to(dtype).clone().requires_grad_()
        loss = criterion(z, TARGETS)
        loss.backward()
        made.append((loss.detach(), z.grad))
    assert torch.equal(made[0][0], made[1][0])
    torch.testing.assert_close(made[0][1], made[1][1], rtol=1e-6, atol=1e-9)


@pytest.mark.limit
def test_equal_shares_are_uniform_smoothing():
    """torch spreads over all classes: the paper's 0.3 over three others is its 0.4 over four."""
    made = []
    for loss in (LabelAwareSmoothingLoss(COUNTS, 0.3, 0.3), lambda z, y: cross_entropy(z, y, label_smoothing=0.4)):
        z = LOGITS.clone().requires_grad_()
        value = loss(z, TARGETS)
        value.backward()
        made.append((value.detach(), z.grad))
    torch.testing.assert_close(made[0], made[1], rtol=1e-12, atol=1e-15)


@pytest.mark.limit
@SHAPES
@pytest.mark.parametrize("counts", [(7, 7, 7), (1, 1, 1), (5,)])
def test_even_counts_have_the_share_of_the_rarest(counts, shape):
    assert label_smoothing_factors(counts, 0.4, 0.1, shape).tolist() == [0.1] * len(counts)


@SHAPES
def test_a_class_without_images_moves_no_share_and_gets_none(shape):
    with_it = LabelAwareSmoothingLoss((120, 45, 0, 20, 4), 0.4, 0.1, shape)
    assert with_it.smoothing[[0, 1, 3, 4]].tolist() == label_smoothing_factors(COUNTS, 0.4, 0.1, shape).tolist()
    logits = torch.tensor([[1.0, 0.0, -50.0, 0.0, 2.0]], dtype=torch.float64)
    without = LabelAwareSmoothingLoss(COUNTS, 0.4, 0.1, shape)(logits[:, [0, 1, 3, 4]], torch.tensor([0]))
    assert with_it(logits, torch.tensor([0])).item() == pytest.approx(without.item(), rel=1e-12)


def test_two_classes_by_hand():
    """Head 0.4, tail 0.1: -(0.6 log p_0 + 0.4 log p_1) for the head, -(0.9 log p_1 + 0.1 log p_0) for the tail, p_0 = 3/4."""
    loss = LabelAwareSmoothingLoss((10, 2), reduction="none")
    logits = torch.tensor([[math.log(3.0), 0.0]] * 2, dtype=torch.float64)
    head, tail = loss(logits, torch.tensor([0, 1])).tolist()
    assert head == pytest.approx(-(0.6 * math.log(0.75) + 0.4 * math.log(0.25)), rel=1e-12)
    assert tail == pytest.approx(-(0.9 * math.log(0.25) + 0.1 * math.log(0.75)), rel=1e-12)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"smooth_head": 1.0}, "shares in \\[0, 1\\)"),
        ({"smooth_tail": -0.1}, "shares in \\[0, 1\\)"),
        ({"shape": "linear"}, "'concave', 'convex' or a power"),
        ({"shape": 0.0}, "above 0"),
        ({"shape": math.inf}, "above 0"),
    ],
)
def test_what_is_no_smoothing_is_refused(fields, said):
    with pytest.raises(BadValue, match=said):
        LabelAwareSmoothingLoss(COUNTS, **fields)
