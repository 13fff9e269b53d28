from __future__ import annotations

from fractions import Fraction

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data.splits import split
from tailwise.errors import BadData, BadValue

# The fixture makes a set anew for every example, so sharing it between examples does no harm.
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
counts = st.lists(st.integers(0, 40), min_size=2, max_size=5).filter(any)
percents = st.tuples(st.integers(1, 100), st.integers(0, 99)).filter(lambda p: sum(p) <= 100).map(lambda p: (*p, 100 - sum(p)))


def ids(manifest, part):
    return set(manifest.select(part)["id"])


@pytest.mark.fuzz
@quick
@given(counts=counts, percents=percents, seed=st.integers(0, 2**40), data=st.data())
def test_splits_are_exact_disjoint_whole_and_independent_of_row_order(make_set, counts, percents, seed, data):
    whole = make_set(counts)
    shares = "/".join(str(p) for p in percents)
    cut = split(whole, shares, seed)
    parts = [ids(cut, part) for part in ("train", "val", "test")]
    assert sum(len(part) for part in parts) == sum(counts)
    assert set.union(*parts) == set(whole.rows["id"])
    for label, n in enumerate(counts):
        first = int(Fraction(n * percents[0], 100) + Fraction(1, 2))
        second = int(Fraction(n * (percents[0] + percents[1]), 100) + Fraction(1, 2))
        assert (cut.counts("train")[label], cut.counts("val")[label], cut.counts("test")[label]) == (first, second - first, n - second)
    order = data.draw(st.permutations(range(sum(counts))))
    assert split(make_set(counts, order=order), shares, seed).rows.sort("id").equals(cut.rows.sort("id"))


@pytest.mark.fuzz
@quick
@given(counts=counts, seed=st.integers(0, 99))
def test_the_default_rule_leaves_every_class_of_five_one_image_each(make_set, counts, seed):
    cut = split(make_set(counts), None, seed)
    for label, n in enumerate(counts):
        sizes = [cut.counts(part)[label] for part in ("train", "val", "test")]
        assert sum(sizes) == n
        assert min(sizes) >= 1 if n >= 5 else sizes == [n, 0, 0]


def test_the_default_rule_is_20_percent_test_and_10_of_the_rest_val(make_set):
    cut = split(make_set([100, 5, 4]))
    assert [cut.counts(part) for part in ("train", "val", "test")] == [(72, 3, 4), (8, 1, 0), (20, 1, 0)]
    assert "1 class stays in train, with fewer than 5 images: class 2" in cut.provenance


def test_a_class_is_cut_the_same_whatever_other_classes_there_are(make_set):
    alone = split(make_set([20, 9]), "50/50")
    # The same ids under the same class name, with a third class behind it.
    beside = split(make_set([20, 9, 7]), "50/50")
    first = pl.col("label") == 0
    assert alone.rows.filter(first).equals(beside.rows.filter(first))


def test_another_seed_gives_another_split_and_one_seed_the_same(make_set):
    small = make_set([30, 30])
    assert split(small, "50/50", 1).rows.equals(split(small, "50/50", 1).rows)
    assert not split(small, "50/50", 1).rows.equals(split(small, "50/50", 2).rows)


def test_train_is_nested_when_its_share_grows(make_set):
    small = make_set([30, 17])
    assert ids(split(small, "20/10/70"), "train") < ids(split(small, "60/10/30"), "train")


def test_shares_may_be_fractions_of_percents(make_set):
    assert split(make_set([8, 8]), "62.5/12.5/25").counts() == (5, 5)
    assert split(make_set([8, 8]), "80/20").splits == ("train", "test")


NO_SHARES = ["80/10", "80/10/10/0", "80", "", "a/b", "80/10/ten", "0/50/50", "120/-20", "nan/50", "1/0/99/", "٨٠/٢٠"]


@pytest.mark.parametrize("shares", [*NO_SHARES, "1e999999999/0", "1e-999999999/100"])
def test_shares_that_are_not_100_percent_are_refused(make_set, shares):
    with pytest.raises(BadValue, match="write for example 80/10/10"):
        split(make_set([5, 5]), shares)


def test_a_split_set_is_not_split_again(make_set):
    cut = split(make_set([9, 9]), "80/20")
    for shares in ("80/20", None):
        with pytest.raises(BadData, match=r"split already \(train, test\)"):
            split(cut, shares)


def test_a_set_without_val_that_is_split_already_is_told_where_val_could_come_from(make_set):
    with pytest.raises(BadData, match=r"as it was read, or name some of its train images val") as without:
        split(split(make_set([9, 9]), "80/20"), "80/10/10")
    assert "\n" not in str(without.value)
    with pytest.raises(BadData, match=r"as it was read$"):
        split(split(make_set([9, 9]), "60/20/20"), "80/10/10")


def test_generated_images_are_not_split(make_set):
    small = make_set([9, 9])
    with pytest.raises(BadData, match="split first, then fill"):
        split(small.replace(rows=small.rows.with_columns(source=pl.lit("generated"))), "80/20")


def test_classes_left_without_training_images_are_said(make_set):
    cut = split(make_set([100, 1]), "10/90")
    assert cut.counts() == (10, 0)
    assert "1 class is left without training images: class 1" in cut.provenance
