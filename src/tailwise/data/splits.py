"""Cut a set into train, val and test: exact, per class, and the same whatever the order of the rows."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import polars as pl

from tailwise.data.columns import SPLITS
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.order import seeded_order
from tailwise.errors import BadData, BadValue

_PERCENT = re.compile(r" *[0-9]{1,3}(\.[0-9]{1,9})? *")

SMALLEST_SHARED = 5
"""The default rule takes nothing away from classes with fewer images."""


FIFTH, TENTH = Fraction(1, 5), Fraction(1, 10)


def split(manifest: Manifest, shares: str | None = None, seed: int = 0) -> Manifest:
    """Cut each class into train, val and test.

    Each class's sorted ids are put into one seeded order; train is its beginning, then val, then test. The cuts are the cumulative
    shares of the class, rounded half up, so that sizes are exact and add up.

    Args:
        manifest: all of its rows must be `train`, and real.
        shares: percent of train/val/test (`80/10/10`) or train/test (`80/20`), in this order, together 100. None is the default
            rule: 20 % test and 10 % of the rest val, at least one image each; classes with fewer than five images stay in train.
        seed: another seed gives another split.

    Raises:
        BadValue: shares that are no percentages, or are not 100 together.
        BadData: the set is split already, or holds generated images, which must come from training images alone.

    >>> from tailwise.data.readers.digits import read_digits
    >>> split(read_digits(), "50/10/40")
    Manifest 'digits': 1,797 images, 10 classes, imbalance ratio 1.057; train 901, val 177, test 719
    """
    percents = None if shares is None else parse_shares(shares)
    if manifest.splits != ("train",):
        marked = "" if "val" in manifest.splits else ", or name some of its train images val where its splits are named"
        raise BadData(f"manifest {manifest.name!r} is split already ({', '.join(manifest.splits)}); split the set as it was read{marked}")
    if manifest.has_generated:
        raise BadData(f"manifest {manifest.name!r} holds generated images; split first, then fill")
    if manifest.task == "multi-label":
        raise BadData(f"manifest {manifest.name!r} has several labels an image and is not split here; name the splits in its table")
    stops = None if percents is None else (percents[0] / 100, (percents[0] + percents[1]) / 100)
    order, images = seeded_order(manifest.rows, manifest.classes, seed, "split")
    numbers, which = np.unique(images, return_inverse=True)  # many classes are of one size
    cuts = np.array([_default_sizes(number) if stops is None else _sizes(number, stops) for number in numbers.tolist()])[which]
    of_row = np.zeros(manifest.rows.height, dtype=np.int64)  # rows without a label stay in train
    of_row[order] = np.repeat(np.tile(np.arange(3), len(cuts)), cuts.reshape(-1))
    small = [] if percents is not None else _named(manifest, (images > 0) & (images < SMALLEST_SHARED))
    untrained = _named(manifest, (images > 0) & (cuts[:, 0] == 0))
    column = pl.Series(SPLITS).gather(of_row).alias("split")
    return manifest.replace(*_said(shares, seed, of_row, small, untrained), rows=manifest.rows.with_columns(column))


def parse_shares(shares: str) -> tuple[Fraction, Fraction, Fraction]:
    """Read `train/val/test` or `train/test` in percent, exactly.

    >>> [float(share) for share in parse_shares("80/20")]
    [80.0, 0.0, 20.0]
    """
    parts = shares.split("/")
    if len(parts) not in (2, 3) or not all(_PERCENT.fullmatch(part) for part in parts):
        raise BadValue(f"split {shares!r} is no train/val/test in percent; write for example 80/10/10, or 80/20 for train/test")
    numbers = [Fraction(part) for part in parts]
    train, val, test = numbers if len(numbers) == 3 else (numbers[0], Fraction(0), numbers[1])
    if train == 0 or sum(numbers) != 100:
        raise BadValue(f"split {shares!r} adds up to {float(sum(numbers)):g}, expected 100 with some for train; write for example 80/10/10")
    return train, val, test


def _half_up(images: int, share: Fraction) -> int:
    """Give a share of the images, halves rounded up, in whole numbers alone: there may be a million classes."""
    below = share.denominator
    return (2 * images * share.numerator + below) // (2 * below)


def _sizes(images: int, stops: tuple[Fraction, Fraction]) -> tuple[int, int, int]:
    train_stop, val_stop = (_half_up(images, share) for share in stops)
    return train_stop, val_stop - train_stop, images - val_stop


def _default_sizes(images: int) -> tuple[int, int, int]:
    if images < SMALLEST_SHARED:
        return images, 0, 0
    test = max(1, _half_up(images, FIFTH))
    val = max(1, _half_up(images - test, TENTH))
    return images - test - val, val, test


def _named(manifest: Manifest, which: np.ndarray) -> list[str]:
    return [manifest.classes[label] for label in np.flatnonzero(which).tolist()]


def _said(shares: str | None, seed: int, of_row: np.ndarray, small: list[str], untrained: list[str]) -> list[str]:
    train, val, test = (int(n) for n in np.bincount(of_row, minlength=3))
    rule = shares or "by the default rule (20 % test, 10 % of the rest val)"
    said = [f"split {rule}, seed {seed}: {train:,} train, {val:,} val, {test:,} test"]
    if small:
        stay = "class stays" if len(small) == 1 else "classes stay"
        said.append(f"{len(small):,} {stay} in train, with fewer than {SMALLEST_SHARED} images: {first_five(small)}")
    if untrained:
        left = "class is" if len(untrained) == 1 else "classes are"
        said.append(f"{len(untrained):,} {left} left without training images: {first_five(untrained)}")
    return said
