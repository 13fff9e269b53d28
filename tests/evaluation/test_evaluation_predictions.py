import errno
import hashlib
import json
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import numpy as safetensors

from tailwise.counts import ClassCounts
from tailwise.errors import BadData, OutputExists, Stopped, UnknownName, Unwritable
from tailwise.evaluation import Predictions, SplitPredictions
from tailwise.groups import make_groups

CLASSES = ("γάτα", "okapi", "saola")
COUNTS = ClassCounts((200, 40, 3), (200.0, 80.5, 30.0))


def part(seed: int = 0, images: int = 4, width: int | None = 5, network: bool = True, ids=None) -> SplitPredictions:
    random = np.random.default_rng(seed)
    return SplitPredictions(
        tuple(f"εικόνες/{i}.jpg" for i in range(images)) if ids is None else ids,
        random.integers(0, 3, images),
        random.normal(size=(images, 3)),
        None if width is None else random.normal(size=(images, width)),
        random.normal(size=(images, 3)) if network else None,
    )


def made(**changes) -> Predictions:
    plain = {
        "splits": {"val": part(1, 2), "test": part(2)},
        "classes": CLASSES,
        "counts": COUNTS,
        "groups": make_groups(COUNTS.real),
        "data": "9f2c",
        "class_means": np.array([[1.0] * 5, [2.0] * 5, [np.nan] * 5]),
        "head_weight": np.ones((3, 5)),
        "head_bias": np.zeros(3),
    }
    return Predictions(**{**plain, **changes})


def assert_same(one: object, other: object) -> None:
    for field in fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name == "splits":
            assert list(mine) == list(theirs)
            for name in mine:
                assert_same(mine[name], theirs[name])
        elif isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)
        else:
            assert mine == theirs


def test_saved_and_loaded_are_the_same(tmp_path):
    made().save(tmp_path / "predictions")
    assert_same(made(), Predictions.load(tmp_path / "predictions"))
    assert sorted(os.listdir(tmp_path)) == ["predictions"]
    assert sorted(os.listdir(tmp_path / "predictions")) == [
        "head.safetensors",
        "predictions.json",
        "split-test.safetensors",
        "split-val.safetensors",
    ]


IDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), unique=True, max_size=6)


@pytest.mark.fuzz
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(IDS, st.booleans(), st.sampled_from([None, 0, 1, 3]), st.booleans(), st.integers(0, 99))
def test_anything_saved_comes_back(tmp_path, ids, network, width, head, seed):
    folder = tmp_path / os.urandom(6).hex()
    weight = np.ones((3, width)) if head and width else None
    predictions = made(
        splits={"test": part(seed, len(ids), width, network, tuple(ids)), "empty-1": part(seed, 0, width, network)},
        class_means=None,
        head_weight=weight,
        head_bias=None,
    )
    predictions.save(folder)
    assert_same(predictions, Predictions.load(folder))


