from __future__ import annotations

import numpy as np
import pytest

from tailwise.data.readers.arrays import from_arrays, read_npz
from tailwise.errors import BadData

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
FEATURES = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
LABELS = [0, 2, 2, 0]


def test_arrays_become_rows_in_their_order():
    found = from_arrays(LABELS, images=IMAGES, name="mine")
    assert found.rows["id"].to_list() == ["mine/0000", "mine/0001", "mine/0002", "mine/0003"]
    assert found.classes == ("0", "1", "2")
    assert found.counts() == (2, 0, 2)
    assert np.shares_memory(found.arrays["images"], IMAGES)


def test_everything_can_be_named():
    found = from_arrays(
        np.array(LABELS)[:, None], features=FEATURES, classes=["a", "b", "c", "d"], split=["train", "val", "test", "test"], ids=[4, 3, 2, 1]
    )
    assert found.kind == "features"
    assert found.rows["id"].to_list() == ["4", "3", "2", "1"]
    assert found.counts("test") == (1, 0, 1, 0)


def test_double_features_become_float32():
    assert from_arrays(LABELS, features=FEATURES.astype(np.float64)).arrays["features"].dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither images nor features"),
        ({"images": IMAGES, "features": FEATURES}, "both images and features"),
        ({"images": IMAGES / 255.0}, r"uint8 values 0\.\.255; they lie in 0\.\.1, so convert with \(255 \* images\)"),
        ({"images": IMAGES.astype(np.int64)}, "expected uint8"),
        ({"images": IMAGES[:, 0, 0]}, r"shape \(4, 3\)"),
        ({"images": IMAGES.transpose(0, 3, 1, 2)}, r"\.transpose\(0, 2, 3, 1\)"),
        ({"images": IMAGES[:3]}, "4 labels for 3 rows of images"),
        ({"features": FEATURES[:, 0]}, r"shape \(4,\), expected \(N, D\)"),
        ({"features": np.where(FEATURES > 0, np.nan, FEATURES)}, "NaN or infinite"),
        ({"features": FEATURES.astype(np.float64) * 1e300}, "NaN or infinite"),
        ({"features": FEATURES.astype(np.int32)}, "expected float32"),
        ({"features": FEATURES, "labels": [0.0, 1.0, 1.0, 0.0]}, "labels are float64, expected whole numbers"),
        ({"features": FEATURES, "labels": [True, False, True, True]}, "labels are bool"),
        ({"features": FEATURES, "labels": ["a", "b", "a", "b"]}, "expected whole numbers"),
        ({"features": FEATURES, "labels": np.eye(4, dtype=int)}, "argmax"),
        ({"features": FEATURES, "labels": [0, 1, -1, 0]}, "label -1 in row 2"),
        ({"features": FEATURES, "labels": [0, 1, 10**12, 0]}, "label 1000000000000 in row 2"),
        ({"features": FEATURES, "labels": [0, 1, 10**8, 0]}, "label 100000000 is too large"),
        ({"features": FEATURES, "labels": []}, "expected whole numbers|no labels"),
        ({"features": FEATURES, "labels": np.array([], dtype=int)}, "no labels"),
        ({"features": FEATURES, "classes": ["a", "b"]}, r"label outside 0\.\.1"),
        ({"features": FEATURES, "split": ["train"]}, "1 split for 4 rows"),
        ({"features": FEATURES, "split": ["train", "dev", "test", "test"]}, "unknown split"),
        ({"features": FEATURES, "ids": ["a", "a", "b", "c"]}, "an id that another row has"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(arguments, message):
    with pytest.raises(BadData, match=message) as caught:
        from_arrays(**{"labels": LABELS, **arguments})
    assert "\n" not in str(caught.value)


def test_npz_gives_what_from_arrays_gives(tmp_path):
    split = np.array(["train", "train", "val", "test"])
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS, split=split, classes=np.array([b"a", b"b", b"c"]), extra=[1])
    found = read_npz(tmp_path / "mine.npz")
    assert found.identity == from_arrays(LABELS, images=IMAGES, classes=["a", "b", "c"], split=split, name="mine").identity
    assert "left unread in 'mine.npz': extra" in found.provenance


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, "needs the arrays 'labels' and 'images' or 'features', has images"),
        ({"x_train": IMAGES, "labels": LABELS}, "has labels, x_train"),
        ({"images": np.array([object()] * 4), "labels": LABELS}, "Python objects, which are never unpickled"),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array([1, 2, 3])}, "array 'classes' is int64"),
        ({"images": IMAGES, "labels": LABELS, "split": np.array([["train"] * 4])}, "array 'split'"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "3 labels for 4 rows"),
        ({"images": IMAGES, "features": FEATURES, "labels": LABELS}, "both images and features"),
    ],
)
def test_npz_that_does_not_fit_is_refused_by_name(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(BadData, match=rf"mine\.npz.*{message}") as caught:
        read_npz(tmp_path / "mine.npz")
    assert "\n" not in str(caught.value)


def test_npz_that_is_none_is_refused(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, images=IMAGES, labels=LABELS)
    whole = file.read_bytes()
    for content in (b"", b"hello", whole[:200], whole[:-30], whole[:60] + b"xxxx" + whole[64:], b"\x80\x04K\x01."):
        file.write_bytes(content)
        with pytest.raises(BadData, match=r"a\.npz"):
            read_npz(file)
    with open(file, "wb") as stream:
        np.save(stream, IMAGES)
    with pytest.raises(BadData, match="a single array"):
        read_npz(file)
    with pytest.raises(BadData, match="No such file"):
        read_npz(tmp_path / "none.npz")
