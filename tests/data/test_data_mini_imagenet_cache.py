from __future__ import annotations

import gzip
import mmap
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archives import python2_pickle, write_files
from tailwise.data import read
from tailwise.data.readers.mini_imagenet_cache import read_mini_imagenet_cache
from tailwise.errors import BadData, TailwiseError


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def by_class(rows: dict[str, list[int]], seed: int = 0) -> dict:
    """Form A."""
    return {b"image_data": pictures(sum(map(len, rows.values())), seed), b"class_dict": rows}


def by_row(labels: list[int], seed: int = 0, **more) -> dict:
    """Form B."""
    return {b"data": pictures(len(labels), seed), b"labels": labels, **more}


A_TRAIN = by_class({"n02": [0, 3], "n01": [1, 2, 4]})
A_VAL = by_class({"n04": [1, 0]}, 1)
A_TEST = by_class({"n03": [0, 1]}, 2)


@pytest.mark.parametrize("pickled", [python2_pickle, lambda value: pickle.dumps(value, 2), lambda value: pickle.dumps(value, 5)])
def test_the_first_form_gives_each_row_the_wnid_that_names_it(tmp_path, pickled):
    folder = write_files(tmp_path / "mini", {"mini-imagenet-cache-train.pkl": pickled(A_TRAIN)})
    for source in (folder, folder / "mini-imagenet-cache-train.pkl"):
        found = read(source)
        assert found.origin.format == "mini-imagenet-cache"
        assert found.classes == ("n01", "n02")
        assert found.rows["id"].to_list() == [f"train/{row:05d}" for row in range(5)]
        assert [found.classes[label] for label in found.rows["label"]] == ["n02", "n01", "n01", "n02", "n01"]
        assert np.array_equal(found.arrays["train"], A_TRAIN[b"image_data"])


def test_splits_with_classes_of_their_own_are_merged_and_that_is_said(tmp_path):
    files = {
        f"mini-imagenet-cache-{name}.pkl": python2_pickle(t) for name, t in {"train": A_TRAIN, "validation": A_VAL, "test": A_TEST}.items()
    }
    found = read(write_files(tmp_path / "mini", files))
    assert found.classes == ("n01", "n02", "n03", "n04")
    assert found.splits == ("train",)
    assert found.counts() == (3, 2, 2, 2)
    assert set(found.arrays) == {"train", "val", "test"}
    assert any(
        "have classes of their own (2 are not in train): all images are train, split within class" in line for line in found.provenance
    )
    assert (found.origin.tables[0].name, found.origin.tables[0].records) == ("mini-imagenet-cache-test.pkl", 2)


def test_a_lone_val_file_is_all_train(tmp_path):
    found = read(write_files(tmp_path / "mini", {"mini-imagenet-cache-val.pkl": python2_pickle(A_VAL)}) / "mini-imagenet-cache-val.pkl")
    assert found.splits == ("train",)
    assert found.rows["id"].to_list() == ["val/00000", "val/00001"]


PHASES = {"train_phase_train": [0, 1, 1, 0], "train_phase_val": [1], "train_phase_test": [0, 1], "val": [64, 64], "test": [99]}


def second_form(names, **more) -> dict[str, bytes]:
    return {
        f"miniImageNet_category_split_{name}.pickle": python2_pickle(by_row(PHASES[name], seed, **more)) for seed, name in enumerate(names)
    }


def test_the_second_form_has_one_numbering_over_all_files(tmp_path):
    found = read(write_files(tmp_path / "mini", second_form(PHASES)))
    assert found.classes == ("0", "1", "64", "99")
    assert found.splits == ("train",)
    assert found.counts() == (3, 4, 2, 1)
    assert set(found.arrays) == set(PHASES)


def test_further_images_of_the_training_classes_are_val_and_test(tmp_path):
    found = read(write_files(tmp_path / "mini", second_form(["train_phase_train", "train_phase_val", "train_phase_test"])))
    assert {split: found.counts(split) for split in found.splits} == {"train": (2, 2), "val": (0, 1), "test": (1, 1)}


def test_names_of_the_second_form_are_used_where_it_has_them(tmp_path):
    names = {"vase": 0, "crane": 1, "unused": 5}
    found = read(write_files(tmp_path / "mini", second_form(["train_phase_train"], catname2label=names)))
    assert found.classes == ("vase", "crane")
    assert found.class_table["class_id"].to_list() == ["0", "1"]


