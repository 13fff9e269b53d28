from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import polars as pl
import pytest

from tailwise.data import check_sound, check_trainable, split
from tailwise.data.columns import all_differ
from tailwise.data.manifest import Manifest
from tailwise.errors import BadData, BadValue


def table(**columns):
    base = {"id": ["a", "b", "c"], "path": ["a.png", "b.png", "c.png"], "label": [0, 1, 1], "split": ["train", "train", "test"]}
    return pl.DataFrame({**base, **columns})


def manifest(**columns):
    return Manifest(table(**columns), ("cat", "dog"), root="pets", name="pets")


def test_counts_are_per_class_in_label_order_and_name_empty_classes():
    found = Manifest(table(), ("cat", "dog", "owl"), root="pets")
    assert found.counts() == (1, 1, 0)
    assert found.counts("test") == (0, 1, 0)
    assert found.splits == ("train", "test")


def test_generated_rows_are_never_counted_as_real():
    found = manifest(source=["real", "generated", None])
    assert found.counts() == (1, 0)
    assert found.counts("test") == (0, 1)
    assert found.has_generated


def test_select_is_sorted_by_id_whatever_the_order_of_rows():
    backwards = Manifest(table().reverse(), ("cat", "dog"), root="pets")
    assert backwards.select("train")["id"].to_list() == ["a", "b"]
    assert backwards.select("val").height == 0
    with pytest.raises(BadValue, match="'valid' is none"):
        backwards.select("valid")


def test_columns_get_their_types_and_others_are_kept():
    found = manifest(label=np.array([0, 1, 1], dtype=np.uint8), origin=["x", "y", "z"], weight=[1, 2, 3])
    assert found.rows.schema["label"] == pl.Int32
    assert found.rows.schema["weight"] == pl.Float64
    assert found.rows.schema["row"] == pl.Int64
    assert found.rows["origin"].to_list() == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", "a", "c"]}, "2 rows of manifest 'pets' have an id that another row has"),
        ({"id": ["a", None, "c"]}, "have no id"),
        ({"label": [0, 2, 1]}, r"label outside 0..1 \(id b\)"),
        ({"targets": [[0], [0, 2], []], "label": [None] * 3}, r"target outside 0..1 \(id b\)"),
        ({"targets": [[0], [1, 1], []], "label": [None] * 3}, r"target twice \(id b\)"),
        ({"targets": [[0], [1], []]}, "label beside targets"),
        ({"value": [1.0, float("inf"), None]}, r"value that is not finite \(id b\)"),
        ({"label": [0.0, 1.0, 1.0]}, "column 'label' .* holds Float64"),
        ({"label": ["0", "1", "1"]}, "column 'label' .* holds String"),
        ({"label": [0, 1, 2**40]}, "column 'label'"),
        ({"split": ["train", "valid", "test"]}, r"unknown split \(id b\); use train, val or test"),
        ({"path": ["a.png", None, "c.png"]}, "do not say where their image is"),
        ({"path": ["a.png", "../b.png", "c.png"]}, "leaves the root"),
        ({"path": ["a.png", "/etc/b.png", "c.png"]}, "leaves the root"),
        ({"path": ["a.png", "x/../../b.png", "c.png"]}, "leaves the root"),
        ({"weight": [1.0, float("nan"), 1.0]}, "no number from 0 on"),
        ({"weight": [1.0, -1.0, 1.0]}, "no number from 0 on"),
        ({"source": ["real", "drawn", "real"]}, "unknown source"),
        ({"container": [None, "images", None]}, "do not say where"),
    ],
)
def test_wrong_values_are_refused_in_one_line_that_names_the_row(columns, message):
    with pytest.raises(BadData, match=message) as caught:
        manifest(**columns)
    assert "\n" not in str(caught.value)


def test_a_path_with_two_dots_in_a_name_is_fine():
    assert manifest(path=["a..png", "..b.png", "x/c..d/e.png"]).rows.height == 3


def test_five_bad_rows_are_named_and_all_counted():
    rows = pl.DataFrame({"id": [f"r{i}" for i in range(9)], "path": ["p"] * 9, "label": [7] * 9, "split": ["train"] * 9})
    with pytest.raises(BadData, match=r"9 rows .*\(id r0, r1, r2, r3, r4 and 4 more\)"):
        Manifest(rows, ("a", "b"), root="x")


