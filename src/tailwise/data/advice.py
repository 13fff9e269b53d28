"""Advice on a set: rules of one function each, from a description to a sentence, its reason and a command."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tailwise.data.listing import first_five
from tailwise.data.splits import SMALLEST_SHARED

if TYPE_CHECKING:
    from tailwise.data.describe import Description

DATA = "DATA"
"""Stands for the set in a command."""

FEW_TESTS = 10
EVEN_RATIO = 2.0
FEW_BELOW = 20
LOW_RESOLUTION = 40
TINY = 16
DETAILED = 320
LARGE_PIXELS = 2_000_000


@dataclass(frozen=True)
class Advice:
    """One thing to know or do.

    Attributes:
        topic: its name, the same in every version.
        says: what was found.
        because: why it matters.
        command: what to type, with `DATA` for the set; None where no command helps.
    """

    topic: str
    says: str
    because: str
    command: str | None = None


def advise(found: Description) -> tuple[Advice, ...]:
    """Give what follows from a description, the gravest first."""
    rules = _RULES if _can_train(found) else _RULES_OF_ALL
    return tuple(advice for rule in rules if (advice := rule(found)) is not None)


def next_commands(found: Description) -> tuple[str, ...]:
    """Give useful commands for a set, `DATA` in its place."""
    if not _can_train(found):
        return (f"tailwise check {DATA}",)
    drop = " --empty-classes drop" if found.empty_classes else ""
    has_tests = found.default_split is None or "test" in found.default_split
    command = f"tailwise compare {DATA}{drop}{'' if has_tests else ' --split 50/10/40'}"
    return f"{command} --dry-run", command


def name_data(command: str, data: str) -> str:
    """Put a set in its place in a command.

    >>> name_data("tailwise compare DATA --seeds 5", "'my photos'")
    "tailwise compare 'my photos' --seeds 5"
    """
    return " ".join(data if word == DATA else word for word in command.split(" "))


def _alone(found: Description) -> Advice | None:
    if found.has_files:
        return None
    return Advice(
        "images-not-found",
        "The images are not where the list says.",
        "Lists alone can be counted, split, thinned and written as lists; training needs --root with the folder that the paths start from.",
    )


def _unreadable(found: Description) -> Advice | None:
    if found.files is None or not found.files.unreadable:
        return None
    bad = found.files.unreadable
    return Advice(
        "unreadable-files",
        f"{_files(len(bad), found)} cannot be read: {first_five(bad)}.",
        "Training refuses the set until they are repaired or removed.",
    )


def _empty(found: Description) -> Advice | None:
    names = found.empty_classes
    if not names:
        return None
    return Advice(
        "classes-without-images",
        f"{_classes(len(names), found)} no training images: {first_five(names)}.",
        "Nothing can be learnt of them, so training refuses the set until they are dropped or kept on purpose.",
        f"tailwise compare {DATA} --empty-classes drop",
    )


def _small(found: Description) -> Advice | None:
    names = [c.name for c in reversed(found.by_size) if c.train < SMALLEST_SHARED]
    if not names:
        return None
    if found.default_split is None:
        return Advice(
            "very-small-classes",
            f"{_classes(len(names), found)} fewer than {SMALLEST_SHARED} training images: {first_five(names)}.",
            "Their figures change from seed to seed more than from method to method; several seeds show how much.",
            f"tailwise compare {DATA} --seeds 5",
        )
    return Advice(
        "very-small-classes",
        f"{_classes(len(names), found)} fewer than {SMALLEST_SHARED} images: {first_five(names)}.",
        "The default split leaves them whole in train, so no figure says how well they are learnt. Folds measure each image once, by a "
        "network that did not see it; a class's only image stays in train.",
        f"tailwise compare {DATA} --folds 5" if _can_be_dealt(found) else None,
    )


def _few_tests(found: Description) -> Advice | None:
    wide = [n for n in found.test_images if 0 < n < FEW_TESTS]
    if not wide:
        return None
    points = 50 / math.sqrt(min(wide))
    deals = found.default_split is not None and _can_be_dealt(found)
    return Advice(
        "few-test-images",
        f"{_classes(len(wide), found)} fewer than {FEW_TESTS} test images, the fewest {min(wide)}"
        f"{' after the default split' if found.default_split else ''}.",
        f"With n = {min(wide)} an accuracy near 50 % has a standard error of {points:.0f} points; read groups rather than classes, "
        f"and {'measure every image, with folds' if deals else 'take several seeds'}.",
        f"tailwise compare {DATA} --folds 5" if deals else f"tailwise compare {DATA} --seeds 5",
    )


def _absent_tests(found: Description) -> Advice | None:
    if found.default_split is not None or "test" not in found.splits:
        return None
    names = [c.name for c in found.classes if not c.test and c.train]
    if not names:
        return None
    return Advice(
        "classes-without-test-images",
        f"{_classes(len(names), found)} no test images: {first_five(names)}.",
        "They are trained on and are in no mean of the tables.",
    )


def _absent_vals(found: Description) -> Advice | None:
    if found.default_split is not None or not found.splits.get("val"):
        return None
    names = [c.name for c in found.classes if not c.val and c.train]
    if not names:
        return None
    return Advice(
        "classes-without-val-images",
        f"{_classes(len(names), found)} no val images: {first_five(names)}.",
        "They have no say where a tau, an epoch or a method is chosen on val.",
    )


def _no_val(found: Description) -> Advice | None:
    sizes = found.default_split or found.splits
    val = sizes.get("val", 0)
    if val >= 2 * len(found.classes):
        return None
    if not val:
        says, because = "There is no val split.", "Strengths such as tau stay at their published values, and no best epoch can be chosen."
    else:
        says = f"val has {val:,} {'image' if val == 1 else 'images'} for {len(found.classes):,} classes."
        because = "What is chosen on so few, a tau or the best epoch, is chosen by chance; prefer methods that choose nothing."
    return Advice("little-val", says, because, f"tailwise compare {DATA} --split 60/20/20" if found.default_split else None)


def _balanced(found: Description) -> Advice | None:
    ratio = found.imbalance_ratio
    if ratio is None or ratio >= EVEN_RATIO:
        return None
    return Advice(
        "balanced",
        f"The imbalance ratio is {ratio:.3g}.",
        f"Below {EVEN_RATIO:g} methods for long tails hardly differ from plain training. To see them at work, thin the set.",
        f"tailwise compare {DATA} --tail exponential:50",
    )


def _many_small(found: Description) -> Advice | None:
    small = sum(0 < c.train < FEW_BELOW for c in found.classes)
    side = _short_side(found)
    if side is None or side <= TINY or 3 * small < len(found.classes):
        return None
    return Advice(
        "many-rare-classes",
        f"{_classes(small, found)} fewer than {FEW_BELOW} training images.",
        "A network trained from scratch sees too little of them. The frozen features of a pre-trained network, on which compare trains "
        "when nothing else is said, bring more.",
        f"tailwise compare {DATA}",
    )


def _low_resolution(found: Description) -> Advice | None:
    side = _short_side(found)
    if side is None or side > LOW_RESOLUTION:
        return None
    if side <= TINY:
        return Advice(
            "tiny-images",
            f"{_side(side, found)}.",
            "The network behind the default recipe was made for photographs; the recipe demo trains a small one on the images as they are.",
            f"tailwise compare {DATA} --recipe demo",
        )
    return Advice(
        "small-images",
        f"{_side(side, found)}.",
        "The network behind the default recipe was made for photographs; quick trains one from scratch at 32 pixels, and cifar follows "
        "the published protocol of 200 epochs.",
        f"tailwise compare {DATA} --recipe quick",
    )


def _detailed(found: Description) -> Advice | None:
    side = _short_side(found)
    if side is None or side < DETAILED:
        return None
    return Advice(
        "detailed-images",
        f"{_side(side, found)}.",
        "The default recipe brings images to 160 pixels. Where small detail tells classes apart, 224 may see more, in twice the time.",
        f"tailwise compare {DATA} --set recipe.image_size=224",
    )


def _large(found: Description) -> Advice | None:
    if found.files is None or found.files.width.median * found.files.height.median < LARGE_PIXELS:
        return None
    return Advice(
        "large-files",
        f"The median image has {found.files.width.median:,} x {found.files.height.median:,} pixels.",
        "The first command that trains reads each once, which may take longer than the training; later ones find them in the store.",
    )


def _mixed_colour(found: Description) -> Advice | None:
    kinds = found.files.kinds if found.files else {}
    grey = sum(n for kind, n in kinds.items() if "grey" in kind)
    total = sum(kinds.values())
    if not 0 < grey < total:
        return None
    return Advice(
        "grey-and-colour",
        f"{_files(grey, found)} {'is' if grey == 1 else 'are'} grey, the others coloured.",
        "All are read as colour. Where greyness goes along with a class, a network learns that instead of what is shown.",
    )


_RULES: Sequence[Callable[[Description], Advice | None]] = (
    _unreadable,
    _empty,
    _small,
    _few_tests,
    _absent_tests,
    _absent_vals,
    _no_val,
    _balanced,
    _many_small,
    _low_resolution,
    _detailed,
    _large,
    _mixed_colour,
)


_RULES_OF_ALL: Sequence[Callable[[Description], Advice | None]] = (_alone, _unreadable)
"""What holds of sets, too, that nothing here trains on."""


def _can_train(found: Description) -> bool:
    return found.has_files and found.task == "classification" and found.kind != "videos"


def _short_side(found: Description) -> int | None:
    """Give the median shorter side of the images in pixels; None for features."""
    if found.kind != "images":
        return None
    if found.files is not None:
        return min(found.files.width.median, found.files.height.median)
    return min(min(array.shape[1:3]) for array in found.arrays.values())


def _can_be_dealt(found: Description) -> bool:
    """Whether the images suffice for five folds, see `folds.deal`."""
    return sum(c.train for c in found.classes if c.train > 2) >= 5


def _side(side: int, found: Description) -> str:
    is_one_size = found.files is None or not found.files.other_sizes
    return f"The shorter side is {side:,} pixels" if is_one_size else f"The median of the shorter sides is {side:,} pixels"


def _classes(number: int, found: Description) -> str:
    """Begin a sentence: so many of all classes have."""
    return f"{number:,} of {len(found.classes):,} classes {'has' if number == 1 else 'have'}"


def _files(number: int, found: Description) -> str:
    return f"{number:,} of {found.files.read if found.files else found.images:,} files"
