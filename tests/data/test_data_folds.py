"""Folds: every image measured once, by a network that trained on others of its class."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tailwise.data import Fold, Manifest, deal, from_arrays, take_fold
from tailwise.errors import BadData, BadValue

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
counts = st.lists(st.integers(0, 25), min_size=2, max_size=6)
folds = st.integers(3, 20)
SPLITS = ("train", "val", "test")


def dealt_into(whole: Manifest, count: int, seed: int = 0) -> list[Manifest]:
    dealt = deal(whole, count, seed)
    return [take_fold(dealt, Fold(number, count)) for number in range(1, count + 1)]


def ids(manifest: Manifest, part: str) -> set[str]:
    return set(manifest.select(part)["id"])


@quick
@given(counts=counts, count=folds, seed=st.integers(0, 2**40))
def test_each_image_is_in_test_once_and_in_val_once_and_never_in_two_roles(make_set, counts, count, seed):
    assume(sum(n for n in counts if n > 2) >= count)
    whole = make_set(counts)
    label = dict(whole.rows.select("id", "label").iter_rows())
    roles = {id_: [] for id_ in label}
    for fold in dealt_into(whole, count, seed):
        assert fold.rows["id"].to_list() == whole.rows["id"].to_list()
        parts = [ids(fold, part) for part in SPLITS]
        assert sum(map(len, parts)) == len(set.union(*parts)) == whole.rows.height
        for part in SPLITS:
            for id_ in ids(fold, part):
                roles[id_].append(part)
    for id_, found in roles.items():
        n = counts[label[id_]]
        assert found.count("test") == (n > 1)
        assert found.count("val") == (n > 2)


@quick
@given(counts=counts, count=folds, seed=st.integers(0, 2**40))
def test_every_fold_trains_on_every_class_and_has_something_to_choose_and_to_test_on(make_set, counts, count, seed):
    assume(sum(n for n in counts if n > 2) >= count)
    for fold in dealt_into(make_set(counts), count, seed):
        assert all(left > 0 for left, n in zip(fold.counts("train"), counts, strict=True) if n)
        assert fold.splits == SPLITS


@quick
@given(counts=counts, count=folds, seed=st.integers(0, 2**40))
def test_parts_are_even_within_each_class_and_together(make_set, counts, count, seed):
    assume(sum(n for n in counts if n > 2) >= count)
    parts = dealt_into(make_set(counts), count, seed)
    for split in ("val", "test"):
        table = np.array([fold.counts(split) for fold in parts])  # (folds, classes)
        assert np.ptp(table, axis=0).max() <= 1
        assert np.ptp(table.sum(1)) <= 1


@quick
@given(counts=counts, count=folds, seed=st.integers(0, 99), data=st.data())
def test_what_is_test_next_is_val_now_and_the_order_of_rows_decides_nothing(make_set, counts, count, seed, data):
    assume(sum(n for n in counts if n > 2) >= count)
    whole = make_set(counts)
    parts = dealt_into(whole, count, seed)
    label = dict(whole.rows.select("id", "label").iter_rows())
    for now, coming in pairwise([*parts, parts[0]]):
        assert ids(now, "val") == {id_ for id_ in ids(coming, "test") if counts[label[id_]] > 2}
    order = data.draw(st.permutations(range(whole.rows.height)))
    mixed = whole.replace(rows=whole.rows[list(order)])
    assert deal(mixed, count, seed).rows.sort("id").equals(deal(whole, count, seed).rows.sort("id"))


def test_a_class_is_not_dealt_in_the_order_of_its_names_and_another_seed_deals_otherwise(make_set):
    whole = make_set([40, 40])
    dealt = deal(whole, 5).rows.sort("id")
    assert dealt["test_fold"].to_list()[:40] != [1, 2, 3, 4, 5] * 8
    assert dealt["test_fold"].to_list() != deal(whole, 5, seed=1).rows.sort("id")["test_fold"].to_list()
    assert dealt.equals(deal(whole, 5).rows.sort("id"))


def test_the_smallest_classes_are_said_with_what_becomes_of_them(make_set):
    said = deal(make_set([12, 2, 1, 1]), 4).provenance
    assert "1 class has two images, which are measured, and are never in val: class 1" in said
    assert "2 classes have one image, which is always trained on and never measured: class 2, class 3" in said
    assert said[-3] == "4 folds, seed 0: in each one part of 4 is test, the next val, and the rest train"


def test_images_that_were_in_val_or_test_are_dealt_too_and_that_is_said(make_set):
    whole = make_set([20, 10])
    cut = whole.replace(rows=whole.rows.with_columns(split=pl.when(pl.col("label") == 1).then(pl.lit("test")).otherwise("split")))
    dealt = deal(cut, 5)
    assert dealt.splits == ("train",)
    assert "all labelled images are dealt, 10 of val and test among them" in dealt.provenance
    assert dealt.rows.select("id", "test_fold").equals(deal(whole, 5).rows.select("id", "test_fold"))


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 21])
def test_numbers_that_are_no_folds_are_refused(make_set, count):
    with pytest.raises(BadValue, match="from 3 to 20"):
        deal(make_set([30, 30]), count)


def test_too_few_images_and_generated_ones_are_refused(make_set):
    with pytest.raises(BadData, match="has 6 images in classes of three or more, too few for 7 folds"):
        deal(make_set([6, 2, 2, 1]), 7)
    deal(make_set([6, 2, 2, 1]), 6)
    whole = from_arrays(np.repeat([0, 1], 10), features=np.zeros((20, 2), np.float32))
    made = whole.replace(rows=whole.rows.with_columns(source=pl.Series(["real"] * 19 + ["generated"])))
    with pytest.raises(BadData, match="generated"):
        deal(made, 5)
