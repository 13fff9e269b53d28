"""What every part promises, found by walking the rooms: gradients, half precision, odd counts, the smallest batches.

A part that is new in a room needs a line in one of the tables below, which say how it is made for given class counts.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tailwise import losses, mixing, posthoc, samplers
from tailwise.losses import (
    BalancedSoftmaxLoss,
    ClassWeighted,
    CrossEntropyLoss,
    FocalLoss,
    FrequencyWeighted,
    LabelAwareSmoothingLoss,
    LDAMLoss,
)
from tailwise.losses.class_weighted import WeightedByClass
from tailwise.mixing import CutMix, Mixup
from tailwise.objective import Criterion, Sample
from tailwise.posthoc import LogitAdjustment, MeanOfViews, NearestMean, PriorShift, Scores, TauNorm, Temperature
from tailwise.samplers import BalancedSubsetSampler, ClassBalancedSampler, EpochSampler, LearntRateSampler, PowerSampler, ReversedSampler

pytestmark = pytest.mark.contract

Counts = Sequence[int]
COUNTS = (500, 100, 20, 4)
CE = CrossEntropyLoss()

CRITERIA: dict[str, Callable[[Counts], Criterion]] = {
    "ce": lambda n: CrossEntropyLoss(),
    "balanced softmax": BalancedSoftmaxLoss,
    "balanced softmax, tau 2.5": lambda n: BalancedSoftmaxLoss(n, 2.5),
    "focal": lambda n: FocalLoss(),
    "focal, gamma 0.5": lambda n: FocalLoss(0.5),
    "focal, detached": lambda n: FocalLoss(2.0, detach=True),
    "ldam": LDAMLoss,
    "label-aware smoothing": LabelAwareSmoothingLoss,
    "label-aware smoothing, convex": lambda n: LabelAwareSmoothingLoss(n, 0.3, 0.2, "convex"),
    "label-aware smoothing, squared": lambda n: LabelAwareSmoothingLoss(n, 0.3, 0.0, 2.0),
    "class-balanced": lambda n: ClassWeighted(CE, n),
    "class-balanced over rows": lambda n: ClassWeighted(CE, n, 0.99, divisor="rows"),
    "class-balanced ldam": lambda n: ClassWeighted(LDAMLoss(n), n),
    "class-balanced focal": lambda n: ClassWeighted(FocalLoss(1.0), n, 0.999),
    "inverse": lambda n: FrequencyWeighted(CE, n),
    "log over rows": lambda n: FrequencyWeighted(CE, n, rule="log", divisor="rows"),
    "inverse balanced softmax": lambda n: FrequencyWeighted(BalancedSoftmaxLoss(n), n, 0.5),
}
NOT_THE_GRADIENT_OF_THEIR_VALUE = {"focal, detached"}
"""A part of these is a constant for the gradient, as published."""

POSTHOC: dict[str, Callable[[Counts], Any]] = {
    "logit adjustment": lambda n: LogitAdjustment(tuple(n)),
    "logit adjustment, tau 2": lambda n: LogitAdjustment(tuple(n), 2.0),
    "tau-norm": lambda n: TauNorm(0.7),
    "tau-norm, tau 2": lambda n: TauNorm(2.0),
    "prior shift": lambda n: PriorShift(tuple(map(float, n)), (1.0,) * len(n), 1.5),
    "nearest mean": lambda n: NearestMean(),
    "nearest mean, euclidean": lambda n: NearestMean("euclidean"),
    "temperature": lambda n: Temperature(temperature=0.5),
    "mean of views": lambda n: MeanOfViews(),
}
SAMPLERS: dict[str, Any] = {
    "class-balanced": ClassBalancedSampler(),
    "class-balanced, 1 at a visit": ClassBalancedSampler(1),
    "square-root": PowerSampler(),
    "reverse": PowerSampler(-1.0),
    "reversed": ReversedSampler(),
    "instance": PowerSampler(1.0),
    "by classes": PowerSampler(0.0),
    "balanced subset": BalancedSubsetSampler(2),
    "learnt rates": LearntRateSampler(),
    "learnt rates, from square roots": LearntRateSampler(0.5),
}
MIXINGS: dict[str, Any] = {
    "mixup": Mixup(),
    "mixup, alpha 0.2": Mixup(0.2),
    "mixup by row": Mixup(per="row"),
    "cutmix": CutMix(),
    "cutmix by row": CutMix(per="row"),
}

NO_PART = {WeightedByClass, EpochSampler, Scores}
"""The weights' common form without a rule of its own, a sampler's dress for a DataLoader, and what post-hoc parts see."""

BY_CRITERION = pytest.mark.parametrize("name", CRITERIA)
BY_POSTHOC = pytest.mark.parametrize("name", POSTHOC)
BY_SAMPLER = pytest.mark.parametrize("name", SAMPLERS)
BY_MIXING = pytest.mark.parametrize("name", MIXINGS)


def classes_of(room: ModuleType, wanted: Callable[[type], bool]) -> set[type]:
    """All public classes that a room's files define."""
    files = [importlib.import_module(f"{room.__name__}.{file.name}") for file in pkgutil.iter_modules(room.__path__)]
    found = {kind for file in files for _, kind in inspect.getmembers(file, inspect.isclass) if kind.__module__ == file.__name__}
    return {kind for kind in found if not kind.__name__.startswith("_") and wanted(kind)} - NO_PART


