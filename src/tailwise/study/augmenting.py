"""Augmentations that are typed: `--set recipe.augment="pad-crop,flip,cutout(size=8)"`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tailwise.errors import BadValue, UnknownName
from tailwise.knobs import display_name, with_knobs
from tailwise.pixels import augment
from tailwise.pixels.augmentation import Augmentation
from tailwise.recipe import Recipe
from tailwise.registry import split_outside

AUGMENTATIONS: dict[str, Any] = {display_name(getattr(augment, name)): getattr(augment, name) for name in augment.__all__}
"""By the names that one types."""


def take_augmentations(settings: Sequence[str], recipe: Recipe) -> tuple[tuple[str, ...], Recipe]:
    """Apply `recipe.augment=...` and `recipe.second.augment=...`, the last of each.

    Returns:
        The other settings, and the recipe.

    Raises:
        UnknownName: no such augmentation, or knob of one.
        BadValue: text that is no list of augmentations, or a recipe without a second one.
    """
    others = []
    for setting in settings:
        path, _, text = setting.partition("=")
        if path == "recipe.augment":
            recipe = replace(recipe, augment=parse_augmentations(text))
        elif path == "recipe.second.augment" and recipe.second is not None:
            recipe = replace(recipe, second=replace(recipe.second, augment=parse_augmentations(text)))
        else:
            others.append(setting)
    return tuple(others), recipe


def parse_augmentations(text: str) -> tuple[Augmentation, ...]:
    """Read augmentations in their order; `none` for none.

    >>> parse_augmentations("pad-crop(pad=2),flip")
    (PadCrop(pad=2, fill='zeros'), Flip(share=0.5))
    """
    if text.strip() == "none":
        return ()
    return tuple(_one(part.strip()) for part in split_outside(text, ","))


def _one(text: str) -> Augmentation:
    name, bracket, rest = text.partition("(")
    name = name.strip()
    if name not in AUGMENTATIONS:
        raise UnknownName("augmentation", name, AUGMENTATIONS, see="`none` leaves all out.")
    if bracket and not rest.endswith(")"):
        raise BadValue(f"brackets do not match in {text!r}")
    words = [word.partition("=") for word in split_outside(rest[:-1], ",")] if bracket and rest != ")" else []
    if any(not equals for _, equals, _ in words):
        raise BadValue(f"an augmentation's knobs are set as in {name}(knob=value), got {text!r}")
    made: Augmentation = with_knobs(AUGMENTATIONS[name](), {knob.strip(): value.strip() for knob, _, value in words}, name)
    return made
