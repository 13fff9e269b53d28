from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tailwise.errors import BadData
from tailwise.evaluation import from_counts

TOTALS = {"many": 79 * 60, "medium": 17 * 60, "few": 4 * 60}  # classes times test images, mini-ImageNet-LT


def rows(found) -> dict[str, str]:
    """What is printed: group -> accuracy in percent."""
    return {name: accuracy for _, name, accuracy, *_ in (map(str.strip, line.split("|")) for line in str(found).splitlines()[2:])}


@pytest.mark.reference
@pytest.mark.parametrize(
    ("correct", "printed"),
    [
        ((3598, 637, 122), ("75.91", "62.45", "50.83", "72.62")),  # published: RSG
        ((3762, 656, 135), ("79.37", "64.31", "56.25", "75.88")),  # published: Stable Diffusion; the authors cut 79.367 to 79.36
    ],
)
def test_published_runs_to_the_digit(correct, printed):
    found = from_counts(dict(zip(TOTALS, zip(correct, TOTALS.values(), strict=True), strict=True)))
    assert rows(found) == dict(zip((*TOTALS, "all"), printed, strict=True))


def test_inside_shares_are_unrounded():
    found = from_counts({"many": (3598, 4740), "few": (122, 240)})
    assert found.groups["many"].accuracy == 3598 / 4740
    assert (found.all.correct, found.all.images) == (3720, 4980)
    assert found.all.accuracy == 3720 / 4980  # of images, not the mean of the two groups


def test_it_is_frozen_and_keeps_the_order_of_groups():
    found = from_counts({"few": (0, 3), "many": (3, 3)})
    assert list(found.groups) == ["few", "many"]
    assert rows(found) == {"few": "0.00", "many": "100.00", "all": "50.00"}
    assert "Pooled(correct=0, images=3)" in repr(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.all = None


def test_numbers_of_numpy_are_numbers():
    assert from_counts({"few": (np.int64(1), np.int32(2))}).all.accuracy == 0.5


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "no groups"),
        ({"all": (1, 2)}, "is called 'all'"),
        ({"few": (3, 2)}, "3 right answers of 2 images"),
        ({"few": (-1, 2)}, "-1 right answers"),
        ({"few": (0, 0)}, "images above 0"),
        ({"few": (0.5, 1)}, "two whole numbers"),
        ({"few": (True, 1)}, "two whole numbers"),
        ({"few": ("1", "2")}, "two whole numbers"),
        ({"few": (1, 2, 3)}, "two whole numbers"),
        ({"few": 3}, "two whole numbers"),
    ],
)
def test_numbers_that_cannot_be_are_refused(groups, message):
    with pytest.raises(BadData, match=message) as caught:
        from_counts(groups)
    assert "\n" not in str(caught.value)
