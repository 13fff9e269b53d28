"""CutMix: pixels, labels, weights and draws, against boxes pasted one after the other."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from tailwise.errors import BadData, BadValue
from tailwise.losses import CrossEntropyLoss
from tailwise.mixing import CutMix
from tailwise.objective import Sample, supervised

B, C, H, W = 6, 4, 9, 12
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1])
PER = pytest.mark.parametrize("per", ["batch", "row"])


def sample(rows: int = B, height: int = H, width: int = W, **extra: torch.Tensor) -> Sample:
    """Every pixel of row i has the value i, so that what lies where is seen."""
    views = torch.arange(rows).float()[:, None, None, None].expand(rows, 3, height, width).contiguous()
    return Sample((views, 10 * views), TARGETS.repeat(rows)[:rows], torch.arange(rows), extra)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def boxes_of(mixed: Sample) -> list[tuple[int, int, int, int, int]]:
    """Find each row's box by its values: partner, top, left, height, width; of a row without one, itself and zeros."""
    found = []
    for i, image in enumerate(mixed.views[0][:, 0]):
        ys, xs = (image != i).nonzero(as_tuple=True)
        if len(ys):
            top, left = int(ys.min()), int(xs.min())
            height, width = int(ys.max()) - top + 1, int(xs.max()) - left + 1
            assert len(ys) == height * width
            found.append((int(image[top, left]), top, left, height, width))
        else:
            found.append((i, 0, 0, 0, 0))
    return found


@pytest.mark.reference
@PER
def test_a_box_of_the_partner_is_pasted_and_its_area_is_the_share(per):
    for seed in range(40):
        mixed = CutMix(per=per)(sample(), rng(seed))
        boxes = boxes_of(mixed)
        for i, (partner, _, _, height, width) in enumerate(boxes):
            if height:
                assert mixed.extra["share"][i].item() == pytest.approx(1 - height * width / (H * W))
                assert mixed.extra["mixed_targets"][i] == TARGETS[partner]
        assert torch.equal(mixed.views[1], 10 * mixed.views[0])
        assert torch.equal(mixed.labels, TARGETS)
        places = {box[1:] for box in boxes if box[3]}
        assert len(places) <= 1 or per == "row"


@PER
def test_partners_are_a_permutation(per):
    mixed = CutMix(per=per)(sample(), rng(1))
    order = rng(1)
    order.beta(1.0, 1.0, B if per == "row" else 1)
    for size in (H, W):
        order.integers(0, size, B if per == "row" else 1)
    assert torch.equal(mixed.extra["mixed_targets"], TARGETS[order.permutation(B)])


def test_rows_have_boxes_of_their_own_where_they_are_asked_for():
    assert len(CutMix(per="row")(sample(40), rng()).extra["share"].unique()) > 20
    assert len(CutMix()(sample(40), rng()).extra["share"].unique()) == 1