@pytest.mark.parametrize(
    ("room", "wanted", "made"),
    [
        (losses, lambda kind: issubclass(kind, Criterion), {type(make(COUNTS)) for make in CRITERIA.values()}),
        (
            posthoc,
            lambda kind: dataclasses.is_dataclass(kind) and hasattr(kind, "apply"),
            {type(make(COUNTS)) for make in POSTHOC.values()},
        ),
        (samplers, lambda kind: hasattr(kind, "rows"), {type(sampler) for sampler in SAMPLERS.values()}),
        (mixing, lambda kind: "__call__" in vars(kind), {type(part) for part in MIXINGS.values()}),
    ],
    ids=["losses", "posthoc", "samplers", "mixing"],
)
def test_every_part_of_a_room_is_in_its_table(room, wanted, made):
    assert classes_of(room, wanted) == made, f"a part of {room.__name__} needs a line in this file's table, or has one too many"


# --- losses -----------------------------------------------------------------------------------------------------------


def logits_of(rows: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def results(criterion: Criterion, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    z = logits.clone().requires_grad_()
    loss = criterion(z, targets)
    loss.backward()
    assert z.grad is not None
    return loss.detach(), z.grad


@BY_CRITERION
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_gradient_is_that_of_differences(name, reduction):
    criterion = CRITERIA[name](COUNTS)
    criterion.reduction = reduction
    logits, targets = logits_of(5, 4).requires_grad_(), torch.tensor([0, 3, 1, 2, 3])
    passes = torch.autograd.gradcheck(lambda z: criterion(z, targets), logits, raise_exception=name not in NOT_THE_GRADIENT_OF_THEIR_VALUE)
    assert passes == (name not in NOT_THE_GRADIENT_OF_THEIR_VALUE)


def thousands() -> tuple[Tensor, Tensor]:
    """Rows of +-1,000: surely right, surely wrong, and undecided among classes that are a few apart."""
    rows = [
        *([1000, -1000, -1000, -1000], [-1000, 1000, 1000, -1000], [1000, 1000, 1000, 1000], [-1000, -1000, -1000, -1000]),
        *([1000, 999, 998, -1000], [-1000, -998, -1000, -999], [1000, 997.5, 0, 0], [0, 2, 1, -1000]),
    ]
    whole = torch.tensor(rows, dtype=torch.float64).repeat_interleave(4, 0)
    return whole, torch.arange(len(whole)) % 4


@BY_CRITERION
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=["float16", "bfloat16", "float32"])
def test_logits_of_a_thousand_are_finite_and_close_to_float64_in_every_precision(name, dtype):
    """The logits as this precision rounds them, against the same numbers in float64.

    float32 keeps 6e-5 of 1,000; a scale s stretches that, in the softmax and once more in the gradient. The gradient comes back in
    the precision of the logits: that of its largest entry.
    """
    criterion = CRITERIA[name](COUNTS)
    logits, targets = thousands()
    rounded = logits.to(dtype)
    loss, gradient = results(criterion, rounded, targets)
    expected, expected_gradient = results(criterion, rounded.double(), targets)
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(gradient).all())
    assert loss.dtype == torch.float32
    assert gradient.dtype == dtype
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    scale = criterion.logit_scale
    kept = torch.finfo(dtype).eps * float(expected_gradient.abs().max()) + 6e-5 * scale * scale / len(logits)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=kept)


