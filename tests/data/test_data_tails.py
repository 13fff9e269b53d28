from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data.profiles import profile_counts
from tailwise.data.splits import split
from tailwise.data.tails import thin
from tailwise.errors import BadData, BadValue

PUBLISHED = Path(__file__).parents[2] / "../shared/data/metadata/cifar-lt/counts.json"

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
counts = st.lists(st.integers(1, 40), min_size=2, max_size=5)
profiles = st.one_of(
    st.integers(1, 300).map(lambda r: f"exponential:{r}"),
    st.integers(1, 300).map(lambda r: f"step:{r}"),
    st.floats(0.1, 9).map(lambda a: f"pareto:{a}"),
)


def train_ids(manifest):
    return {label: set(rows["id"]) for (label,), rows in manifest.select("train").partition_by("label", as_dict=True).items()}


def test_all_published_cifar_lt_counts_come_out_exactly():
    if not PUBLISHED.is_file():
        pytest.fail(f"{PUBLISHED} is absent: the published counts cannot be compared")
    published = json.loads(PUBLISHED.read_text())
    assert len(published) == 20
    for name, expected in published.items():
        _, kind, ratio = name.split("_")
        profile = f"{'exponential' if kind == 'exp' else kind}:{ratio.removeprefix('ir')}"
        assert profile_counts(profile, [max(expected)] * len(expected)) == expected, name


def test_published_totals_come_out():
    # CIFAR-10-LT and CIFAR-100-LT as the papers print them.
    totals = {10: (20431, 19573), 50: (13996, 12608), 100: (12406, 10847), 200: (11203, 9502)}
    for ratio, (ten, hundred) in totals.items():
        assert sum(profile_counts(f"exponential:{ratio}", [5000] * 10)) == ten
        assert sum(profile_counts(f"exponential:{ratio}", [500] * 100)) == hundred


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None)
@given(most=st.integers(1, 6000), ratio=st.integers(1, 1000), classes=st.integers(2, 12))
def test_exponential_is_the_floor_of_the_formula_in_whole_numbers(most, ratio, classes):
    # n = floor(most * ratio ** (-c / last)) means n ** last * ratio ** c <= most ** last < (n + 1) ** last * ratio ** c.
    last = classes - 1
    for c, n in enumerate(profile_counts(f"exponential:{ratio}", [most] * classes)):
        assert n == 1 or n**last * ratio**c <= most**last
        assert most**last < (n + 1) ** last * ratio**c


def test_a_count_on_the_edge_is_not_lost_to_floats():
    assert int(1280 * 64 ** (-5 / 6)) == 39  # in floats
    assert profile_counts("exponential:64", [1280] * 7)[5] == 40
    assert profile_counts("exponential:1000", [500] * 7) == [500, 158, 50, 15, 5, 1, 1]  # 500 * 1000 ** (-4 / 6) is 5


def test_other_profiles_by_hand():
    assert profile_counts("step:10", [50] * 5) == [50, 50, 5, 5, 5]
    assert profile_counts("pareto:1", [60] * 6) == [60, 30, 20, 15, 12, 10]
    assert profile_counts("pareto:0.5", [36] * 6) == [36, 9, 4, 2, 1, 1]
    assert profile_counts("exponential:1", [7, 9]) == [7, 7]
    assert profile_counts("exponential:100", [7]) == [7]
    assert profile_counts("exponential:1000", [10] * 3) == [10, 1, 1]  # never below one image


def test_the_smallest_class_sets_the_head():
    assert profile_counts("exponential:10", [900, 100, 500]) == [100, 31, 10]


def test_uniform_counts_lie_between_the_bounds_and_depend_on_seed_and_label():
    drawn = profile_counts("uniform:10:20", [30] * 400)
    assert (min(drawn), max(drawn)) == (10, 20)
    assert drawn == profile_counts("uniform:10:20", [40] * 400)
    assert drawn[:3] == profile_counts("uniform:10:20", [30] * 3)
    assert drawn != profile_counts("uniform:10:20", [30] * 400, seed=1)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("exp:100", "is no profile; write one of exponential:R"),
        ("", "is no profile"),
        ("exponential", "R must be an imbalance ratio"),
        ("exponential:0.01", "got '0.01'; for the inverse write 100"),
        ("exponential:nan", "R must be"),
        ("exponential:inf", "R must be"),
        ("step:-3", "R must be"),
        ("pareto:0", "A must be a power"),
        ("exponential:1e999999999", "R must be"),
        ("uniform:5", "uniform:LO:HI"),
        ("uniform:0:5", "1 <= LO <= HI"),
        ("uniform:9:5", "1 <= LO <= HI"),
        ("uniform:1.5:5", "whole numbers"),
    ],
)
def test_profiles_that_are_none_are_refused_in_one_line(profile, message):
    with pytest.raises(BadValue, match=message) as caught:
        profile_counts(profile, [9, 9])
    assert "\n" not in str(caught.value)