@pytest.mark.reference
def test_boxes_are_those_of_algorithm_1():
    """Middle anywhere, sides sqrt(1 - lam) of the image's, cut off at the edge."""
    for seed in range(50):
        mixed = CutMix(0.7)(sample(), rng(seed))
        drawn = rng(seed)
        lam, y, x = drawn.beta(0.7, 0.7, 1)[0], drawn.integers(0, H, 1)[0], drawn.integers(0, W, 1)[0]
        height, width = int(math.sqrt(1 - lam) * H), int(math.sqrt(1 - lam) * W)
        top, bottom = max(0, y - height // 2), min(H, y + height // 2)
        left, right = max(0, x - width // 2), min(W, x + width // 2)
        partners = drawn.permutation(B)
        expected = sample().views[0].clone()
        for i in range(B):
            expected[i, :, top:bottom, left:right] = partners[i]
        assert torch.equal(mixed.views[0], expected)
        assert mixed.extra["share"].tolist() == pytest.approx([1 - (bottom - top) * (right - left) / (H * W)] * B)


@pytest.mark.reference
def test_the_shares_are_distributed_as_torchvision_s():
    theirs = v2.CutMix(alpha=1.0, num_classes=C)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = [theirs.make_params([torch.zeros(B, 3, 64, 64)])["lam_adjusted"] for _ in range(1500)]
    found = CutMix(per="row")(sample(1500, 64, 64), rng()).extra["share"]
    assert stats.ks_2samp(found.numpy(), np.array(expected)).pvalue > 1e-3


@pytest.mark.reference
@PER
def test_the_loss_is_that_of_both_labels_by_area(per):
    mixed = CutMix(per=per)(sample(), rng(2))
    logits = torch.randn(B, C, generator=torch.Generator().manual_seed(1))
    term = supervised(CrossEntropyLoss(), logits, mixed)
    log_p, share, other = torch.log_softmax(logits, 1), mixed.extra["share"], mixed.extra["mixed_targets"]
    expected = [-share[i] * log_p[i, TARGETS[i]] - (1 - share[i]) * log_p[i, other[i]] for i in range(B)]
    torch.testing.assert_close(term.numerator() / term.denominator(), sum(expected) / B)


def test_each_label_counts_by_its_own_rows_weight():
    weights = torch.tensor([1.0, 0.5, 2.0, 0.0, 3.0, 0.0])
    mixed = CutMix(per="row")(sample(weight=weights), rng(2))
    plain = CutMix(per="row")(sample(), rng(2))
    area, partners = plain.extra["share"], [box[0] for box in boxes_of(plain)]
    for i, j in enumerate(partners):
        own, others = area[i] * weights[i], (1 - area[i]) * weights[j]
        assert mixed.extra["weight"][i] == pytest.approx(float(own + others))
        if own + others > 0:
            assert mixed.extra["share"][i] == pytest.approx(float(own / (own + others)))
    assert bool(torch.isfinite(mixed.extra["share"]).all())


@pytest.mark.limit
def test_alpha_zero_leaves_the_batch():
    before = sample()
    assert CutMix(0.0)(before, rng()) is before


@pytest.mark.limit
@PER
def test_a_box_is_nothing_or_all_at_a_tiny_alpha(per):
    share = torch.cat([CutMix(1e-4, per)(sample(height=64, width=64), rng(seed)).extra["share"] for seed in range(20)])
    assert share.max() == 1
    assert bool(((share == 1) | (share < 0.76)).all())  # of a box of the whole image, a quarter at least stays inside


def test_one_row_is_mixed_with_itself_and_unlabelled_rows_without_labels():
    one = CutMix()(sample(1), rng())
    assert torch.equal(one.images, sample(1).images)
    bare = sample()
    mixed = CutMix()(Sample(bare.views, None, bare.index), rng())
    assert mixed.targets is None
    assert "mixed_targets" not in mixed.extra


def test_keeps_the_callers_tensors_kind_and_layout():
    images = torch.randn(B, 3, H, W).to(memory_format=torch.channels_last)
    before = images.clone()
    mixed = CutMix(per="row")(Sample((images,), TARGETS, torch.arange(B)), rng())
    assert torch.equal(images, before)
    assert mixed.images.dtype == mixed.extra["share"].dtype == torch.float32
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)


def test_feature_vectors_are_refused():
    with pytest.raises(BadData, match=r"out of images \(B, channels, height, width\), got rows of shape \(6, 5\)"):
        CutMix()(Sample((torch.zeros(B, 5),), TARGETS, torch.arange(B)), rng())


@pytest.mark.parametrize(("alpha", "per"), [(-0.1, "batch"), (math.inf, "batch"), (math.nan, "row"), (1.0, "image")])
def test_impossible_fields_are_refused(alpha, per):
    with pytest.raises(BadValue, match="alpha is a finite number >= 0, per 'batch' or 'row'"):
        CutMix(alpha, per)