@BY_CRITERION
@pytest.mark.parametrize("counts", [(5, 0, 1, 1), (0, 0, 0, 7), (1, 1, 1, 1), (10**6, 1, 0, 1)], ids=str)
def test_counts_of_zero_and_one_are_finite_and_have_the_right_gradient(name, counts):
    """Targets are classes with images: an empty class never is one in the stream that the counts describe."""
    criterion = CRITERIA[name](counts)
    present = torch.tensor([k for k, n in enumerate(counts) if n]).repeat(3)
    logits = logits_of(len(present), 4)
    loss, gradient = results(criterion, logits, present)
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(gradient).all())
    if name not in NOT_THE_GRADIENT_OF_THEIR_VALUE:
        assert torch.autograd.gradcheck(lambda z: criterion(z, present), logits.requires_grad_())


@BY_CRITERION
def test_a_class_without_images_that_is_out_of_reach_changes_nothing(name):
    """Its logit is so low that no softmax sees it; the others' margins, weights and prior are what they are without it."""
    logits, targets = logits_of(6, 4), torch.tensor([0, 1, 2, 3, 3, 0])
    expected, expected_gradient = results(CRITERIA[name](COUNTS), logits, targets)
    lowest = torch.full((6, 1), -1e4, dtype=torch.float64)
    loss, gradient = results(CRITERIA[name]((0, *COUNTS)), torch.cat([lowest, logits], 1), targets + 1)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient[:, 1:], expected_gradient, rtol=1e-12, atol=1e-15)
    assert float(gradient[:, 0].abs().max()) == 0


@BY_CRITERION
def test_the_order_of_classes_does_not_matter(name):
    order = [2, 0, 3, 1]
    logits, targets = logits_of(6, 4), torch.tensor([0, 1, 2, 3, 3, 0])
    expected, expected_gradient = results(CRITERIA[name](COUNTS), logits, targets)
    moved = torch.tensor([order.index(y) for y in targets.tolist()])
    loss, gradient = results(CRITERIA[name]([COUNTS[k] for k in order]), logits[:, order], moved)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, expected_gradient[:, order], rtol=1e-12, atol=1e-15)


