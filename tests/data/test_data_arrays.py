from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data import read
from tailwise.data.readers.arrays import from_arrays, read_npz
from tailwise.errors import BadData, TailwiseError

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
        ({"x_train": IMAGES, "labels": LABELS}, "has x_train, labels"),
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


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images", "labels"), ("data", "y"), ("x", "targets"), ("X", "Y"), ("image", "label"), ("Images", "Labels")],
)
def test_npz_is_known_by_usual_names(tmp_path, images, labels):
    np.savez(tmp_path / "mine.npz", **{images: IMAGES, labels: np.array(LABELS)[:, None]})
    found = read(tmp_path / "mine.npz")
    assert found.identity == from_arrays(LABELS, images=IMAGES, name="mine").identity
    assert [(table.name, table.records) for table in found.origin.tables] == [(images, 4), (labels, 4)]


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_npz_of_a_pair_a_split(tmp_path, names):
    np.savez(tmp_path / "mine.npz", **dict(zip(names, (IMAGES, [[0], [2], [2], [0]], IMAGES[:2], [3, 0]), strict=True)))
    found = read(tmp_path / "mine.npz")
    assert found.rows["id"].to_list() == [f"train/{row:05d}" for row in range(4)] + ["test/00000", "test/00001"]
    assert {split: found.counts(split) for split in found.splits} == {"train": (2, 0, 2, 0), "test": (1, 0, 0, 1)}
    assert np.array_equal(found.arrays["train"], IMAGES)
    assert np.array_equal(found.arrays["test"], IMAGES[:2])


def test_ids_are_in_the_order_of_the_rows_beyond_a_hundred_thousand(tmp_path):
    many = np.zeros((100_002, 1, 1), np.uint8)
    np.savez(tmp_path / "many.npz", x_train=many, y_train=np.arange(len(many)) % 2)
    ids = read_npz(tmp_path / "many.npz").rows["id"]
    assert ids.is_sorted()
    assert (ids[0], ids[-1]) == ("train/000000", "train/100001")


def test_features_of_a_pair_a_split_with_class_names(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=FEATURES, y_train=LABELS, x_val=FEATURES, y_val=LABELS, class_names=np.array(["a", "b", "c"]))
    found = read(tmp_path / "mine.npz")
    assert (found.kind, found.classes, found.splits) == ("features", ("a", "b", "c"), ("train", "val"))


def test_planes_first_and_floats_are_converted_and_said(tmp_path):
    np.savez(tmp_path / "planes.npz", x=IMAGES.transpose(0, 3, 1, 2), y=LABELS)
    np.savez(tmp_path / "floats.npz", x=(IMAGES / 255).astype(np.float32), y=LABELS)
    np.savez(tmp_path / "both.npz", x_train=IMAGES.transpose(0, 3, 1, 2) / 255, y_train=LABELS)
    for name, container, said in (
        ("planes", "images", ["x: taken as (N, C, H, W) by its shape, channels put last"]),
        ("floats", "images", ["x: taken as colours 0..1 by its values, times 255"]),
        (
            "both",
            "train",
            ["x_train: taken as (N, C, H, W) by its shape, channels put last", "x_train: taken as colours 0..1 by its values, times 255"],
        ),
    ):
        found = read(tmp_path / f"{name}.npz")
        assert np.array_equal(found.arrays[container], IMAGES)
        assert set(said) <= set(found.provenance)


