"""Automatic augmentation, cutout and blur, image by image against torchvision's transforms at the same parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from tailwise.errors import BadValue
from tailwise.pixels.augment import AutoAugment, Blur, Cutout, RandAugment
from tailwise.pixels.augment import operations as ops
from tailwise.pixels.augment.auto_augment import policy

NOISE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 21, 32, 3), dtype=np.uint8))
CROPS = [(name, top) for name in ("china.jpg", "flower.jpg") for top in (20, 150, 300)]
PHOTOS = torch.stack([torch.from_numpy(load_sample_image(name)[top : top + 64, 200:264].copy()) for name, top in CROPS])
FLAT = torch.full((2, 8, 8, 3), 77, dtype=torch.uint8)
BATCHES = {"noise": NOISE, "photographs": PHOTOS, "grey": NOISE[..., :1], "flat": FLAT}
EACH_BATCH = pytest.mark.parametrize("images", list(BATCHES.values()), ids=list(BATCHES))
NAMES = {"colour": "Color", "autocontrast": "AutoContrast"}
EXACT = {"identity", "translate-x", "translate-y", "posterize", "solarize", "invert", "equalize"}


def planes(image: Tensor) -> Tensor:
    return image.permute(2, 0, 1)


def by_torchvision(name: str, image: Tensor, magnitude: float) -> Tensor:
    """torchvision's own operation on one (H, W, channels) uint8 image."""
    called = NAMES.get(name, "".join(word.capitalize() for word in name.split("-")))
    made = v2.RandAugment()._apply_image_or_video_transform(planes(image), called, magnitude, v2.InterpolationMode.NEAREST, {})
    return made.permute(1, 2, 0)


@pytest.fixture(autouse=True)
def without_fill(monkeypatch):
    """torchvision asks a dictionary for what comes in; none is black."""
    monkeypatch.setattr("torchvision.transforms.v2._auto_augment._get_fill", lambda fill, kind: None)


@pytest.mark.reference
@EACH_BATCH
@pytest.mark.parametrize("name", list(ops.OPERATIONS))
def test_each_operation_is_torchvision_s(name, images):
    levels = np.linspace(0, 9, len(images)).astype(int)
    found = np.array([ops.magnitude(name, int(level), 10, *images.shape[1:3]) for level in levels])
    signs = np.where(np.arange(len(images)) % 2, -1.0, 1.0) if name in ops.SIGNED else np.ones(len(images))
    made = ops.OPERATIONS[name](images.clone(), found * signs)
    assert made.dtype == torch.uint8
    assert made.shape == images.shape
    expected = torch.stack([by_torchvision(name, image, float(m)) for image, m in zip(images, found * signs, strict=True)])
    gap = (made.int() - expected.int()).abs()
    if name in EXACT:
        assert torch.equal(made, expected)
    assert (gap <= 1).float().mean() >= 0.999


