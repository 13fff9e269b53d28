"""The parametric contrastive loss against loops over its formula, at its limits, and where numbers get large."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tailwise.errors import BadValue
from tailwise.losses import BalancedSoftmaxLoss, CrossEntropyLoss, paco_losses

NOTHING = torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
SETTINGS = [
    {},
    {"alpha": 0.3, "beta": 0.7, "gamma": 0.5, "temperature": 0.1},
    {"alpha": 0.0},
    {"gamma": 0.0},
    {"smoothing": 0.25, "temperature": 0.5},
    {"alpha": 2.0, "beta": 0.1, "temperature": 0.05, "smoothing": 0.1},
]


def inputs(anchors: int = 5, others: int = 7, classes: int = 3, seed: int = 0) -> tuple[Tensor, ...]:
    """Scores, labels, unit rows, other unit rows of which one place is empty, and their labels."""
    random = torch.Generator().manual_seed(seed)
    rows = normalize(torch.randn(anchors + others, 4, generator=random, dtype=torch.float64), dim=1)
    other_labels = torch.randint(classes, (others,), generator=random)
    other_labels[: min(1, others)] = -1
    scores = 2 * torch.randn(anchors, classes, generator=random, dtype=torch.float64)
    return scores, torch.arange(anchors) % classes, rows[:anchors], rows[anchors:], other_labels


def slow(scores, labels, anchors, others, other_labels, alpha=0.05, beta=1.0, gamma=1.0, temperature=0.2, smoothing=0.0) -> list[float]:
    """The definition, one anchor and one entry of its softmax after the other."""
    made = []
    for i, z in enumerate(scores.tolist()):
        features = [(anchors[j], int(labels[j])) for j in range(len(anchors)) if j != i]
        features += [(f, int(y)) for f, y in zip(others, other_labels, strict=True) if y >= 0]
        cosines = [float(sum(a * b for a, b in zip(anchors[i].tolist(), f.tolist(), strict=True))) for f, _ in features]
        total = sum(math.exp(s) for s in z) + gamma * sum(math.exp(c / temperature) for c in cosines)
        own = int(labels[i])
        weighted = [(beta * (1 - smoothing if k == own else smoothing / (len(z) - 1)), s) for k, s in enumerate(z)]
        weighted += [(alpha, c / temperature) for c, (_, y) in zip(cosines, features, strict=True) if y == own]
        made.append(-sum(w * (s - math.log(total)) for w, s in weighted) / sum(w for w, _ in weighted))
    return made


@pytest.mark.reference
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("shape", [(5, 7), (1, 3), (6, 0), (1, 0)], ids=str)
def test_equals_loops_over_the_formula(settings, shape):
    given = inputs(*shape)
    torch.testing.assert_close(
        paco_losses(*given, **settings), torch.tensor(slow(*given, **settings), dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_gradient_is_that_of_differences(settings):
    scores, labels, anchors, others, other_labels = inputs()
    learning = (scores.requires_grad_(), anchors.requires_grad_(), others.requires_grad_())
    assert torch.autograd.gradcheck(lambda z, a, f: paco_losses(z, labels, a, f, other_labels, **settings), learning)


@pytest.mark.limit
@pytest.mark.parametrize("counts", [(50, 9, 2), (50, 0, 2)], ids=["a tail", "an empty class"])
def test_without_features_it_is_balanced_softmax_in_value_and_gradient(counts):
    logits, _, anchors, others, other_labels = inputs()
    labels, prior = torch.tensor([0, 2, 2, 0, 0]), torch.tensor(counts, dtype=torch.float64) / sum(counts)
    logits.requires_grad_()
    anchors.requires_grad_()
    expected = BalancedSoftmaxLoss(counts, reduction="none")(logits, labels)
    (wanted,) = torch.autograd.grad(expected.sum(), logits)
    made = paco_losses(logits + prior.log(), labels, anchors, others, other_labels, alpha=0.0, gamma=0.0)
    gradient, of_features = torch.autograd.grad(made.sum(), (logits, anchors))
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-15)
    assert not of_features.any()


@pytest.mark.limit
def test_of_one_row_alone_it_is_cross_entropy():
    scores, labels, anchors, _, _ = inputs(anchors=1)
    torch.testing.assert_close(paco_losses(scores, labels, anchors, *NOTHING), CrossEntropyLoss("none")(scores, labels), rtol=1e-12, atol=0)


@pytest.mark.limit
def test_smoothing_without_features_is_torchs_over_the_other_classes():
    """torch spreads s over all C classes, the authors over the C - 1 others: s here is s C / (C - 1) there."""
    scores, labels, anchors, _, _ = inputs()
    expected = torch.nn.functional.cross_entropy(scores, labels, label_smoothing=0.2 * 3 / 2, reduction="none")
    torch.testing.assert_close(paco_losses(scores, labels, anchors, *NOTHING, gamma=0, alpha=0, smoothing=0.2), expected)


def test_empty_places_change_nothing():
    scores, labels, anchors, others, other_labels = inputs()
    there = other_labels >= 0
    assert not there.all()
    torch.testing.assert_close(
        paco_losses(scores, labels, anchors, others, other_labels),
        paco_losses(scores, labels, anchors, others[there], other_labels[there]),
        rtol=1e-12,
        atol=0,
    )


def test_more_positives_leave_less_for_the_centre():
    """What the paper is about: the gradient that raises the centre's score shrinks as rows of the class come in."""
    scores, labels = torch.zeros(1, 2, dtype=torch.float64).requires_grad_(), torch.tensor([0])
    anchor = normalize(torch.ones(1, 4, dtype=torch.float64))
    away = normalize(torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float64))
    pulls = []
    for positives in (1, 4, 16):
        loss = paco_losses(scores, labels, anchor, away.repeat(positives, 1), torch.zeros(positives, dtype=torch.int64), alpha=0.5)
        pulls.append(-float(torch.autograd.grad(loss.sum(), scores)[0][0, 0]))
    assert pulls[0] > pulls[1] > pulls[2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("same", [True, False], ids=["one class", "several"])
def test_large_scores_and_sharp_temperatures_are_finite_in_every_precision(dtype, same):
    scores, labels, anchors, others, other_labels = inputs()
    labels = torch.zeros_like(labels) if same else labels
    extreme = (1000 * scores.sign()).to(dtype).requires_grad_()
    rows = anchors.to(dtype).requires_grad_()
    made = paco_losses(extreme, labels, rows, others.to(dtype), other_labels, temperature=0.01)
    gradients = torch.autograd.grad(made.sum(), (extreme, rows))
    assert made.dtype == torch.float32
    assert bool(made.isfinite().all())
    assert all(bool(g.isfinite().all()) for g in gradients)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_class_out_of_reach_changes_nothing(smoothing):
    scores, labels, *rest = inputs()
    expected = paco_losses(scores, labels, *rest, smoothing=smoothing)
    wide = torch.cat([scores, torch.full((5, 1), -math.inf, dtype=torch.float64)], 1).requires_grad_()
    made = paco_losses(wide, labels, *rest, smoothing=smoothing)
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=0)
    gradient = torch.autograd.grad(made.sum(), wide)[0]
    assert bool(gradient.isfinite().all())
    assert not gradient[:, 3].any()


def test_a_single_class_is_no_question_even_smoothed():
    scores, labels = torch.randn(3, 1, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    made = paco_losses(scores, labels, inputs(3)[2], *NOTHING, alpha=0, gamma=0, smoothing=0.2)
    torch.testing.assert_close(made, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("wrong", [{"alpha": -1}, {"beta": 0}, {"gamma": -0.1}, {"temperature": 0}, {"smoothing": 1}], ids=str)
def test_impossible_settings_are_refused_in_a_line(wrong):
    with pytest.raises(BadValue, match=f"{next(iter(wrong))}.*got"):
        paco_losses(*inputs(), **wrong)
