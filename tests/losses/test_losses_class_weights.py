"""Weights by class: every rule and both divisors against slow loops, published values, limits and empty classes."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tailwise.counts import SHOWN
from tailwise.errors import BadValue
from tailwise.losses import ClassWeighted, CrossEntropyLoss, FrequencyWeighted, LDAMLoss, effective_number_weights, frequency_weights
from tailwise.objective import Criterion
from tailwise.specification import fill_shown, spec

COUNTS = [500, 100, 20, 4]
EMPTY = [50, 0, 5, 1]
EVEN = [7, 7, 7, 7]
LOGITS = torch.randn(9, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 3, 3, 0, 2, 1, 0])
CE = CrossEntropyLoss()
RULES = {
    "effective": (lambda counts, **more: ClassWeighted(CE, counts, 0.99, **more), lambda n, counts: (1 - 0.99) / (1 - 0.99**n)),
    "inverse": (lambda counts, **more: FrequencyWeighted(CE, counts, **more), lambda n, counts: 1 / n),
    "power": (lambda counts, **more: FrequencyWeighted(CE, counts, 0.7, **more), lambda n, counts: (sum(counts) / n) ** 0.7),
    "log": (lambda counts, **more: FrequencyWeighted(CE, counts, rule="log", **more), lambda n, counts: 1 - math.log(n / max(counts))),
    "log, squared": (
        lambda counts, **more: FrequencyWeighted(CE, counts, 2.0, "log", **more),
        lambda n, counts: (1 - math.log(n / max(counts))) ** 2,
    ),
}
EACH = pytest.mark.parametrize("rule", RULES)


def slow(rule: str, divisor: str, counts: list[int], logits: Tensor, targets: Tensor) -> float:
    """The published mean, one row at a time; weights sum to the number of classes with images."""
    raw = [RULES[rule][1](n, counts) if n else 0.0 for n in counts]
    weights = [w * sum(n > 0 for n in counts) / sum(raw) for w in raw]
    losses, used = [], []
    for z, y in zip(logits.tolist(), targets.tolist(), strict=True):
        losses.append(weights[y] * math.log(sum(math.exp(v - z[y]) for v in z)))
        used.append(weights[y])
    return sum(losses) / (sum(used) if divisor == "weights" else len(losses))


def results(criterion, targets: Tensor = TARGETS) -> tuple[Tensor, Tensor]:
    z = LOGITS.clone().requires_grad_()
    loss = criterion(z, targets)
    return loss.detach(), torch.autograd.grad(loss, z)[0]


def assert_equal(one, other, targets: Tensor = TARGETS) -> None:
    for a, b in zip(results(one, targets), results(other, targets), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@EACH
@pytest.mark.parametrize("divisor", ["weights", "rows"])
@pytest.mark.reference
def test_equals_a_slow_loop(rule, divisor):
    made = RULES[rule][0](COUNTS, divisor=divisor)(LOGITS, TARGETS)
    assert made.item() == pytest.approx(slow(rule, divisor, COUNTS, LOGITS, TARGETS), rel=1e-12)


@EACH
@pytest.mark.reference
def test_an_empty_class_weighs_nothing_and_leaves_the_others(rule):
    present = torch.tensor([0, 2, 3, 0, 2, 3, 0, 0, 0])
    made = RULES[rule][0](EMPTY, divisor="rows")
    assert made.class_weights[1] == 0
    assert made.class_weights.sum().item() == pytest.approx(3)
    value, gradient = results(made, present)
    assert value.item() == pytest.approx(slow(rule, "rows", EMPTY, LOGITS, present), rel=1e-12)
    assert bool(torch.isfinite(gradient).all())


@EACH
@pytest.mark.parametrize("divisor", ["weights", "rows"])
def test_gradcheck(rule, divisor):
    criterion = RULES[rule][0](COUNTS, divisor=divisor)
    assert torch.autograd.gradcheck(lambda z: criterion(z, TARGETS), LOGITS.clone().requires_grad_())


@EACH
@pytest.mark.parametrize("divisor", ["weights", "rows"])
@pytest.mark.limit
def test_even_counts_are_the_plain_criterion(rule, divisor):
    assert_equal(RULES[rule][0](EVEN, divisor=divisor), CE)


@EACH
@pytest.mark.limit
@pytest.mark.parametrize("label", range(4))
def test_a_batch_of_one_class_is_plain_over_weights_and_scaled_over_rows(rule, label):
    targets = torch.full((9,), label)
    assert_equal(RULES[rule][0](COUNTS), CE, targets)
    over_rows = RULES[rule][0](COUNTS, divisor="rows")
    assert_equal(over_rows, lambda z, y: over_rows.class_weights[label] * CE(z, y), targets)


@EACH
def test_one_row(rule):
    value, gradient = results(lambda z, y: RULES[rule][0](COUNTS, divisor="rows")(z[:1], y[:1]))
    assert value.item() == pytest.approx(slow(rule, "rows", COUNTS, LOGITS[:1], TARGETS[:1]), rel=1e-12)
    assert bool((gradient[1:] == 0).all())


@pytest.mark.limit
@pytest.mark.parametrize("divisor", ["weights", "rows"])
@pytest.mark.parametrize(
    "zero",
    [
        lambda **more: FrequencyWeighted(CE, COUNTS, 0.0, **more),
        lambda **more: FrequencyWeighted(CE, COUNTS, 0.0, "log", **more),
        lambda **more: ClassWeighted(CE, COUNTS, 0.0, **more),
    ],
)
def test_strength_zero_is_the_plain_criterion(zero, divisor):
    assert_equal(zero(divisor=divisor), CE)


@pytest.mark.limit
def test_beta_near_one_is_inverse_frequency():
    torch.testing.assert_close(effective_number_weights(COUNTS, 1 - 1e-12), frequency_weights(COUNTS), rtol=1e-9, atol=0)


def test_over_weights_is_torchs_weighted_cross_entropy():
    inverse = torch.tensor([1 / n for n in COUNTS], dtype=torch.float64)
    assert_equal(FrequencyWeighted(CE, COUNTS), lambda z, y: cross_entropy(z, y, weight=inverse))


def test_weights_by_hand():
    """1/30 and 1/10 are as 1 to 3; 1 + log(e^0) and 1 + log e as 1 to 2."""
    torch.testing.assert_close(frequency_weights([30, 10, 0]), torch.tensor([0.5, 1.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(frequency_weights([math.e, 1.0], rule="log"), torch.tensor([2 / 3, 4 / 3], dtype=torch.float64))


@pytest.mark.parametrize("power", [1.0, 300.0])
def test_weights_of_extreme_counts_are_finite(power):
    made = frequency_weights([10**9, 1, 0, 10**4], power)
    assert bool(torch.isfinite(made).all())
    assert made.sum().item() == pytest.approx(3)


def test_weights_multiply_over_a_weighted_criterion_and_the_outer_divides():
    """As `drw` over `reweight` does."""
    twice = FrequencyWeighted(FrequencyWeighted(CE, COUNTS, divisor="rows"), COUNTS)
    squares = torch.tensor([1 / n**2 for n in COUNTS], dtype=torch.float64)
    assert_equal(twice, lambda z, y: cross_entropy(z, y, weight=squares))


@pytest.mark.parametrize("inner", [CE, LDAMLoss(COUNTS, scale=12.0)])
def test_the_scale_underneath_is_said(inner: Criterion):
    assert FrequencyWeighted(inner, COUNTS).logit_scale == inner.logit_scale


def test_says_what_prior_it_leaves():
    masses = [float(n) for n in COUNTS]
    evened = FrequencyWeighted(CE, COUNTS).prior_left(masses)
    present = [mass for mass, n in zip(evened, COUNTS, strict=True) if n]
    assert present == pytest.approx([present[0]] * len(present))
    assert FrequencyWeighted(CE, COUNTS, 0.0).prior_left(masses) == pytest.approx(masses)
    assert FrequencyWeighted(CE, [5, 0, 5]).prior_left((3.0, 0.0, 1.0)) == pytest.approx((3.0, 0.0, 1.0))


def test_counts_to_come_are_filled_in():
    waiting = FrequencyWeighted(CE, SHOWN, 0.5, "log", divisor="rows")
    with pytest.raises(BadValue, match="needs class counts"):
        waiting(LOGITS, TARGETS)
    filled = fill_shown(waiting, tuple(COUNTS))
    assert_equal(filled, FrequencyWeighted(CE, COUNTS, 0.5, "log", divisor="rows"))


def test_every_field_is_in_the_specification():
    made = [
        FrequencyWeighted(CE, COUNTS),
        FrequencyWeighted(CE, COUNTS, 0.5),
        FrequencyWeighted(CE, COUNTS, rule="log"),
        FrequencyWeighted(CE, COUNTS, divisor="rows"),
        ClassWeighted(CE, COUNTS),
        ClassWeighted(CE, COUNTS, divisor="rows"),
    ]
    assert len({str(spec(part)) for part in made}) == len(made)


@pytest.mark.parametrize("power", [-0.1, math.inf, math.nan])
def test_a_power_outside_its_range_is_refused(power):
    with pytest.raises(BadValue, match="power is a finite number >= 0") as refused:
        frequency_weights(COUNTS, power)
    assert "\n" not in str(refused.value)


def test_another_rule_or_divisor_is_refused():
    with pytest.raises(BadValue, match="rule is 'inverse' or 'log', got 'cubic'"):
        frequency_weights(COUNTS, rule="cubic")
    with pytest.raises(BadValue, match="divisor is 'weights' or 'rows', got 'batch'"):
        ClassWeighted(CE, COUNTS, divisor="batch")


# --- the authors' code --------------------------------------------------------------------------------------------------


def check(record: dict, made) -> None:
    inputs = record["inputs"]
    logits = torch.tensor(inputs["logits"], dtype=torch.float64, requires_grad=True)
    loss = made(inputs["counts"], record["params"])(logits, torch.tensor(inputs["targets"]))
    assert loss.item() == pytest.approx(record["loss"], rel=1e-9), record["id"]
    loss.backward()
    expected = torch.tensor(record["grad_logits"], dtype=torch.float64)
    torch.testing.assert_close(logits.grad, expected, rtol=1e-9, atol=1e-12, msg=record["id"])


@pytest.mark.reference
@pytest.mark.parametrize(
    ("method", "made"),
    [
        ("cost_sensitive_ce", lambda counts, params: FrequencyWeighted(CE, counts, params["gamma"])),
        ("generalized_reweight", lambda counts, params: FrequencyWeighted(CE, counts, params["rho"])),
        ("weighted_softmax", lambda counts, params: FrequencyWeighted(CE, counts, rule="log")),
    ],
)
def test_equals_the_authors(records, method, made):
    for record in records(method):
        check(record, made)


@pytest.mark.reference
def test_class_balanced_mean_over_rows_is_the_recorded_one_times_the_batchs_mean_weight(records):
    """Recorded is the mean over the sum of weights; Cui et al.'s divides the same sum by the rows."""
    for record in records("class_balanced_ce"):
        counts, beta = record["inputs"]["counts"], record["params"]["beta"]
        targets = torch.tensor(record["inputs"]["targets"])
        raw = torch.tensor([(1 - beta) / (1 - beta**n) for n in counts], dtype=torch.float64)
        mean_weight = (raw * len(counts) / raw.sum())[targets].mean()
        made = ClassWeighted(CE, counts, beta, divisor="rows")(torch.tensor(record["inputs"]["logits"], dtype=torch.float64), targets)
        assert made.item() == pytest.approx(record["loss"] * mean_weight.item(), rel=1e-9)