@pytest.mark.reference
@pytest.mark.parametrize("levels", [10, 31])
def test_magnitudes_are_torchvision_s(levels):
    space = v2.AutoAugment._AUGMENTATION_SPACE | v2.RandAugment._AUGMENTATION_SPACE
    assert len(space) == len(ops.OPERATIONS)
    for name in ops.OPERATIONS:
        called = NAMES.get(name, "".join(word.capitalize() for word in name.split("-")))
        table, signed = space[called]
        expected = table(levels, 48, 100)
        assert signed == (name in ops.SIGNED)
        for level in range(levels):
            value = 0.0 if expected is None else float(expected[level])
            assert ops.magnitude(name, level, levels, 48, 100) == pytest.approx(value, rel=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize("found_on", ["cifar", "imagenet"])
def test_policies_are_torchvision_s(found_on):
    chosen = v2.AutoAugmentPolicy.CIFAR10 if found_on == "cifar" else v2.AutoAugmentPolicy.IMAGENET
    expected = v2.AutoAugment(chosen)._policies
    plain = {name: NAMES.get(name, "".join(word.capitalize() for word in name.split("-"))) for name in ops.OPERATIONS}
    mine = [tuple((plain[name], share, level) for name, share, level in pair) for pair in policy(found_on)]
    assert mine == [tuple((name, share, level or 0) for name, share, level in pair) for pair in expected]


@pytest.mark.parametrize("part", [RandAugment(3, 12), AutoAugment(), AutoAugment("imagenet")])
def test_a_batch_is_augmented_as_its_images_are_one_by_one(part):
    drawn = part.draw(np.random.default_rng(3), len(PHOTOS), 64, 64)
    whole = part.apply(PHOTOS, drawn)
    for i, image in enumerate(PHOTOS):
        expected = image
        for name, magnitude in zip(drawn["names"][i], drawn["magnitudes"][i], strict=True):
            expected = by_torchvision(list(ops.OPERATIONS)[name], expected, float(magnitude))
        assert ((whole[i].int() - expected.int()).abs() <= 2).float().mean() >= 0.99  # a step's rounding goes on through the next
        alone = part.apply(PHOTOS[i : i + 1], {name: values[i : i + 1] for name, values in drawn.items()})
        assert torch.equal(alone[0], whole[i])


def test_rand_augment_draws_every_operation_evenly_with_signs():
    drawn = RandAugment(2, 9).draw(np.random.default_rng(0), 20_000, 32, 32)
    shares = np.bincount(drawn["names"].ravel(), minlength=14) / 40_000
    np.testing.assert_allclose(shares, 1 / 14, atol=0.007)  # five deviations
    rotations = drawn["magnitudes"][drawn["names"] == list(ops.OPERATIONS).index("rotate")]
    assert set(np.round(rotations, 6)) == {-9.0, 9.0}
    assert (rotations > 0).mean() == pytest.approx(0.5, abs=0.06)
    assert abs(np.corrcoef(drawn["names"].T)[0, 1]) < 0.04


def test_auto_augment_draws_pairs_evenly_and_each_with_its_probability():
    drawn = AutoAugment().draw(np.random.default_rng(0), 50_000, 32, 32)
    order, pairs = list(ops.OPERATIONS), policy("cifar")
    for name in ("invert", "rotate", "equalize"):
        for place in range(2):
            expected = np.mean([share if word == name else 0.0 for pair in pairs for word, share, _ in pair[place : place + 1]])
            found = (drawn["names"][:, place] == order.index(name)).mean()
            assert found == pytest.approx(expected, abs=0.008)  # five deviations


def test_limits_change_nothing():
    for part in (RandAugment(0), Cutout(0), Blur(share=0.0)):
        assert torch.equal(part.apply(PHOTOS, part.draw(np.random.default_rng(0), 6, 64, 64)), PHOTOS)
    still = RandAugment(3, 0)
    drawn = still.draw(np.random.default_rng(0), 6, 64, 64)
    quiet = {"autocontrast", "equalize"}
    drawn["names"][np.isin(drawn["names"], [list(ops.OPERATIONS).index(name) for name in quiet])] = 0
    # Posterize keeps all bits, solarize begins at 255: white alone is turned to black.
    assert ((still.apply(PHOTOS, drawn) != PHOTOS) & (PHOTOS < 255)).sum() == 0


def test_floats_are_rounded_first():
    part, drawn = RandAugment(), RandAugment().draw(np.random.default_rng(0), 6, 64, 64)
    assert torch.equal(part.apply(PHOTOS.float() + 0.3, drawn), part.apply(PHOTOS, drawn))


# --- cutout -------------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("images", [NOISE, NOISE[..., :1], NOISE.float()], ids=["colour", "grey", "float"])
@settings(max_examples=20)
@given(size=st.integers(0, 40), seed=st.integers(0, 99))
def test_cutout_covers_a_square_as_the_authors_do(images, size, seed):
    part = Cutout(size, 9)
    drawn = part.draw(np.random.default_rng(seed), len(images), *images.shape[1:3])
    made = part.apply(images, drawn)
    assert made.dtype == images.dtype
    for i, image in enumerate(images):
        expected = image.clone()
        top, left = (int(drawn[name][i]) for name in ("top", "left"))
        expected[max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)] = 9
        assert torch.equal(made[i], expected)


def test_cutout_s_centres_are_every_pixel():
    drawn = Cutout(6).draw(np.random.default_rng(0), 20_000, 5, 4)
    shares = np.bincount((drawn["top"] + 3) * 4 + drawn["left"] + 3, minlength=20) / 20_000
    np.testing.assert_allclose(shares, 0.05, atol=0.008)


# --- blur ---------------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("images", [PHOTOS, NOISE, NOISE[..., :1]], ids=["photographs", "noise", "grey"])
def test_blur_is_torchvision_s(images):
    part = Blur(share=0.7)
    drawn = part.draw(np.random.default_rng(2), len(images), *images.shape[1:3])
    assert 0 < drawn["blurred"].sum() < len(images)
    made = part.apply(images, drawn)
    side = 2 * max(1, min(images.shape[1:3]) // 20) + 1
    for i, image in enumerate(images):
        blurred = tv.gaussian_blur(planes(image), [side, side], [float(drawn["deviation"][i])]).permute(1, 2, 0)
        expected = blurred if drawn["blurred"][i] else image
        assert ((made[i].int() - expected.int()).abs() <= 1).float().mean() >= 0.999


def test_blur_has_its_share_and_its_deviations():
    drawn = Blur(0.5, 1.5, 0.3).draw(np.random.default_rng(0), 20_000, 32, 32)
    assert drawn["blurred"].mean() == pytest.approx(0.3, abs=0.017)
    assert 0.5 <= drawn["deviation"].min() < 0.51
    assert 1.49 < drawn["deviation"].max() <= 1.5


def test_blurring_keeps_the_sum_of_a_flat_image():
    part = Blur(share=1.0)
    assert torch.equal(part.apply(FLAT, part.draw(np.random.default_rng(0), 2, 8, 8)), FLAT)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RandAugment(-1), "operations from 0"),
        (lambda: RandAugment(2, 31), "a level of 0-30"),
        (lambda: AutoAugment("svhn"), "policies 'cifar' and 'imagenet'"),
        (lambda: Cutout(-1), "size from 0"),
        (lambda: Cutout(4, 256), "grey of 0-255"),
        (lambda: Blur(0.0), "deviations above 0"),
        (lambda: Blur(share=1.5), r"share in \[0, 1\]"),
    ],
)
def test_parameters_that_cannot_be_are_refused(make, says):
    with pytest.raises(BadValue, match=says):
        make()