def test_a_missing_column_says_what_is_there():
    with pytest.raises(BadData, match="lacks the column label, split; it has id, path"):
        Manifest(table().select("id", "path"), ("cat", "dog"), root="pets")


@pytest.mark.parametrize(("classes", "message"), [((), "non-empty"), (("cat", ""), "non-empty"), (("cat", "cat"), "name cat twice")])
def test_class_names_are_unique_and_not_empty(classes, message):
    with pytest.raises(BadData, match=message):
        Manifest(table(), classes, root="pets")


def test_a_table_without_rows_is_refused():
    with pytest.raises(BadData, match="no rows"):
        Manifest(table().clear(), ("cat", "dog"), root="pets")


def test_a_list_stands_without_its_images_and_is_saved_as_one(tmp_path):
    alone = Manifest(table(), ("cat", "dog"))
    assert not alone.has_files
    assert alone.with_content().rows["content"].to_list() == ["path:a.png", "path:b.png", "path:c.png"]
    assert Manifest.load(alone.save(tmp_path / "saved")).identity == alone.identity
    with pytest.raises(BadData, match="pass --root"):
        check_sound(alone)


def test_several_labels_an_image_count_for_each_class_and_are_in_the_identity():
    of = lambda targets: Manifest(table(label=[None] * 3, split=["train"] * 3, targets=targets), ("cat", "dog"))  # noqa: E731
    several = of([[0, 1], [1], None])
    assert (several.task, several.counts()) == ("multi-label", (1, 2))
    assert several.identity == of([[1, 0], [1], None]).identity != of([[1, 0], [1], []]).identity
    with pytest.raises(BadData, match="is a multi-label set"):
        check_trainable(several)
    with pytest.raises(BadData, match="several labels an image"):
        split(several)


def test_a_value_is_a_regression_target_and_in_the_identity():
    real = Manifest(table(value=[1.5, 2.5, None]), ("1", "2"))
    assert real.task == "regression"
    assert real.identity != Manifest(table(value=[1.5, 2.25, None]), ("1", "2")).identity


def test_images_without_a_label_are_counted_nowhere_and_not_trained_on():
    some = Manifest(table(label=[0, None, 1], split=["train"] * 3), ("cat", "dog"))
    assert some.counts() == (1, 1)
    trained = check_trainable(some)
    assert trained.rows["id"].to_list() == ["a", "c"]
    assert trained.provenance[-1] == "left out 1 images without a label"


def test_what_is_known_of_the_classes_is_saved_and_goes_with_them(tmp_path):
    known = pl.DataFrame({"class_id": ["007", "9"], "family": ["Felidae", None]})
    found = Manifest(table(label=[1, 1, 1], split=["train"] * 3), ("cat", "dog"), class_table=known)
    assert Manifest.load(found.save(tmp_path / "saved")).class_table.equals(known)
    with pytest.raises(BadData, match="1 rows for 2 classes"):
        found.replace(class_table=known[:1])
    with pytest.raises(BadData, match="expected text"):
        found.replace(class_table=pl.DataFrame({"class_id": [7, 9]}))


@pytest.mark.parametrize(("row", "container", "message"), [(3, "images", "outside array 'images'"), (0, "other", "not there")])
def test_rows_of_arrays_must_be_there(row, container, message):
    rows = pl.DataFrame({"id": ["a"], "container": [container], "row": [row], "label": [0], "split": ["train"]})
    with pytest.raises(BadData, match=message):
        Manifest(rows, ("cat",), arrays={"images": np.zeros((3, 2, 2), np.uint8)})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 2, 2)), r"0\.\.1, so convert"),
        (np.zeros((3, 2, 2, 4), np.uint8), "1 or 3 channels"),
        (np.zeros((3, 3, 8, 8), np.uint8), "transpose"),
        (np.zeros((3, 5)), "expected float32"),
        (np.full((3, 5), np.nan, np.float32), "3 rows"),
        (np.zeros((3,), np.uint8), "shape"),
    ],
)
def test_arrays_of_another_kind_are_refused(array, message):
    rows = pl.DataFrame({"id": ["a"], "container": ["x"], "row": [0], "label": [0], "split": ["train"]})
    with pytest.raises(BadData, match=message):
        Manifest(rows, ("cat",), arrays={"x": array})