def test_more_than_there_is_is_refused_by_class(tmp_path):
    with pytest.raises(BadData, match=r"may want 11 training images of class 'dog' \(label 1\), 9 are present"):
        profile_counts("uniform:1:11", [12, 9], classes=("cat", "dog"))
    file = tmp_path / "counts.json"
    file.write_text("[12, 10]")
    with pytest.raises(BadData, match=r"wants 10 training images of class 'dog' \(label 1\), 9 are present"):
        profile_counts(f"counts:{file}", [12, 9], classes=("cat", "dog"))


def test_a_class_without_training_images_cannot_be_thinned():
    with pytest.raises(BadData, match="class b has no training images"):
        profile_counts("exponential:10", [5, 0], classes=("a", "b"))


@pytest.mark.parametrize("text", ["[5, 3]", '{"0": 5, "1": 3}', '{"1": 3, "0": 5}', '{"cat": 5, "dog": 3}'])
def test_counts_files_by_label_order_label_or_name(tmp_path, text):
    (tmp_path / "c:1.json").write_text(text)
    assert profile_counts(f"counts:{tmp_path / 'c:1.json'}", [9, 9], classes=("cat", "dog")) == [5, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[5]", "1 counts for 2 classes"),
        ("[5, 3.0]", "count 3.0, expected a whole number"),
        ("[5, 0]", "count 0"),
        ("[5, true]", "count True"),
        ("5", "expected a JSON list"),
        ("[5, 3", "no table of counts in JSON"),
        ("[" * 100_000, "no table of counts in JSON"),
        ('{"cat": 5}', "keys do not fit"),
        ('{"cat": 5, "cow": 3}', r"keys do not fit the 2 classes \(first: cow\)"),
        ('{"cat": 5, "cat": 4, "dog": 3}', "key 'cat' is there twice"),
    ],
)
def test_counts_files_that_do_not_fit_are_refused_by_name(tmp_path, text, message):
    file = tmp_path / "counts.json"
    file.write_text(text)
    with pytest.raises(BadData, match=rf"counts\.json.*{message}") as caught:
        profile_counts(f"counts:{file}", [9, 9], classes=("cat", "dog"))
    assert "\n" not in str(caught.value)


def test_keys_that_can_be_read_both_ways_are_refused(tmp_path):
    file = tmp_path / "counts.json"
    file.write_text('{"0": 5, "1": 3}')
    assert profile_counts(f"counts:{file}", [9, 9], classes=("0", "1")) == [5, 3]
    with pytest.raises(BadData, match="can be class names and labels"):
        profile_counts(f"counts:{file}", [9, 9], classes=("1", "0"))


def test_a_missing_counts_file_is_said():
    with pytest.raises(BadData, match=r"'none\.json' cannot be read"):
        profile_counts("counts:none.json", [9, 9])


@pytest.mark.fuzz
@quick
@given(counts=counts, profile=profiles, other=profiles, seed=st.integers(0, 99), data=st.data())
def test_tails_are_exact_nested_and_independent_of_row_order(make_set, counts, profile, other, seed, data):
    small = make_set(counts)
    tail = thin(small, profile, seed)
    assert list(tail.counts()) == profile_counts(profile, counts, seed)
    order = data.draw(st.permutations(range(sum(counts))))
    assert thin(make_set(counts, order=order), profile, seed).rows.sort("id").equals(tail.rows.sort("id"))
    first, second, whole = train_ids(tail), train_ids(thin(small, other, seed)), train_ids(small)
    for label in first:
        assert first[label] <= second[label] or second[label] <= first[label]
        assert first[label] <= whole[label]


@pytest.mark.fuzz
@quick
@given(counts=st.lists(st.integers(5, 40), min_size=2, max_size=4), profile=profiles, seed=st.integers(0, 99))
def test_val_and_test_are_untouched_by_thinning(make_set, counts, profile, seed):
    cut = split(make_set(counts), None, seed)
    tail = thin(cut, profile, seed)
    for part in ("val", "test"):
        assert tail.select(part).equals(cut.select(part))


def test_a_longer_tail_is_a_subset_of_a_shorter_one(make_set):
    small = make_set([100, 100, 100])
    short, long = train_ids(thin(small, "exponential:10")), train_ids(thin(small, "exponential:100"))
    assert all(long[label] <= short[label] for label in short)
    assert long[2] < short[2]


def test_thinning_says_what_it_kept_and_another_seed_keeps_others(make_set):
    small = make_set([50, 50])
    tail = thin(small, "exponential:10", seed=3)
    assert tail.provenance[-1] == "thinned train to exponential:10, seed 3: 55 of 100 images kept, 50 to 5 a class"
    assert train_ids(tail)[1] != train_ids(thin(small, "exponential:10", seed=4))[1]


def test_generated_images_are_not_thinned(make_set):
    small = make_set([9, 9])
    with pytest.raises(BadData, match="thin first, then fill"):
        thin(small.replace(rows=small.rows.with_columns(source=pl.lit("generated"))), "step:2")
