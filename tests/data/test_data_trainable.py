from __future__ import annotations

import pytest

from tailwise.data.splits import split
from tailwise.data.trainable import check_trainable
from tailwise.errors import BadData, BadValue


def test_a_set_with_images_in_every_class_is_given_back(make_set):
    small = make_set([2, 1])
    assert check_trainable(small) is small


def test_a_class_without_training_images_is_refused_by_name_with_a_way_out(make_set):
    with pytest.raises(BadData, match=r"of class 'class 1' \(label 1\); .*--empty-classes keep\|drop"):
        check_trainable(make_set([2, 0, 2]))
    with pytest.raises(BadData, match=r"6 classes of 'class 1' \(label 1\), .* and 1 more"):
        check_trainable(make_set([2, 0, 0, 0, 0, 0, 0, 2]))


def test_keep_changes_nothing(make_set):
    small = make_set([2, 0, 2])
    assert check_trainable(small, "keep") is small


def test_drop_removes_the_class_with_its_other_images_and_renumbers(make_set):
    cut = split(make_set([100, 1, 100]), "10/90")  # class 1 has a test image and no training image
    dropped = check_trainable(cut, "drop")
    assert dropped.classes == ("class 0", "class 2")
    assert dropped.counts("train") == (10, 10)
    assert dropped.counts("test") == (90, 90)
    was = dict(cut.rows.select("id", "label").iter_rows())
    assert {(was[i], label) for i, label in dropped.rows.select("id", "label").iter_rows()} == {(0, 0), (2, 1)}
    assert "with 1 images of other splits: 'class 1' (label 1)" in dropped.provenance[-1]


@pytest.mark.parametrize("choice", ["refuse", "keep", "drop"])
def test_one_class_with_training_images_is_too_few_whatever_is_asked(make_set, choice):
    with pytest.raises(BadData, match="training images of 1 class, expected two classes or more"):
        check_trainable(make_set([2, 0]), choice)


def test_an_unknown_choice_is_refused(make_set):
    with pytest.raises(BadValue, match="'ignore' is none; give one of refuse, keep, drop"):
        check_trainable(make_set([2, 2]), "ignore")
