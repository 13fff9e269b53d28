from __future__ import annotations

import polars as pl
import pytest

from tailwise.data.origin import Finding, Origin
from tailwise.data.splits import split
from tailwise.data.trainable import check_sound, check_trainable, weigh_generated
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


def filled(make_set, **columns):
    base = make_set([2, 2])
    sources = ["real", "generated", "real", "generated"]
    return base.replace(rows=base.rows.with_columns(source=pl.Series(sources), **{k: pl.Series(v) for k, v in columns.items()}))


def test_generated_images_weigh_what_one_says_and_nothing_leaves_them_out(make_set):
    assert weigh_generated(filled(make_set), 0.25).rows["weight"].to_list() == [1, 0.25, 1, 0.25]
    assert weigh_generated(filled(make_set, weight=[2.0, 0.5, 1.0, 0.0]), 0.5).rows["weight"].to_list() == [2, 0.25, 1]
    none = weigh_generated(filled(make_set), 0.0)
    assert none.rows["id"].to_list() == ["image-0", "image-2"]
    assert none.provenance[-2:] == ("generated images have weight 0 in training", "left out 2 generated images of weight 0")
    assert weigh_generated(filled(make_set), None).rows.height == 4


@pytest.mark.parametrize(("weight", "said"), [(-1.0, "no finite number"), (float("nan"), "no finite number"), (1.0, "no generated images")])
def test_a_weight_that_cannot_be_is_refused(make_set, weight, said):
    with pytest.raises(BadValue, match=said):
        weigh_generated(make_set([2, 2]), weight)


@pytest.mark.parametrize("split", ["val", "test"])
def test_generated_images_are_never_measured_on(make_set, split):
    base = filled(make_set)
    check_sound(base)
    with pytest.raises(BadData, match=r"1 generated images in val or test \(image-3\)"):
        check_sound(base.replace(rows=base.rows.with_columns(split=pl.Series(["train", "train", split, split]))))


def test_an_error_of_the_reader_keeps_a_set_from_training(make_set):
    errors = tuple(Finding("clash", "error", f"clash {n}") for n in (1, 2))
    note = Finding("gap", "note", "a gap")
    check_sound(make_set([2, 2]).replace(origin=Origin(findings=(note,))))
    with pytest.raises(BadData, match=r"small: clash 1 \(and 1 more findings: see `tailwise explore`\); correct the data"):
        check_sound(make_set([2, 2]).replace(origin=Origin(findings=(note, *errors))))