def test_shapes_that_can_be_read_both_ways_are_channels_last(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (4, 3, 3, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x=images, y=LABELS)
    assert np.array_equal(read(tmp_path / "mine.npz").arrays["images"], images)


@pytest.mark.parametrize(
    ("images", "message"),
    [(IMAGES * 1.0, "expected uint8"), (IMAGES / 255 - 0.1, "expected uint8"), (np.full((4, 2, 2), np.nan), "expected uint8")],
)
def test_floats_of_another_range_are_not_guessed_at(tmp_path, images, message):
    np.savez(tmp_path / "mine.npz", x=images, y=LABELS)
    with pytest.raises(BadData, match=message):
        read(tmp_path / "mine.npz")


def test_one_hot_labels_are_taken_only_where_every_row_sums_to_one(tmp_path):
    one_hot = np.eye(5)[LABELS]
    np.savez(tmp_path / "mine.npz", x=IMAGES, y=one_hot)
    found = read(tmp_path / "mine.npz")
    assert found.counts() == (2, 0, 2, 0, 0)
    assert "y: taken as one-hot by its values" in found.provenance
    for wrong, said in (([1, 1, 0, 0, 0], r"row 2 \(sum 2\)"), ([0] * 5, r"row 2 \(sum 0\)"), ([0.5, 0.5, 0, 0, 0], r"row 2 \(sum 1\)")):
        one_hot[2] = wrong
        np.savez(tmp_path / "mine.npz", x=IMAGES, y=one_hot)
        with pytest.raises(BadData, match=rf"y has shape \(4, 5\), and {said} is not one-hot"):
            read(tmp_path / "mine.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "needs the arrays"),
        ({"x": IMAGES, "images": IMAGES, "y": LABELS}, "x and images could each be the images"),
        ({"x_val": IMAGES, "y_val": LABELS, "valid_images": IMAGES}, "x_val and valid_images could each be the images"),
        ({"x_train": IMAGES, "y_train": LABELS[:3]}, "for 4 rows of images"),
        ({"x_train": np.array([None] * 4), "y_train": LABELS}, "x_train holds Python objects, which are never unpickled"),
    ],
)
def test_npz_that_cannot_be_made_out_is_refused_by_name(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(BadData, match=rf"mine\.npz.*{message}") as caught:
        read_npz(tmp_path / "mine.npz")
    assert "\n" not in str(caught.value)


def header(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("shape", ["(8000000000000,)", "(1000000, 1000, 1000, 3)", "(-1,)", "(9,)", "(" + "99999999999," * 30 + ")"])
def test_an_array_that_declares_other_than_it_holds_is_refused_before_anything_is_set_aside(tmp_path, shape):
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x_train.npy", header(shape) + bytes(10))
        archive.writestr("y_train.npy", header("(1,)") + bytes(1))
    tracemalloc.start()
    with pytest.raises(BadData, match=r"x_train declares .*, and the file holds 10 bytes of it") as caught:
        read(tmp_path / "mine.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    if shape == "(8000000000000,)":
        assert "x_train declares 7.3 TB" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["'", "(" * 5_000, "{'descr': ", "{}", "\n" * 9, "   {1}\n  2", "{'descr': 'u1', 'fortran_order': 0, 'shape': 3}"]
)
def test_headers_that_are_no_python_are_damaged(tmp_path, text):
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
    with pytest.raises(BadData, match=r"no readable \.npz archive \(the header of x is damaged\)"):
        read(tmp_path / "mine.npz")


def test_an_array_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tailwise.data.readers.npz._BOMB_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "mine.npz", x=np.zeros((100_000, 8, 8, 3), np.uint8), y=np.zeros(100_000, np.int64))
    with pytest.raises(BadData, match=r"x unpacks to 18\.3 MB from .* KB; it is refused as a bomb"):
        read(tmp_path / "mine.npz")


def test_the_packed_cifar_is_no_npz_of_images(real_data):
    with pytest.raises(BadData, match="needs the arrays 'labels' and 'images'"):
        read_npz(real_data / "cifar-100-lt/cifar100_lt100.npz")


def refusal(source: Path) -> str:
    try:
        read(source)
    except TailwiseError as error:
        return str(error)
    return ""


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), packed=st.booleans(), inside=st.booleans())
def test_any_damage_of_an_npz_gives_a_manifest_or_one_line(tmp_path, data, packed, inside):
    def damaged(content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(changed)))
            changed[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        return bytes(changed)

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, array in {"x_train": IMAGES, "y_train": np.eye(3)[LABELS], "classes": np.array(["a", "b", "c"])}.items():
            member = io.BytesIO()
            np.save(member, array)
            archive.writestr(f"{name}.npy", damaged(member.getvalue()) if inside else member.getvalue())
    (tmp_path / "mine.npz").write_bytes(file.getvalue() if inside else damaged(file.getvalue()))
    assert "\n" not in refusal(tmp_path / "mine.npz")
