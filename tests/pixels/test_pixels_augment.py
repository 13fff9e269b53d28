"""Each batched augmentation against a slow version that takes one image, or one pixel, at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from tailwise import seeds
from tailwise.errors import BadValue
from tailwise.pixels import Normalise, View
from tailwise.pixels.augment import ColourJitter, Flip, Grey, PadCrop, ResizedCrop

BATCH = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, 9, 12, 3), dtype=np.uint8))
GREY = BATCH[..., :1]
ALL = [PadCrop(3), PadCrop(3, "edge"), Flip(), Grey(0.5), ColourJitter(), ResizedCrop(), ResizedCrop(0.5, 2.0)]
EACH = pytest.mark.parametrize("augmentation", ALL, ids=["zeros", "edge", "flip", "grey", "jitter", "resized", "resized-wide"])


def draw(augmentation, rows: int = 7, height: int = 9, width: int = 12, seed: int = 0):
    return augmentation.draw(np.random.default_rng(seed), rows, height, width)


# --- pad and crop -------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("images", [BATCH, GREY, BATCH.float()], ids=["colour", "grey", "float"])
@pytest.mark.parametrize("pad", [1, 3, 15])
@pytest.mark.parametrize(("fill", "mode"), [("zeros", "constant"), ("edge", "edge")])
def test_pad_crop_equals_padding_then_cropping(images, pad, fill, mode):
    augmentation = PadCrop(pad, fill)
    drawn = draw(augmentation)
    made = augmentation.apply(images, drawn)
    assert made.dtype == images.dtype
    for i in range(7):
        padded = np.pad(images[i].numpy(), ((pad, pad), (pad, pad), (0, 0)), mode=mode)
        top, left = drawn["top"][i], drawn["left"][i]
        np.testing.assert_array_equal(made[i], padded[top : top + 9, left : left + 12])


def test_pad_crop_draws_every_corner_evenly():
    drawn = draw(PadCrop(2), rows=20_000)
    for name in ("top", "left"):
        shares = np.bincount(drawn[name], minlength=5) / 20_000
        assert len(shares) == 5
        np.testing.assert_allclose(shares, 0.2, atol=0.015)  # five deviations of a share of 0.2
    assert abs(np.corrcoef(drawn["top"], drawn["left"])[0, 1]) < 0.04


@pytest.mark.limit
@pytest.mark.parametrize("fill", ["zeros", "edge"])
def test_no_padding_changes_nothing(fill):
    assert torch.equal(PadCrop(0, fill).apply(BATCH, draw(PadCrop(0, fill))), BATCH)


# --- flip ---------------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("images", [BATCH, GREY], ids=["colour", "grey"])
def test_flip_mirrors_left_to_right(images):
    drawn = draw(Flip(), seed=1)
    assert 0 < drawn["flipped"].sum() < 7
    made = Flip().apply(images, drawn)
    for i in range(7):
        for x in range(12):
            assert torch.equal(made[i, :, x], images[i, :, 11 - x] if drawn["flipped"][i] else images[i, :, x])


def test_flip_has_its_share():
    assert draw(Flip(0.3), rows=20_000)["flipped"].mean() == pytest.approx(0.3, abs=0.017)  # five deviations
    assert not draw(Flip(0.0))["flipped"].any()
    assert draw(Flip(1.0))["flipped"].all()


# --- colour -------------------------------------------------------------------------------------------------------------


@pytest.mark.reference
def test_colour_jitter_equals_torchvision_in_the_same_order():
    """torchvision's luma is 0.2989 red, ours 0.299: 0.03 of 255 in a grey, times the factors."""
    augmentation = ColourJitter(0.6, 0.5, 0.7)
    drawn = draw(augmentation, seed=4)
    made = augmentation.apply(BATCH, drawn)
    for i in range(7):
        image = BATCH[i].permute(2, 0, 1).float() / 255
        image = tv.adjust_brightness(image, float(drawn["brightness"][i]))
        image = tv.adjust_contrast(image, float(drawn["contrast"][i]))
        image = tv.adjust_saturation(image, float(drawn["saturation"][i]))
        torch.testing.assert_close(made[i], 255 * image.permute(1, 2, 0), rtol=0, atol=0.1)


