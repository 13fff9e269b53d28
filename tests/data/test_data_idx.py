from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from tailwise.data import read
from tailwise.errors import BadData

FASHION = Path(__file__).parents[2] / "../shared/data/fashion-mnist"
PIXELS = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three training images, one of them packed with its labels plain, and two test images."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.array([1, 0, 2], np.uint8)))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(PIXELS[::-1][:2]))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([2, 2], np.uint8)))
    return folder


def test_rows_columns_labels_and_splits_are_where_they_were(small):
    found = read(small)
    assert {split: found.counts(split) for split in found.splits} == {"train": (1, 1, 1), "test": (0, 0, 2)}
    by_id = {row["id"]: row for row in found.rows.iter_rows(named=True)}
    assert set(by_id) == {"train/00000", "train/00001", "train/00002", "test/00000", "test/00001"}
    assert [by_id[f"train/{n:05d}"]["label"] for n in range(3)] == [1, 0, 2]
    row = by_id["test/00001"]
    np.testing.assert_array_equal(found.arrays[row["container"]][row["row"]], PIXELS[1])
    assert found.arrays["train"][2, 3, 4] == 59  # the last pixel of the last image, by hand


def test_the_origin_says_format_and_files(small):
    origin = read(small).origin
    assert origin.format == "idx"
    assert {table.name: table.records for table in origin.tables} == {
        "t10k-images-idx3-ubyte": 2,
        "t10k-labels-idx1-ubyte": 2,
        "train-images-idx3-ubyte.gz": 3,
        "train-labels-idx1-ubyte": 3,
    }


def test_one_file_of_images_is_read_with_the_labels_beside_it(small):
    found = read(small / "t10k-images-idx3-ubyte")
    assert found.splits == ("test",)
    assert found.rows["label"].to_list() == [0, 0]
    assert found.classes == ("2",)


def test_a_plain_file_is_taken_before_its_packed_twin(small):
    (small / "train-images-idx3-ubyte").write_bytes(idx(PIXELS + 1))
    assert read(small).arrays["train"][0, 0, 0] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"begins with nothing, expected 00 00 08 03"),
        (b"PK\x03\x04", "begins with 50 4b 03 04, expected"),
        (idx(PIXELS.reshape(-1)), "begins with 00 00 08 01, expected 00 00 08 03"),
        (b"\0\0\x0d\x03" + idx(PIXELS)[4:], "begins with 00 00 0d 03"),
        (idx(PIXELS)[:9], "ends inside its header, at byte 9"),
        (idx(PIXELS)[:-1], r"59 bytes where its header says 60 \(3 x 4 x 5\)"),
        (idx(PIXELS) + b"x", "more bytes where its header says 60"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"x", "1 bytes where its header says"),
        (b"\0\0\x08\x03" + b"\0" * 12, r"sizes \(0, 0, 0\)"),
        (gzip.compress(idx(PIXELS), mtime=0)[:-9], "a damaged gzip file"),
        (idx(PIXELS[:2]), "3 labels for the 2 images of train-images"),
    ],
)
def test_damage_is_refused_in_one_line(small, content, message):
    (small / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(BadData, match=message) as caught:
        read(small)
    assert "\n" not in str(caught.value)


def test_missing_labels_are_refused(small):
    (small / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(BadData, match=r"no labels beside it, expected train-labels-idx1-ubyte\.gz; put the file there"):
        read(small)


def test_two_files_for_one_split_are_refused(small):
    shutil.copy(small / "t10k-images-idx3-ubyte", small / "test-images-idx3-ubyte")
    shutil.copy(small / "t10k-labels-idx1-ubyte", small / "test-labels-idx1-ubyte")
    with pytest.raises(BadData, match="test-images-idx3-ubyte and t10k-images-idx3-ubyte are both test; give one file of images"):
        read(small)


@pytest.mark.real
def test_fashion_mnist_is_what_its_authors_say():
    assert FASHION.is_dir(), f"{FASHION} is missing"
    found = read(FASHION)
    assert found.counts() == (6000,) * 10
    assert found.counts("test") == (1000,) * 10
    assert found.arrays["train"].shape == (60000, 28, 28)
    assert found.arrays["train"].mean(dtype=np.float64) / 255 == pytest.approx(0.286, abs=5e-4)
    assert found.arrays["train"].std(dtype=np.float64) / 255 == pytest.approx(0.353, abs=5e-4)
    assert found.rows.filter(found.rows["split"] == "train")["label"][:10].to_list() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]  # as published
