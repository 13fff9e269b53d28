"""Augmentations that are typed reach the recipe, and what is none is refused in one line."""

from __future__ import annotations

import pytest

import tailwise as tw
from tailwise.errors import BadValue, UnknownName
from tailwise.pixels.augment import AutoAugment, Blur, Cutout, Flip, PadCrop, RandAugment, ResizedCrop
from tailwise.registry import load
from tailwise.store import Store
from tailwise.study.augmenting import AUGMENTATIONS, parse_augmentations, take_augmentations


def test_every_augmentation_has_a_name():
    assert set(AUGMENTATIONS) == {
        *("auto-augment", "blur", "colour-jitter", "cutout", "flip", "grey", "pad-crop", "rand-augment", "resized-crop"),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", ()),
        ("flip", (Flip(),)),
        ("pad-crop(pad=2,fill=edge), flip", (PadCrop(2, "edge"), Flip())),
        ("auto-augment(found_on=imagenet),cutout(size=8)", (AutoAugment("imagenet"), Cutout(8))),
        ("resized-crop(),rand-augment(operations=3,level=10),blur(share=1)", (ResizedCrop(), RandAugment(3, 10), Blur(share=1.0))),
    ],
)
def test_they_are_read_in_their_order(text, expected):
    assert parse_augmentations(text) == expected


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("flop", UnknownName, "flip"),
        ("flip(0.5)", BadValue, "knob=value"),
        ("cutout(side=8)", UnknownName, "size"),
        ("cutout(size=8", BadValue, "brackets"),
        ("cutout(size=-8)", BadValue, "size from 0"),
        ("", UnknownName, "augmentation"),
    ],
)
def test_what_is_none_is_refused(text, error, says):
    with pytest.raises(error, match=says) as raised:
        parse_augmentations(text)
    assert "\n" not in str(raised.value)


def test_settings_reach_both_recipes_and_leave_the_others():
    recipe = load("recipe", "cifar")
    others, made = take_augmentations(("recipe.augment=flip", "tau=1", "recipe.second.augment=none"), recipe)
    assert others == ("tau=1",)
    assert made.augment == (Flip(),)
    assert made.second.augment == ()
    assert take_augmentations(("tau=1",), recipe) == (("tau=1",), recipe)


def test_a_run_is_trained_with_them_and_says_so(tmp_path):
    words = ["recipe.epochs=1", "recipe.augment=pad-crop(pad=1),rand-augment,cutout(size=3)"]
    run = tw.train("digits", "ce", recipe="demo", settings=words, out=tmp_path / "run", store=Store(tmp_path / "store"))
    assert "RandAugment" in str(run.record["recipe"]["augment"])
    assert "Cutout" in str(run.record["recipe"]["augment"])