@pytest.mark.reference
def test_colour_jitter_equals_a_loop_over_pixels():
    augmentation = ColourJitter(0.6, 0.5, 0.7)
    drawn = draw(augmentation, seed=4)
    made = augmentation.apply(BATCH, drawn)

    def clip(values: np.ndarray) -> np.ndarray:
        return np.clip(values, 0, 255)

    def luma(pixel: np.ndarray) -> float:
        return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]

    for i in range(7):
        b, c, s = (drawn[name][i] for name in ("brightness", "contrast", "saturation"))
        image = clip(b * BATCH[i].numpy().astype(np.float64)).reshape(-1, 3)
        mean = np.mean([luma(pixel) for pixel in image])
        image = clip(c * image + (1 - c) * mean)
        image = np.array([clip(s * pixel + (1 - s) * luma(pixel)) for pixel in image])
        np.testing.assert_allclose(made[i].reshape(-1, 3), image, atol=2e-3)  # float32 of 255


def test_colour_jitter_draws_within_its_strengths():
    drawn = draw(ColourJitter(0.2, 0.5, 1.5), rows=5000)
    for name, low, high in (("brightness", 0.8, 1.2), ("contrast", 0.5, 1.5), ("saturation", 0.0, 2.5)):
        assert low <= drawn[name].min() < low + 0.02
        assert high - 0.02 < drawn[name].max() <= high
    assert abs(np.corrcoef(drawn["brightness"], drawn["contrast"])[0, 1]) < 0.08


@pytest.mark.limit
def test_no_strength_changes_nothing():
    augmentation = ColourJitter(0.0, 0.0, 0.0)
    torch.testing.assert_close(augmentation.apply(BATCH, draw(augmentation)), BATCH.float(), rtol=0, atol=1e-4)


def test_grey_images_keep_their_saturation():
    augmentation = ColourJitter(0.0, 0.0, 0.9)
    torch.testing.assert_close(augmentation.apply(GREY, draw(augmentation)), GREY.float(), rtol=0, atol=1e-4)


@pytest.mark.reference
def test_grey_equals_torchvision_where_it_is_drawn():
    """torchvision's luma is 0.2989 red, ours 0.299."""
    drawn = draw(Grey(0.5), seed=1)
    assert 0 < drawn["grey"].sum() < 7
    made = Grey(0.5).apply(BATCH, drawn)
    for i in range(7):
        image = BATCH[i].permute(2, 0, 1).float()
        expected = tv.rgb_to_grayscale(image, num_output_channels=3) if drawn["grey"][i] else image
        torch.testing.assert_close(made[i], expected.permute(1, 2, 0), rtol=0, atol=0.05)


@pytest.mark.reference
def test_grey_equals_a_loop_over_pixels():
    made = Grey(1.0).apply(BATCH, draw(Grey(1.0)))
    for pixel, got in zip(BATCH.reshape(-1, 3).tolist(), made.reshape(-1, 3).tolist(), strict=True):
        assert got == pytest.approx([0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]] * 3, abs=1e-3)


def test_grey_has_its_share_and_leaves_images_of_one_channel():
    assert draw(Grey(0.2), rows=20_000)["grey"].mean() == pytest.approx(0.2, abs=0.015)  # five deviations
    assert Grey(1.0).apply(GREY, draw(Grey(1.0))) is GREY
    assert torch.equal(Grey(0.0).apply(BATCH, draw(Grey(0.0))), BATCH.float())
    with pytest.raises(BadValue, match=r"share in \[0, 1\], got 2"):
        Grey(2)


# --- resized crop -------------------------------------------------------------------------------------------------------