@pytest.mark.limit
@pytest.mark.parametrize("divisor", ["rows", "weights"])
def test_rows_with_weights_of_their_own_keep_the_limit(divisor):
    """With class weights of 1, rows of any weight are those of cross-entropy, whatever the sum is divided by."""
    from tailwise.objective import Sample, supervised

    torch.manual_seed(0)
    logits, targets = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 0, 1])
    sample = Sample(
        (torch.zeros(6, 1),), targets, torch.arange(6), {"weight": torch.tensor([0.5, 2.0, 1.0, 0.5, 3.0, 0.25], dtype=torch.float64)}
    )
    of = [supervised(c, logits, sample) for c in (ClassWeighted(CrossEntropyLoss(), (9, 4, 1), 0.0, divisor=divisor), CrossEntropyLoss())]
    ours, plain = (float(term.numerator() / term.denominator()) for term in of)
    assert ours == pytest.approx(plain, abs=1e-12)


def test_rows_with_weights_are_divided_by_their_own_weights_over_rows():
    """By hand: sum r w L / sum r, with class weights w and row weights r."""
    from tailwise.objective import Sample, supervised

    logits, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64), torch.tensor([0, 1])
    criterion = ClassWeighted(CrossEntropyLoss(), (9, 1), 0.9, divisor="rows")
    weights, rows = criterion.class_weights, torch.tensor([1.0, 3.0], dtype=torch.float64)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    term = supervised(criterion, logits, Sample((logits,), targets, torch.arange(2), {"weight": rows}))
    expected = (rows[0] * weights[0] * losses[0] + rows[1] * weights[1] * losses[1]) / 4
    assert float(term.numerator() / term.denominator()) == pytest.approx(float(expected), abs=1e-12)