def test_images_of_a_plain_file_are_not_copied(tmp_path):
    file = tmp_path / "mini-imagenet-cache-train.pkl"
    file.write_bytes(pickle.dumps(by_class({"n01": list(range(100))}), 4))
    base = read(file).arrays["train"]
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj, mmap.mmap)
    packed = tmp_path / "mini-imagenet-cache-train.pkl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert read(packed).identity == read(file).identity


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**A_TRAIN, b"class_dict": {"n01": [0, 1, 2], "n02": [2, 3, 4]}}, r"class_dict names row 2 2 times, and 0 more rows not once"),
        ({**A_TRAIN, b"class_dict": {"n01": [0, 1], "n02": [2]}}, r"class_dict names row 3 0 times, and 1 more rows not once"),
        ({**A_TRAIN, b"class_dict": {"n01": [0, 1], "n02": [2, 3, 5]}}, r"class_dict names row 5, and there are 5 images"),
        ({**A_TRAIN, b"class_dict": {"n01": [0, 1], "n02": [2, 3, -1]}}, r"class_dict names row -1"),
        ({**A_TRAIN, b"class_dict": {"n01": "01234"}}, r"class 'n01' has no list of row numbers"),
        ({**A_TRAIN, b"class_dict": {}}, r"class_dict: it names no class"),
        ({**A_TRAIN, b"class_dict": [1]}, r"class_dict: it names no class"),
        ({**A_TRAIN, b"image_data": [1]}, r"its images are no array"),
        ({**A_TRAIN, b"image_data": np.zeros((5, 3072), np.uint8)}, r"shape \(5, 3072\)"),
        ({**A_TRAIN, b"image_data": np.zeros((5, 8, 8, 3))}, r"are float64, expected uint8"),
        (by_row([0, 1]) | {b"labels": [0]}, r"no whole number for each of its 2 images under 'labels'"),
        (by_row([0, 1]) | {b"labels": ["a", "b"]}, r"no whole number for each"),
        (by_row([0, -1]), r"label -1 in row 1"),
    ],
)
def test_caches_that_contradict_themselves_are_refused_in_one_line(tmp_path, table, message):
    file = tmp_path / "mini-imagenet-cache-train.pkl"
    file.write_bytes(pickle.dumps(table, 2))
    with pytest.raises(BadData, match=message) as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_two_files_of_one_part_or_of_both_forms_are_asked_about(tmp_path):
    twice = {"mini-imagenet-cache-train.pkl": python2_pickle(A_TRAIN), "copy-train.pkl": python2_pickle(A_TRAIN)}
    with pytest.raises(BadData, match=r"copy-train\.pkl and mini-imagenet-cache-train\.pkl could each be train"):
        read(write_files(tmp_path / "twice", twice))
    mixed = {"mini-imagenet-cache-train.pkl": python2_pickle(A_TRAIN), **second_form(["val"])}
    with pytest.raises(BadData, match="some files name classes by wnid, others by number"):
        read(write_files(tmp_path / "mixed", mixed))


def test_hdf5_pairs_are_said_not_to_be_read(tmp_path):
    folder = write_files(tmp_path / "mini", {"train_data.hdf5": b"\x89HDF\r\n\x1a\n", "train_labels.json": b"[]"})
    for source in (folder, folder / "train_data.hdf5"):
        with pytest.raises(BadData, match=r"train_data\.hdf5 is HDF5, which is not read here; save its images and labels as \.npz"):
            read(source)


def test_other_pickles_are_refused_or_left_to_other_formats(tmp_path, pets):
    (pets / "model.pkl").write_bytes(b"cposix\nsystem\n(S'false'\ntR.")
    assert read(pets).origin.format != "mini-imagenet-cache"
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"weights": np.zeros(3)}))
    with pytest.raises(BadData, match=r"expected the keys image_data and class_dict, or data and labels; it has 'weights'"):
        read_mini_imagenet_cache(tmp_path / "other.pkl")
    with pytest.raises(BadData, match="no cache of mini-ImageNet"):
        read_mini_imagenet_cache(pets / "cat")


def refusal(source: Path) -> str:
    try:
        read(source)
    except TailwiseError as error:
        return str(error)
    return ""


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), table=st.sampled_from([A_TRAIN, by_row([0, 1, 64], catname2label={"a": 0})]), protocol=st.integers(0, 4))
def test_any_damage_gives_a_manifest_or_one_line(tmp_path, monkeypatch, data, table, protocol):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("ran"))
    content = bytearray(pickle.dumps(table, protocol))
    places = [at for at in range(len(content)) if at < 200 or at > len(content) - 300]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(places))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    file = tmp_path / "mini-imagenet-cache-train.pkl"
    file.write_bytes(content)
    assert "\n" not in refusal(file)
    assert "\n" not in refusal(tmp_path)