def slow_resized(image: np.ndarray, top: float, left: float, box_height: float, box_width: float) -> np.ndarray:
    """Sample the centres of the output's cells bilinearly in the image; beyond the image's outermost centres its edge repeats."""
    height, width = image.shape[:2]
    made = np.empty(image.shape)
    for i in range(height):
        for j in range(width):
            y = min(max(top + (i + 0.5) * box_height / height - 0.5, 0), height - 1)
            x = min(max(left + (j + 0.5) * box_width / width - 0.5, 0), width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            upper = (1 - (x - x0)) * image[y0, x0] + (x - x0) * image[y0, x1]
            lower = (1 - (x - x0)) * image[y1, x0] + (x - x0) * image[y1, x1]
            made[i, j] = (1 - (y - y0)) * upper + (y - y0) * lower
    return made


@pytest.mark.reference
@pytest.mark.parametrize("images", [BATCH, GREY], ids=["colour", "grey"])
def test_resized_crop_equals_a_loop_over_pixels(images):
    drawn = draw(ResizedCrop(), seed=2)
    made = ResizedCrop().apply(images, drawn)
    assert made.shape == images.shape
    for i in range(7):
        expected = slow_resized(images[i].numpy().astype(np.float64), *(drawn[name][i] for name in ("top", "left", "height", "width")))
        np.testing.assert_allclose(made[i], expected, atol=2e-3)  # float32 places times a slope of 255 a pixel


@pytest.mark.limit
def test_the_full_box_changes_nothing():
    full = {name: np.full(7, value) for name, value in {"top": 0.0, "left": 0.0, "height": 9.0, "width": 12.0}.items()}
    torch.testing.assert_close(ResizedCrop().apply(BATCH, full), BATCH.float(), rtol=0, atol=1e-3)


def test_a_box_of_one_colour_gives_that_colour():
    """Inside a uniform half of the image, a pixel from its border, nothing of the other half is seen."""
    images = torch.zeros(1, 16, 16, 3)
    images[:, :, 8:] = 200.0
    box = {"top": np.array([2.0]), "left": np.array([9.0]), "height": np.array([10.0]), "width": np.array([7.0])}
    torch.testing.assert_close(ResizedCrop().apply(images, box), torch.full((1, 16, 16, 3), 200.0))


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 1.0), st.floats(1.0, 4.0), st.integers(0, 99))
def test_boxes_lie_within_the_image(height, width, smallest, ratio, seed):
    drawn = draw(ResizedCrop(smallest, ratio), 50, height, width, seed)
    assert {len(values) for values in drawn.values()} == {50}
    assert all((values == np.rint(values)).all() for values in drawn.values())
    assert drawn["height"].min() >= 1
    assert drawn["width"].min() >= 1
    assert drawn["top"].min() >= 0
    assert drawn["left"].min() >= 0
    assert (drawn["top"] + drawn["height"]).max() <= height
    assert (drawn["left"] + drawn["width"]).max() <= width


def test_share_and_shape_of_a_box_are_in_bounds():
    """On 400 pixels rounding moves a side by 0.5 of at least 98, hence a share by about one per cent of itself."""
    drawn = draw(ResizedCrop(0.08, 4 / 3), 5000, 400, 400)
    share = drawn["height"] * drawn["width"] / 400**2
    aspect = drawn["width"] / drawn["height"]
    assert 0.079 <= share.min() < 0.1
    assert 0.93 < share.max() <= 1.0
    assert 0.74 <= aspect.min() < 0.77
    assert 1.3 < aspect.max() <= 1.35
    assert np.median(np.log(aspect)) == pytest.approx(0, abs=0.02)
    middle = drawn["top"] / np.maximum(1, 400 - drawn["height"])
    assert middle.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("place", "side", "size"), [("top", "height", 8), ("left", "width", 8)])
def test_every_place_of_a_box_is_as_likely(place, side, size):
    """Boxes of 5 pixels in 8 have four places, the last one too."""
    drawn = draw(ResizedCrop(0.2), 40_000, size, size)
    places = np.bincount(drawn[place][drawn[side] == 5].astype(int), minlength=4)
    assert len(places) == 4
    np.testing.assert_allclose(places / places.sum(), 0.25, atol=0.03)


def test_a_long_image_falls_back_to_the_largest_centred_box():
    """At 4 x 100 pixels and at least 90 % of the area no box of aspect 3/4 to 4/3 fits: 4 x 5, in the middle, as torchvision has it."""
    drawn = draw(ResizedCrop(0.9), 3, 4, 100)
    assert [drawn[name].tolist() for name in ("height", "width", "top", "left")] == [[4] * 3, [5] * 3, [0] * 3, [47] * 3]
    drawn = draw(ResizedCrop(0.9), 3, 100, 4)
    assert [drawn[name].tolist() for name in ("height", "width", "top", "left")] == [[5] * 3, [4] * 3, [47] * 3, [0] * 3]


# --- what all keep ------------------------------------------------------------------------------------------------------


@EACH
def test_keeps_shape_range_and_its_input(augmentation):
    before = BATCH.clone()
    made = augmentation.apply(BATCH, draw(augmentation))
    assert made.shape == BATCH.shape
    assert float(made.min()) >= 0
    assert float(made.max()) <= 255
    assert torch.equal(BATCH, before)


