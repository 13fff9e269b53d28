"""Mixup: pixels, labels, weights and draws, against what a plain loop over the rows gives."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats

from tailwise.errors import BadValue
from tailwise.losses import ClassWeighted, CrossEntropyLoss, LDAMLoss
from tailwise.mixing import Mixup
from tailwise.objective import Sample, supervised

B, C = 6, 4
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1])
COUNTS = [50, 20, 5, 1]
WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 0.0, 3.0, 0.0])


def sample(*views: torch.Tensor, **extra: torch.Tensor) -> Sample:
    made = views or (torch.randn(B, 3, 4, 4, generator=torch.Generator().manual_seed(0)),)
    return Sample(made, TARGETS[: len(made[0])], torch.arange(len(made[0])), extra)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def partners_of(mixed: Sample) -> list[int]:
    """Find each row's partner by its values: rows are distinct powers of two as (B, 1) features."""
    share = mixed.extra["share"][0].item()
    own = 2.0 ** np.arange(len(mixed))
    others = (mixed.views[0][:, 0].numpy() - share * own) / (1 - share)
    return [round(math.log2(v)) for v in others]


def powers(rows: int = B) -> torch.Tensor:
    return 2.0 ** torch.arange(rows, dtype=torch.float64)[:, None]


def test_rows_are_averaged_with_a_permutation_of_the_batch():
    mixed = Mixup(1.0)(sample(powers()), rng())
    assert 0 < mixed.extra["share"][0].item() < 1
    assert bool((mixed.extra["share"] == mixed.extra["share"][0]).all())  # one lam a batch
    partners = partners_of(mixed)
    assert sorted(partners) == list(range(B))
    assert partners != list(range(B))
    assert torch.equal(mixed.extra["mixed_targets"], TARGETS[partners])
    assert torch.equal(mixed.labels, TARGETS)
    assert torch.equal(mixed.index, torch.arange(B))


@pytest.mark.reference
def test_images_are_averaged_pixel_by_pixel():
    before = sample()
    mixed = Mixup(0.4)(before, rng(3))
    lam = mixed.extra["share"][0].item()
    partners = partners_of(Mixup(0.4)(sample(powers()), rng(3)))
    for i in range(B):
        np.testing.assert_allclose(mixed.images[i], lam * before.images[i] + (1 - lam) * before.images[partners[i]], rtol=1e-5, atol=1e-6)


@pytest.mark.reference
def test_every_row_has_a_share_of_its_own_where_it_is_asked_for():
    before = sample()
    mixed = Mixup(1.0, per="row")(before, rng(3))
    order = rng(3)
    lam, partners = order.beta(1.0, 1.0, B), order.permutation(B)
    assert len(mixed.extra["share"].unique()) == B
    np.testing.assert_allclose(mixed.extra["share"], lam, rtol=1e-6)
    assert torch.equal(mixed.extra["mixed_targets"], TARGETS[partners])
    for i in range(B):
        np.testing.assert_allclose(
            mixed.images[i], lam[i] * before.images[i] + (1 - lam[i]) * before.images[partners[i]], rtol=1e-5, atol=1e-6
        )


def test_all_views_have_the_same_partners():
    mixed = Mixup(1.0)(sample(powers(), 3 * powers(), torch.ones(B, 2)), rng())
    torch.testing.assert_close(mixed.views[1], 3 * mixed.views[0])
    torch.testing.assert_close(mixed.views[2], torch.ones(B, 2))


@pytest.mark.reference
@pytest.mark.parametrize("criterion", [CrossEntropyLoss(), LDAMLoss(COUNTS)])
def test_the_loss_is_that_of_both_labels(criterion):
    mixed = Mixup(1.0)(sample(), rng())
    logits = torch.randn(B, C, generator=torch.Generator().manual_seed(1))
    term = supervised(criterion, logits, mixed)
    lam = mixed.extra["share"][0]
    expected = lam * criterion(logits, TARGETS) + (1 - lam) * criterion(logits, mixed.extra["mixed_targets"])
    torch.testing.assert_close(term.numerator() / term.denominator(), expected)