def test_equal_predictions_make_equal_bytes(tmp_path):
    for name in ("one", "two"):
        made().save(tmp_path / name)
    for file in os.listdir(tmp_path / "one"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    Predictions.load(tmp_path / "one").save(tmp_path / "again")
    assert (tmp_path / "one/predictions.json").read_bytes() == (tmp_path / "again/predictions.json").read_bytes()


def test_counts_and_groups_of_numpy_numbers_can_be_saved(tmp_path):
    real = tuple(np.array([200, 40, 3]))
    made(counts=ClassCounts(real), groups=make_groups(real)).save(tmp_path / "p")
    assert Predictions.load(tmp_path / "p").counts == ClassCounts((200, 40, 3))


def test_layout_of_the_arrays_does_not_matter(tmp_path):
    logits = np.arange(12.0).reshape(3, 4).T
    split = SplitPredictions(("a", "b", "c", "d"), np.zeros(4, int), logits)
    made(splits={"test": split}).save(tmp_path / "p")
    np.testing.assert_array_equal(Predictions.load(tmp_path / "p").split("test").logits, logits)


def test_arrays_have_the_promised_dtypes_and_are_read_only():
    split = part()
    assert (split.labels.dtype, split.logits.dtype, split.features.dtype) == (np.int64, np.float32, np.float32)
    with pytest.raises(ValueError, match="read-only"):
        split.logits[0, 0] = 1.0


def test_the_callers_array_stays_writable():
    logits = np.zeros((1, 3), np.float32)
    SplitPredictions(("a",), np.zeros(1, np.int64), logits)
    logits[0, 0] = 1.0
    assert logits.flags.writeable


def test_an_unknown_split_is_named_with_the_nearest():
    with pytest.raises(UnknownName, match=r"no split is called 'tets'\. Did you mean 'test'"):
        made().split("tets")


# --- refused before anything is written ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ("a", "b", "a", "d")}, "id 'a' is there twice"),
        ({"ids": ("a", "b", "c", "\udcff")}, "no text that can be stored"),
        ({"ids": ("a", "b", "c", 4)}, "no text that can be stored"),
        ({"ids": ("a", "b", "c")}, r"logits must have shape \(3, any\), got \(4, 3\)"),
        ({"labels": [0, 1, 2]}, r"labels must be one integer for each of 4 ids"),
        ({"labels": [0.0, 1.0, 2.0, 0.0]}, "labels must be one integer"),
        ({"labels": [0, 1, 2, 3]}, r"labels must be 0\.\.2, got 0\.\.3"),
        ({"labels": [0, 1, 2, -1]}, r"labels must be 0\.\.2, got -1\.\.2"),
        ({"logits": np.full((4, 3), np.nan)}, "logits must be finite, and row 0 is not"),
        ({"logits": np.full((4, 3), 1e39)}, "logits must be finite"),
        ({"logits": np.zeros((4, 3), bool)}, "logits must be numbers"),
        ({"features": np.zeros((3, 5))}, r"features must have shape \(4, any\)"),
        ({"features": np.array([[0.0], [0.0], [np.inf], [0.0]])}, "features must be finite, and row 2 is not"),
        ({"network_logits": np.zeros((4, 2))}, r"network_logits must have shape \(4, 3\)"),
    ],
)
def test_answers_that_cannot_be_are_refused(changes, message):
    with pytest.raises(BadData, match=message):
        replace(part(), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a", "b")}, "3 counts for 2 classes"),
        ({"classes": ("a", "b", "a")}, "class 'a' is named twice"),
        ({"groups": make_groups((9, 3))}, "each of the 3 classes exactly once"),
        ({"splits": {"../test": part()}}, "cannot be a file name"),
        ({"splits": {"test": part(), "Test": part()}}, "one file on some disks"),
        ({"splits": {"test": part(width=4)}, "class_means": None}, r"head_weight must have shape \(3, 4\)"),
        ({"splits": {"test": part(), "val": part(width=4)}}, r"features of split 'val' must have shape \(4, 5\)"),
        ({"head_weight": None}, "head_bias comes without head_weight"),
        ({"head_bias": np.zeros(2)}, r"head_bias must have shape \(3\)"),
        ({"head_weight": np.full((3, 5), np.inf)}, "head_weight must be finite"),
    ],
)
def test_parts_that_do_not_agree_are_refused(changes, message):
    with pytest.raises(BadData, match=message):
        made(**changes)


def test_logits_of_other_classes_are_refused():
    with pytest.raises(BadData, match="split 'test' has logits of 3 classes, expected 2"):
        Predictions({"test": part()}, ("a", "b"), ClassCounts((9, 3)), make_groups((9, 3)), "")


# --- the folder -------------------------------------------------------------------------------------------------------


def test_an_existing_folder_is_kept(tmp_path):
    (tmp_path / "p").mkdir()
    made().save(tmp_path / "p")
    with pytest.raises(OutputExists, match="not empty"):
        made(data="other").save(tmp_path / "p")
    assert Predictions.load(tmp_path / "p").data == "9f2c"


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, Stopped), (errno.EIO, Unwritable)])
def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch, number, error):
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match=os.strerror(number)):
        made().save(tmp_path / "p")
    assert os.listdir(tmp_path) == []


def refused(folder: Path) -> str:
    with pytest.raises(BadData) as caught:
        Predictions.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_folder_or_file_is_one_line(tmp_path):
    assert "cannot be read: No such file" in refused(tmp_path / "nothing")
    made().save(tmp_path / "p")
    for file in os.listdir(tmp_path / "p"):
        kept = (tmp_path / "p" / file).read_bytes()
        (tmp_path / "p" / file).unlink()
        assert file in refused(tmp_path / "p")
        (tmp_path / "p" / file).write_bytes(kept)