@EACH
def test_draws_depend_on_the_generator_alone(augmentation):
    one, other = draw(augmentation, seed=3), draw(augmentation, seed=3)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert {len(values) for values in one.values()} == {7}


@EACH
def test_a_row_is_changed_by_its_own_draw(augmentation):
    """Row by row equals all at once."""
    drawn = draw(augmentation, seed=5)
    whole = augmentation.apply(BATCH, drawn)
    for i in range(7):
        one = augmentation.apply(BATCH[i : i + 1], {name: values[i : i + 1] for name, values in drawn.items()})
        torch.testing.assert_close(one[0], whole[i], rtol=0, atol=1e-3)


# --- views --------------------------------------------------------------------------------------------------------------

VIEW = View((ResizedCrop(), PadCrop(2), Flip(), ColourJitter()), Normalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))


def rng(k: int) -> np.random.Generator:
    return seeds.generator(0, "view", k)


@pytest.mark.parametrize("rows", [slice(0, 4), slice(4, 7), slice(1, 7, 3), slice(6, 7)])
def test_rows_of_a_view_are_rows_of_the_whole(rows):
    """Draws are made for the whole batch and then cut, so that a process that sees a part of it sees the same pixels."""
    whole = VIEW(BATCH, rng, slice(0, 7), 7)
    part = VIEW(BATCH[rows], rng, rows, 7)
    torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-4)


def test_augmentations_run_in_order():
    view = View((PadCrop(2), Flip(1.0)), Normalise())
    expected = Normalise()(Flip(1.0).apply(PadCrop(2).apply(BATCH, PadCrop(2).draw(rng(0), 7, 9, 12)), {"flipped": np.ones(7, bool)}))
    assert torch.equal(view(BATCH, rng, slice(None), 7), expected)


def test_equal_augmentations_draw_for_themselves():
    """Two shifts of one chain take the generators 0 and 1."""
    shift = PadCrop(2)
    once = shift.apply(BATCH, shift.draw(rng(0), 7, 9, 12))
    expected = Normalise()(shift.apply(once, shift.draw(rng(1), 7, 9, 12)))
    assert torch.equal(View((shift, shift), Normalise())(BATCH, rng, slice(None), 7), expected)


def test_a_plain_view_only_normalises():
    assert torch.equal(View((), Normalise())(BATCH, rng, slice(None), 7), Normalise()(BATCH))


def test_features_pass_unchanged():
    features = torch.randn(5, 3)
    assert VIEW(features, rng, slice(0, 5), 5) is features


@pytest.mark.parametrize(
    "chain", [(), (PadCrop(1),), (Flip(),), (Grey(),), (ColourJitter(),), (ResizedCrop(), Flip(), ColourJitter()), VIEW.augment], ids=len
)
def test_a_view_is_channels_last_in_memory(chain):
    made = View(chain, Normalise())(BATCH, rng, slice(None), 7)
    assert made.shape == (7, 3, 9, 12)
    assert made.dtype == torch.float32
    assert made.is_contiguous(memory_format=torch.channels_last)


# --- normalisation ------------------------------------------------------------------------------------------------------


def normalised(images: Tensor, mean: list[float], std: list[float]) -> Tensor:
    return torch.stack([tv.normalize(image.permute(2, 0, 1).float() / 255, mean, std) for image in images])


@pytest.mark.reference
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_normalise_equals_torchvision(kind):
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    made = Normalise(mean, std)(BATCH.to(kind))
    torch.testing.assert_close(made, normalised(BATCH, list(mean), list(std)), rtol=1e-6, atol=1e-6)


def test_one_figure_serves_every_channel():
    torch.testing.assert_close(Normalise((0.5,), (0.25,))(BATCH), normalised(BATCH, [0.5] * 3, [0.25] * 3), rtol=1e-6, atol=1e-6)


def test_grey_images_take_the_mean_of_three():
    made = Normalise((0.3, 0.4, 0.5), (0.1, 0.2, 0.3))(GREY)
    assert made.shape == (7, 1, 9, 12)
    torch.testing.assert_close(made, normalised(GREY, [0.4], [0.2]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.0,)), ((0.5, 0.5, 0.5), (0.5,)), ((0.5, 0.5), (0.5, 0.5)), ((0.5,), (-1.0,))])
def test_impossible_figures_are_refused(mean, std):
    with pytest.raises(BadValue, match="one or three means"):
        Normalise(mean, std)