@pytest.mark.reference
@pytest.mark.parametrize("criterion", [CrossEntropyLoss(), ClassWeighted(CrossEntropyLoss(), COUNTS, 0.9)])
def test_each_label_counts_by_its_own_rows_weight(criterion):
    """sum of lam w_i c_i l(y_i) + (1 - lam) w_j c_j l(y_j), over the sum of the same without l."""
    mixed = Mixup(1.0)(sample(powers().float(), weight=WEIGHTS), rng())
    partners = partners_of(Mixup(1.0)(sample(powers()), rng()))
    lam = Mixup(1.0)(sample(powers()), rng()).extra["share"][0].item()
    logits = torch.randn(B, C, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_p = torch.log_softmax(logits, 1)
    class_weights = getattr(criterion, "class_weights", torch.ones(C, dtype=torch.float64))
    top = bottom = 0.0
    for i, j in enumerate(partners):
        for row, part in ((i, lam), (j, 1 - lam)):
            weight = part * WEIGHTS[row].item() * class_weights[TARGETS[row]].item()
            top -= weight * log_p[i, TARGETS[row]].item()
            bottom += weight
    term = supervised(criterion, logits, mixed)
    assert (term.numerator() / term.denominator()).item() == pytest.approx(top / bottom, rel=1e-6)


def test_rows_that_weigh_nothing_mix_to_a_row_that_weighs_nothing():
    mixed = Mixup(1.0)(sample(powers(2), weight=torch.zeros(2)), rng(1))
    assert mixed.extra["weight"].tolist() == [0.0, 0.0]
    assert bool(torch.isfinite(mixed.extra["share"]).all())


def test_other_extras_stay():
    kept = torch.arange(B)
    assert torch.equal(Mixup(1.0)(sample(powers(), difficulty=kept), rng()).extra["difficulty"], kept)


@pytest.mark.limit
def test_alpha_zero_leaves_the_batch():
    before = sample(weight=WEIGHTS)
    assert Mixup(0.0)(before, rng()) is before


@pytest.mark.limit
@pytest.mark.parametrize("criterion", [CrossEntropyLoss(), LDAMLoss(COUNTS), ClassWeighted(CrossEntropyLoss(), COUNTS, 0.9)])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_share_of_one_is_no_mixing_in_rows_loss_and_gradient(criterion, weighted):
    """lam = 1, drawn by hand: the rows are their own, and so is the loss on them."""

    class Drawn:
        def beta(self, a: float, b: float) -> float:
            return 1.0

        permutation = staticmethod(lambda rows: np.roll(np.arange(rows), 1))

    before = sample(**({"weight": WEIGHTS} if weighted else {}))
    mixed = Mixup(1.0)(before, Drawn())
    assert torch.equal(mixed.images, before.images)
    made = []
    for rows in (before, mixed):
        logits = torch.randn(B, C, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
        term = supervised(criterion, logits, rows)
        loss = term.numerator() / term.denominator()
        loss.backward()
        made.append((loss.detach(), logits.grad))
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.limit
def test_a_tiny_alpha_mixes_nothing_to_be_seen():
    for seed in range(20):
        mixed = Mixup(1e-4)(sample(powers()), rng(seed))
        lam = mixed.extra["share"][0].item()
        assert min(lam, 1 - lam) < 1e-6
        assert bool(torch.isfinite(mixed.images).all())


@pytest.mark.reference
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_follow_the_beta_distribution(alpha):
    shares = [Mixup(alpha)(sample(powers()), rng(seed)).extra["share"][0].item() for seed in range(800)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.reference
def test_every_partner_is_as_likely():
    first = [partners_of(Mixup(1.0)(sample(powers()), rng(seed)))[0] for seed in range(1200)]
    np.testing.assert_allclose(np.bincount(first, minlength=B) / 1200, 1 / B, atol=0.04)


def test_one_row_is_mixed_with_itself():
    before = sample(powers(1) + 2)
    mixed = Mixup(1.0)(before, rng())
    torch.testing.assert_close(mixed.images, before.images)
    assert mixed.extra["mixed_targets"].tolist() == [0]


def test_unlabelled_rows_mix_without_labels():
    mixed = Mixup(1.0)(dataclasses.replace(sample(powers()), targets=None), rng())
    assert mixed.targets is None
    assert "mixed_targets" not in mixed.extra


def test_keeps_the_callers_tensors_and_their_dtype():
    views = torch.randn(B, 3, 4, 4)
    before = views.clone()
    mixed = Mixup(1.0)(sample(views, weight=WEIGHTS.clone()), rng())
    assert torch.equal(views, before)
    assert mixed.images.dtype == mixed.extra["share"].dtype == torch.float32


def test_images_stay_channels_last():
    views = torch.randn(B, 3, 4, 4).to(memory_format=torch.channels_last)
    assert Mixup(1.0)(sample(views), rng()).images.is_contiguous(memory_format=torch.channels_last)


def test_the_generator_alone_decides():
    torch.manual_seed(0)
    np.random.seed(0)
    first = Mixup(1.0)(sample(powers()), rng(4)).images
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(Mixup(1.0)(sample(powers()), rng(4)).images, first)


@pytest.mark.parametrize("alpha", [-0.1, math.inf, math.nan])
def test_an_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(BadValue, match="alpha is a finite number >= 0"):
        Mixup(alpha)
    with pytest.raises(BadValue, match="per 'batch' or 'row'"):
        Mixup(1.0, "image")