@BY_CRITERION
def test_rows_are_judged_one_by_one(name):
    """A batch is its rows: each one's value, weight and gradient are those of a batch of this row alone."""
    criterion = CRITERIA[name](COUNTS)
    criterion.reduction = "sum"
    logits, targets = logits_of(6, 4, seed=1), torch.tensor([0, 1, 2, 3, 3, 0])
    whole, gradient = results(criterion, logits, targets)
    alone = [results(criterion, logits[i : i + 1], targets[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(sum(loss for loss, _ in alone), whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.cat([own for _, own in alone]), gradient, rtol=1e-12, atol=1e-15)


@BY_CRITERION
@pytest.mark.parametrize("label", range(4))
def test_a_batch_of_one_row_or_one_class_is_a_plain_mean_over_weights(name, label):
    """All weights of such a batch are equal: over their sum they cancel, over the rows one of them stays."""
    criterion = CRITERIA[name](COUNTS)
    for rows in (1, 5):
        logits, targets = logits_of(rows, 4, seed=2), torch.full((rows,), label)
        loss, gradient = results(criterion, logits, targets)
        values, weights = criterion.rows(logits, targets)
        factor = weights[0] if weights is not None and criterion.divisor == "rows" else 1.0
        torch.testing.assert_close(loss, (factor * values).mean(), rtol=1e-12, atol=1e-15)
        assert bool(torch.isfinite(gradient).all())
        assert float(gradient.abs().sum()) > 0


@BY_CRITERION
@pytest.mark.parametrize("images", [1, 7])
def test_a_single_class_is_no_question(name, images):
    """With nothing to choose from the loss and its gradient are 0; a margin against nobody is none."""
    loss, gradient = results(CRITERIA[name]((images,)), logits_of(3, 1), torch.zeros(3, dtype=torch.int64))
    assert float(loss) == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max().item() == pytest.approx(0, abs=1e-12)


@BY_CRITERION
def test_the_callers_logits_and_targets_stay(name):
    logits, targets = logits_of(4, 4), torch.arange(4)
    before = logits.clone()
    CRITERIA[name](COUNTS)(logits, targets)
    assert torch.equal(logits, before)
    assert torch.equal(targets, torch.arange(4))


# --- post hoc ---------------------------------------------------------------------------------------------------------


def scores_of(rows: int, classes: int, size: float = 1.0, dtype: type = np.float64, empty: Sequence[int] = ()) -> Scores:
    """A linear head's answers, +-`size`; classes without images have no mean, and one row of the head is zero where there are many."""
    random = np.random.default_rng(4)
    weight = random.normal(size=(classes, 6)) * np.geomspace(4.0, 1e-4, classes)[:, None]
    if classes > 2:
        weight[1] = 0.0
    features = random.normal(size=(rows, 6))
    logits = features @ weight.T
    if rows:
        features, logits = (a * size / max(np.abs(logits).max(), 1e-9) for a in (features, logits))
    means = random.normal(size=(classes, 6)) * size
    means[list(empty)] = np.nan
    labels, views = np.arange(rows) % classes, logits[:, None] * random.uniform(-1, 1, (rows, 2, classes))
    features, weight, means, views = (array.astype(dtype) for array in (features, weight, means, views))
    return Scores(logits.astype(dtype), labels, features, weight, None, means, views)


def widened(scores: Scores) -> Scores:
    """The same numbers in float64."""
    whole = {f.name: getattr(scores, f.name) for f in dataclasses.fields(scores)}
    return Scores(**{k: v.astype(np.float64) if v is not None and v.dtype.kind == "f" else v for k, v in whole.items()})


@BY_POSTHOC
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_post_hoc_scores_of_a_thousand_are_finite_and_close_to_float64_in_every_precision(name, dtype):
    """Close to what float64 gives for the same numbers, or at the end of the precision's range where that lies beyond it."""
    part = POSTHOC[name](COUNTS)
    scores = scores_of(40, 4, 1000.0, dtype)
    assert np.abs(scores.logits).max() == pytest.approx(1000, rel=1e-3)
    made = part.apply(scores)
    assert made.dtype == dtype
    assert made.shape == (40, 4)
    assert np.isfinite(made).all()
    limits, expected = np.finfo(dtype), part.apply(widened(scores))
    atol = 8 * limits.eps * np.abs(expected).max()  # h . w_k adds six products in the precision of the features
    np.testing.assert_allclose(made, expected.clip(float(limits.min), float(limits.max)), rtol=2 * limits.eps, atol=atol)


@BY_POSTHOC
@pytest.mark.parametrize("counts", [(5, 0, 1, 1), (0, 0, 0, 7), (1, 1, 1, 1)], ids=str)
def test_post_hoc_parts_survive_counts_of_zero_and_one(name, counts):
    """And no class without images wins that did not win before."""
    empty = [k for k, n in enumerate(counts) if not n]
    scores = scores_of(30, 4, empty=empty)
    made = POSTHOC[name](counts).apply(scores)
    assert np.isfinite(made).all()
    if name.startswith(("logit adjustment", "nearest mean")):
        won = np.isin(made.argmax(1), empty)
        np.testing.assert_array_equal(made.argmax(1)[won], scores.logits.argmax(1)[won] if name.startswith("logit") else -1)


@BY_POSTHOC
def test_post_hoc_parts_take_rows_one_by_one_and_none_at_all(name):
    part, scores = POSTHOC[name](COUNTS), scores_of(9, 4)
    whole = part.apply(scores)
    per_image = ("logits", "labels", "features", "views")
    for rows in (slice(3, 4), slice(0, 0)):
        some = Scores(**{f.name: getattr(scores, f.name)[rows] if f.name in per_image else getattr(scores, f.name)
                         for f in dataclasses.fields(scores) if getattr(scores, f.name) is not None})  # fmt: skip
        np.testing.assert_allclose(part.apply(some), whole[rows], rtol=1e-12, atol=1e-12)


@BY_POSTHOC
def test_post_hoc_parts_of_a_single_class_answer_it(name):
    made = POSTHOC[name]((3,)).apply(scores_of(5, 1))
    assert made.shape == (5, 1)
    assert np.isfinite(made).all()


@BY_POSTHOC
def test_post_hoc_parts_that_are_settled_stay_and_say_so(name):
    part = POSTHOC[name](COUNTS)
    for val in (None, scores_of(8, 4)):
        fitted, said = part.fit(val)
        assert fitted == part
        assert said
        assert "\n" not in said


# --- samplers ---------------------------------------------------------------------------------------------------------


def labels_of(counts: Counts) -> np.ndarray:
    return np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))


@BY_SAMPLER
@pytest.mark.parametrize("counts", [(9, 0, 1, 1), (0, 0, 0, 7), (1, 1, 1, 1), (1,), (6,), (0, 1)], ids=str)
def test_samplers_survive_counts_of_zero_and_one(name, counts):
    """Rows are rows, empty classes are never shown, and what is said to be shown is an epoch long."""
    sampler, labels = SAMPLERS[name], labels_of(counts)
    shown = np.array(sampler.shown(counts))
    assert np.isfinite(shown).all()
    assert shown.sum() == pytest.approx(sum(counts))
    assert ((shown > 0) == (np.array(counts) > 0)).all()
    for epoch in range(3):
        rows = sampler.rows(labels, np.random.default_rng(epoch), epoch, 3)
        assert rows.dtype == np.int64
        assert len(rows) == len(labels)
        assert set(labels[rows]) <= set(labels)


@BY_SAMPLER
def test_what_samplers_show_is_what_they_say(name):
    """300 epochs of 18 rows: a class's mean is off by no more than sqrt(18 / 4 / 300) = 0.12 (one standard deviation)."""
    sampler, counts = SAMPLERS[name], (12, 4, 0, 1, 1)
    labels = labels_of(counts)
    drawn = [sampler.rows(labels, np.random.default_rng(seed), 0, 1) for seed in range(300)]
    mean = np.mean([np.bincount(labels[rows], minlength=5) for rows in drawn], axis=0)
    np.testing.assert_allclose(mean, sampler.shown(counts), atol=0.5)


# --- mixing -----------------------------------------------------------------------------------------------------------


@BY_MIXING
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_mixed_rows_of_a_thousand_stay_between_their_rows(name, dtype):
    views = torch.tensor([[1000.0, -1000.0], [-1000.0, 1000.0], [1000.0, 1000.0]], dtype=dtype)[:, None, None]
    for seed in range(5):
        mixed = MIXINGS[name](Sample((views,), torch.tensor([0, 1, 1]), torch.arange(3)), np.random.default_rng(seed))
        assert mixed.images.dtype == dtype
        assert bool((mixed.images.abs() <= 1000 * (1 + torch.finfo(dtype).eps)).all())
        assert bool(((mixed.extra["share"] >= 0) & (mixed.extra["share"] <= 1)).all())


@BY_MIXING
def test_a_batch_of_one_row_is_mixed_with_itself(name):
    row = torch.tensor([[[[0.25, -3.0]]]])
    mixed = MIXINGS[name](Sample((row,), torch.tensor([2]), torch.arange(1)), np.random.default_rng(0))
    torch.testing.assert_close(mixed.images, row)
    assert mixed.labels.tolist() == mixed.extra["mixed_targets"].tolist() == [2]
