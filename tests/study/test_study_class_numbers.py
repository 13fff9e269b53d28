"""What is expected at test, in every form that people keep it in."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tailwise.errors import BadData
from tailwise.study.class_numbers import read_class_numbers, read_prior

CLASSES = ("ant", "bee", "Käfer")


@pytest.mark.parametrize(
    "text",
    [
        "[480, 12.5, 0]",
        '{"2": 0, "0": 480, "1": 12.5}',
        '{"Käfer": 0, "ant": 480, "bee": 12.5}',
        '\ufeff{"bee": 12.5, "Käfer": 0, "ant": 480}',
    ],
)
def test_lists_labels_and_names_are_the_same(tmp_path, text):
    file = tmp_path / "q.json"
    file.write_text(text, encoding="utf-8")
    assert read_prior(file, CLASSES) == read_prior(str(file), CLASSES) == [480, 12.5, 0]


def test_an_array_is_read_and_words_and_numbers_stay(tmp_path):
    np.save(tmp_path / "q.npy", np.array([0.5, 0.3, 0.2], np.float32))
    assert read_prior(tmp_path / "q.npy", CLASSES) == pytest.approx([0.5, 0.3, 0.2])
    assert read_prior("reversed") == "reversed"
    assert read_prior([1, 2, 3]) == [1, 2, 3]


def test_classes_that_are_called_by_numbers(tmp_path):
    """Names in the order of their labels are both; other numbers are names; where the two differ, nobody can tell."""
    (tmp_path / "q.json").write_text('{"1": 10, "0": 5}')
    assert read_class_numbers(tmp_path / "q.json", ("0", "1")) == [5, 10]
    (tmp_path / "q.json").write_text('{"7": 10, "3": 5}')
    assert read_class_numbers(tmp_path / "q.json", ("3", "7")) == [5, 10]
    names = sorted(map(str, range(11)))  # 10 before 2, as folders are sorted
    (tmp_path / "q.json").write_text(json.dumps(dict.fromkeys(names, 1)))
    with pytest.raises(BadData, match="may be a label or a class name"):
        read_class_numbers(tmp_path / "q.json", names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"ant": 1, "bee": 2}', "'Käfer' is named 0 times; name every class once, 0 where"),
        ('{"ant": 1, "bee": 2, "Käfer": 3, "ant": 4}', "'ant' is named 2 times"),
        ('{"ant": 1, "bee": 2, "kafer": 3}', "'kafer' is no class of this run; its 3 classes are ant, bee, Käfer"),
        ('{"a": 1, "b": 2, "c": 3}', "'a' is no label"),
        ("[1, 2]", "has 2 numbers for 3 classes"),
        ("[1, 2, null]", "label 2 has None, expected a count or share"),
        ("[0, 0, 0]", "no class is expected"),
        ("[]", "there are no numbers"),
        ("0.5", "a single value"),
        ("[1, 2", "cannot be read as JSON"),
    ],
)
def test_what_is_no_prior_is_refused_in_one_line_that_names_the_file(tmp_path, text, message):
    file = tmp_path / "q.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadData, match=message) as caught:
        read_prior(file, CLASSES)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_what_is_neither_word_nor_file_is_refused():
    with pytest.raises(BadData, match=r"no word and no file\. Did you mean 'reversed'"):
        read_prior("reverse")