def test_images_and_features_are_never_mixed(make_set):
    small = make_set([2, 2])
    with pytest.raises(BadData, match="mixes images and features"):
        small.replace(arrays={**small.arrays, "more": np.zeros((4, 3), np.float32)})


def test_kind_says_what_a_row_is(make_set):
    small = make_set([2, 2])
    assert small.kind == "images"
    assert small.replace(arrays={"images": np.zeros((4, 3), np.float32)}).kind == "features"


def test_a_manifest_cannot_be_changed(make_set):
    small = make_set([2, 2])
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        small.arrays["images"][0] = 1


def test_repr_is_one_line_with_size_classes_ratio_and_splits(make_set):
    assert repr(make_set([20, 2])) == "Manifest 'small': 22 images, 2 classes, imbalance ratio 10; train 22"


def test_replace_keeps_provenance_and_adds_to_it(make_set):
    assert make_set([1, 1]).replace("one").replace("two", name="x").provenance == ("one", "two")


def test_identity_ignores_order_name_root_and_defaults(make_set):
    small = make_set([3, 3])
    same = [
        make_set([3, 3], order=[5, 0, 3, 1, 4, 2]),
        small.replace("something was done", name="other", root="/elsewhere"),
        small.replace(rows=small.rows.with_columns(weight=pl.lit(1.0), source=pl.lit("real"))),
        small.with_content(),
        pickle.loads(pickle.dumps(small)),
    ]
    assert {other.identity for other in same} == {small.identity}


def test_identity_sees_pixels_labels_splits_weights_sources_ids_and_classes(make_set):
    small = make_set([3, 3])
    pixels = small.arrays["images"].copy()
    pixels[4, 0, 0] ^= 1
    first = pl.col("id") == "image-0"
    changed = [
        small.replace(arrays={"images": pixels}),
        small.replace(rows=small.rows.with_columns(label=pl.when(first).then(1).otherwise("label"))),
        small.replace(rows=small.rows.with_columns(split=pl.when(first).then(pl.lit("val")).otherwise("split"))),
        small.replace(rows=small.rows.with_columns(weight=pl.when(first).then(0.5).otherwise(1.0))),
        small.replace(rows=small.rows.with_columns(source=pl.when(first).then(pl.lit("generated")).otherwise(pl.lit("real")))),
        small.replace(rows=small.rows.with_columns(id=pl.when(first).then(pl.lit("image-x")).otherwise("id"))),
        small.replace(classes=("class 0", "class one")),
    ]
    assert len({small.identity, *(other.identity for other in changed)}) == len(changed) + 1


def test_identity_is_the_same_number_in_every_process(make_set):
    # Guards what is stored in cards: a change here makes every saved set unreadable.
    assert make_set([2, 1]).identity == "c7af0b6c3ccfe159cb61b6707c5584045c657b70bafcaacdbc6897957c7dad4f"


@pytest.mark.parametrize(
    ("texts", "differ"),
    [
        ([], True),
        (["a"], True),
        (["a", "b"], True),
        (["a", "b", "a"], False),
        ([None, "a"], True),
        ([None, "a", None], False),
        (["", None], True),
    ],
)
def test_all_differ(texts, differ):
    assert all_differ(pl.Series(texts, dtype=pl.String)) is differ


def test_equal_hashes_of_different_texts_are_no_equal_texts(monkeypatch):
    monkeypatch.setattr(pl.Series, "hash", lambda self: pl.Series([7] * len(self), dtype=pl.UInt64))
    assert all_differ(pl.Series(["a", "b"]))
    assert not all_differ(pl.Series(["a", "a"]))


def test_another_name_is_said_of_a_copy_and_nothing_is_checked_again(monkeypatch):
    kept = manifest(content=["1", "2", "3"])
    before = kept.identity
    monkeypatch.setattr("tailwise.data.manifest.check_rows", lambda *_: pytest.fail("checked again"))
    renamed = kept.replace("renamed", name="other")
    assert (renamed.name, renamed.provenance[-1], renamed.identity) == ("other", "renamed", before)
    assert (kept.name, kept.provenance) == ("pets", ())
