"""Counts from files, in every form that people keep them in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tailwise.cli.foreign_files import read_counts
from tailwise.errors import BadData
from tailwise.posthoc.foreign import whole_counts

REAL = Path(__file__).parents[2] / "../shared/data/mini-imagenet-lt/cls_label.json"


@pytest.mark.parametrize(
    "text",
    [
        "[480, 12, 0]",
        '{"0": 480, "1": 12, "2": 0}',
        '{"2": 0, "0": 480, "1": 12}',  # in any order: the label is the key
        '\ufeff{"0": 480.0, "01": 12, "2": 0}',
    ],
)
def test_a_list_and_an_object_of_labels_are_the_same(tmp_path, text):
    (tmp_path / "counts.json").write_text(text, encoding="utf-8")
    assert read_counts(tmp_path / "counts.json") == (480, 12, 0)


def test_labels_are_ordered_as_numbers_not_as_text(tmp_path):
    (tmp_path / "counts.json").write_text(json.dumps({str(label): label + 1 for label in sorted(range(12), key=str)}))
    assert read_counts(tmp_path / "counts.json") == tuple(range(1, 13))


@pytest.mark.real
def test_the_counts_of_mini_imagenet_lt():
    """formats.md, section 1.2: 100 classes, 23,192 images, 479 at label 38, 12 at labels 55 and 67."""
    counts = read_counts(REAL)
    assert (len(counts), sum(counts), max(counts), min(counts)) == (100, 23_192, 479, 12)
    assert counts.index(479) == 38
    assert [label for label, n in enumerate(counts) if n == 12] == [55, 67]


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64"])
def test_an_array_is_read(tmp_path, dtype):
    np.save(tmp_path / "counts.npy", np.array([200, 12, 0], dtype=dtype))
    assert read_counts(tmp_path / "counts.npy") == (200, 12, 0)


def test_numbers_of_numpy_become_python_integers():
    found = whole_counts(np.array([3, 1]))
    assert found == (3, 1)
    assert json.dumps(found) == "[3, 1]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[480, -1]", "label 1 has -1"),
        ("[480, 1.5]", "label 1 has 1.5"),
        ('[480, "12"]', "label 1 has '12'"),
        ("[480, null]", "label 1 has None"),
        ("[480, true]", "label 1 has True"),
        ("[480, NaN]", "label 1 has nan"),
        ("[480, Infinity]", "label 1 has inf"),
        ("[480, 1" + 400 * "0" + "]", r"label 1 has 1000.*\.\.\."),
        ("[[1, 2]]", r"label 0 has \[1, 2\]"),
        ("[0, 0]", "no class has images"),
        ("[]", "there are no counts"),
        ("{}", "there are no counts"),
        ("480", "a single value"),
        ('{"ant": 480, "bee": 12}', r"'ant' is no label, expected 0\.\.1"),
        ('{"0": 480, "2": 12}', r"its 2 labels are not 0\.\.1"),
        ('{"0": 480, "0": 12}', r"its 2 labels are not 0\.\.1"),
        ('{"0": 480, "-1": 12}', "'-1' is no label"),
        ('{"0": {"train": 3}}', "label 0 has"),
        ("[480, 12", "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        (60_000 * "[", "cannot be read as JSON"),
    ],
)
def test_what_are_no_counts_is_refused_in_one_line_that_names_the_file(tmp_path, text, message):
    file = tmp_path / "counts.json"
    file.write_text(text)
    with pytest.raises(BadData, match=message) as caught:
        read_counts(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.array(["a", "b"]), np.array([1.0, np.nan])])
def test_arrays_that_are_no_counts_are_refused(tmp_path, array):
    np.save(tmp_path / "counts.npy", array)
    with pytest.raises(BadData, match=r"counts\.npy"):
        read_counts(tmp_path / "counts.npy")


def test_files_that_are_missing_damaged_or_pickled_are_refused(tmp_path):
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY\x01\x00")
    np.save(tmp_path / "objects.npy", np.array([None, 1]), allow_pickle=True)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name in ("damaged.npy", "objects.npy", "folder.json", "bytes.json", "nosuch.json", "nosuch.npy"):
        with pytest.raises(BadData, match=name.split(".")[0]):
            read_counts(tmp_path / name)