@pytest.mark.parametrize("file", ["split-test.safetensors", "head.safetensors"])
def test_a_damaged_byte_anywhere_is_found(tmp_path, file):
    made().save(tmp_path / "p")
    path = tmp_path / "p" / file
    whole = path.read_bytes()
    for position in range(0, len(whole), 13):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert "damaged or replaced" in refused(tmp_path / "p")
    path.write_bytes(whole[:-1])
    assert "damaged or replaced" in refused(tmp_path / "p")


def test_a_card_cut_anywhere_is_one_line(tmp_path):
    made().save(tmp_path / "p")
    path = tmp_path / "p/predictions.json"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:length])
        assert "damaged" in refused(tmp_path / "p")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "tailwise.predictions/2"}, "schema 'tailwise.predictions/2', expected 'tailwise.predictions/1'"),
        ({"schema": None}, "schema None"),
        ({"classes": 3}, "damaged: Expected `array`"),
        ({"counts": {"real": [1, -2, 3]}}, "class counts are never negative"),
        ({"counts": {"real": [1, 2]}}, "2 counts for 3 classes"),
        ({"groups": {"scheme": "thirds", "rule": "", "members": {"all": [0, 1, 5]}}}, "each of the 3 classes"),
        ({"splits": {"../test": {"images": 1, "sha256": ""}}}, "cannot be a file name"),
    ],
)
def test_a_card_that_says_what_cannot_be_is_one_line(tmp_path, changes, message):
    made().save(tmp_path / "p")
    path = tmp_path / "p/predictions.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes, "seal": None}))
    assert message in refused(tmp_path / "p")


def test_a_changed_number_of_the_card_is_found_and_a_card_without_a_seal_is_read(tmp_path):
    made().save(tmp_path / "p")
    path = tmp_path / "p/predictions.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "data": "9f2d"}))
    assert "not as it was written" in refused(tmp_path / "p")
    path.write_text(json.dumps(dict(reversed(whole.items()))))
    assert Predictions.load(tmp_path / "p").data == "9f2c"
    path.write_text(json.dumps({name: value for name, value in whole.items() if name != "seal"}))
    assert Predictions.load(tmp_path / "p").data == "9f2c"


def test_damage_in_a_run_says_which_folder_to_delete(tmp_path):
    (tmp_path / "run.json").touch()
    made().save(tmp_path / "predictions")
    (tmp_path / "predictions/head.safetensors").write_bytes(b"")
    assert f"delete {tmp_path} and run the command that made it again" in refused(tmp_path / "predictions")


def test_a_card_nested_without_end_is_one_line(tmp_path):
    (tmp_path / "predictions.json").write_bytes(b"[" * 200_000)
    assert "damaged" in refused(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": None}, "lacks offsets"),
        ({"offsets": np.array([0, 3], np.int64)}, "do not fit each other"),
        ({"offsets": np.array([0, 9, 1], np.int64)}, "do not fit each other"),
        ({"offsets": np.array([0.0, 1.0])}, "do not fit each other"),
        ({"offsets": np.array([], np.int64)}, "do not fit each other"),
        ({"offsets": np.array([0, 1], np.int64), "ids": np.array([255], np.uint8)}, "not UTF-8"),
        ({"offsets": np.array([0, 1, 2], np.int64), "ids": np.array([65, 66], np.uint8)}, "2 ids"),
        ({"logits": np.full((1, 3), np.inf, np.float32)}, "logits must be finite"),
    ],
)
def test_a_split_written_by_something_else_is_checked(tmp_path, changes, message):
    arrays = {
        "ids": np.array([65], np.uint8),
        "offsets": np.array([0, 1], np.int64),
        "labels": np.array([0]),
        "logits": np.zeros((1, 3), np.float32),
    }
    one = SplitPredictions(("A",), arrays["labels"], arrays["logits"])
    made(splits={"test": one}).save(tmp_path / "p")
    data = safetensors.save({name: array for name, array in {**arrays, **changes}.items() if array is not None})
    (tmp_path / "p/split-test.safetensors").write_bytes(data)
    card = tmp_path / "p/predictions.json"
    plain = json.loads(card.read_text())
    plain["splits"]["test"]["sha256"] = hashlib.sha256(data).hexdigest()
    card.write_text(json.dumps({**plain, "seal": None}))
    assert message in refused(tmp_path / "p")
