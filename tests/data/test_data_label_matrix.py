from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archives import write_files
from tailwise.data import check_sound, read
from tailwise.data.readers.label_matrix import COCO, VOC, read_label_matrix
from tailwise.errors import BadData, TailwiseError

MATRIX = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0], [1, 0, 0]])


def lists(matrix=MATRIX, ids=("a", "b", "c", "d"), split=None, **more) -> dict[str, bytes]:
    """Files of the kind of VOC-LT: 3 classes of 3, 1 and 1 images."""
    table = {"gt_labels": list(matrix), "class_freq": matrix.sum(axis=0).astype(np.float64), **more}
    files = {"class_freq.pkl": pickle.dumps(table, 2), "img_id.txt": "\n".join(ids).encode()}
    return files if split is None else files | {"class_split.pkl": pickle.dumps(split, 2)}


@pytest.mark.parametrize(
    ("name", "images", "classes", "positives", "most", "least", "groups"),
    [("voc-lt", 1_142, 20, 2_346, (14, 775), (9, 4), (6, 6, 8)), ("coco-lt", 1_909, 80, 8_316, (0, 1_128), (21, 6), (22, 33, 25))],
)
def test_the_published_lists_give_the_published_figures(real_data, name, images, classes, positives, most, least, groups):
    folder = real_data / "metadata" / name
    for source in (folder, folder / "class_freq.pkl.gz", folder / "class_split.pkl"):
        found = read(source)
        counts = found.counts()
        assert (found.origin.format, found.task) == ("label-matrix", "multi-label")
        assert (found.rows.height, len(found.classes), sum(counts)) == (images, classes, positives)
        assert (counts.index(max(counts)), max(counts)) == most
        assert (counts.index(min(counts)), min(counts)) == least
        published = found.class_table["published_group"].to_list()
        assert tuple(published.count(group) for group in ("head", "middle", "tail")) == groups
        assert not found.origin.findings
        assert not found.has_files


@pytest.mark.parametrize("name", ["voc-lt", "coco-lt"])
def test_row_k_is_line_k_of_the_ids(real_data, name):
    folder = real_data / "metadata" / name
    found = read(folder)
    lines = (folder / "train_labels.csv").read_text().splitlines()[1:]
    decoded = [(line.split(",")[0], [int(label) for label in line.split(",")[1].split()]) for line in lines]
    assert found.rows.select("id", "targets").rows() == decoded
    assert list(found.counts()) == json.loads((folder / "class_freq.json").read_text())["class_freq"]
    groups = json.loads((folder / "class_split.json").read_text())
    of_class = {label: group for group, labels in groups.items() for label in labels}
    assert found.class_table["published_group"].to_list() == [of_class[label] for label in range(len(found.classes))]


def test_voc_counts_of_each_class(real_data):
    counts = "6 34 8 14 154 17 249 29 479 4 240 48 11 20 775 100 5 82 7 64"
    found = read(real_data / "metadata/voc-lt")
    assert " ".join(map(str, found.counts())) == counts
    assert found.classes[14] == "person"
    assert [label for label, group in enumerate(found.class_table["published_group"]) if group == "head"] == [4, 6, 8, 10, 14, 15]


def test_class_names_are_cocos_own_in_the_order_of_its_ids(real_data):
    table = json.loads((real_data / "metadata/lvis/coco_to_synset.json").read_text())
    by_id = sorted((entry["coco_cat_id"], name) for name, entry in table.items())
    assert [name.replace(" ", "_") for _, name in by_id] == [name.replace(" ", "_") for name in COCO]
    assert list(VOC) == sorted(VOC)
    assert len(VOC) == 20


@pytest.mark.parametrize(
    ("name", "image"), [("voc-lt", "VOC2012/JPEGImages/2008_000023.jpg"), ("coco-lt", "coco/train2017/000000554625.jpg")]
)
def test_images_are_found_beside_the_lists_or_below_root(tmp_path, real_data, write_image, name, image):
    files = {
        file.name: file.read_bytes()
        for file in (real_data / "metadata" / name).iterdir()
        if "pkl" in file.name or file.name == "img_id.txt"
    }
    folder = write_files(tmp_path / Path(image).parts[0] / ".." / "longtail", files)
    write_image(tmp_path / image)
    for root in (tmp_path / image).parents[:2]:
        found = read(folder, root=root)
        assert (found.root / found.rows["path"][0]).samefile(tmp_path / image)
    if name == "voc-lt":
        assert read(folder).has_files
    with pytest.raises(BadData, match="none of its images is in"):
        read(folder, root=folder)


def test_unknown_sets_have_numbers_for_names_and_rows_without_labels_stay(tmp_path):
    found = read(write_files(tmp_path / "mine", lists()))
    assert found.classes == ("0", "1", "2")
    assert found.rows["targets"].to_list() == [[0, 2], [], [0, 1], [0]]
    assert found.rows["path"].to_list() == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert found.class_table is None
    assert found.splits == ("train",)
    assert read(write_files(tmp_path / "mine_test", lists())).splits == ("test",)


def test_counts_that_disagree_keep_the_set_from_training(tmp_path):
    found = read(write_files(tmp_path / "mine", lists(class_freq=np.array([3.0, 2.0, 0.0]))))
    (finding,) = found.origin.findings
    assert (finding.severity, finding.count) == ("error", 2)
    assert finding.says == "class_freq.pkl: class_freq says 2 for class 1, gt_labels has 1, 0 for class 2, gt_labels has 1"
    with pytest.raises(BadData, match="class_freq says 2 for class 1"):
        check_sound(found)
    (finding,) = read(write_files(tmp_path / "short", lists(class_freq=np.zeros(2)))).origin.findings
    assert finding.severity == "error"


def test_groups_that_disagree_with_the_counts_are_noted(tmp_path):
    found = read(write_files(tmp_path / "mine", lists(split={"head": {0}, "middle": set(), "tail": {np.int64(1), np.int64(2)}})))
    assert found.class_table["published_group"].to_list() == ["head", "tail", "tail"]
    (finding,) = found.origin.findings
    assert (finding.severity, finding.says) == ("note", "class_split.pkl puts class 0 in head, its 3 images make it tail")


@pytest.mark.parametrize("count", [19, 20, 99, 100])
def test_groups_are_bounded_at_20_and_100_as_published(tmp_path, count):
    matrix = np.ones((count, 1), int)
    group = {19: "tail", 20: "middle", 99: "middle", 100: "head"}[count]
    split = {name: {0} if name == group else set() for name in ("head", "middle", "tail")}
    ids = [f"i{row}" for row in range(count)]
    assert not read(write_files(tmp_path / "mine", lists(matrix, ids, split))).origin.findings


def test_two_generations_of_lists_are_not_mixed(tmp_path, real_data):
    folder = real_data / "metadata/coco-lt"
    ids = (folder / "img_id.pkl").read_bytes().splitlines()[:1_886]
    files = {"class_freq.pkl.gz": (folder / "class_freq.pkl.gz").read_bytes(), "img_id.pkl": b"\n".join(ids)}
    with pytest.raises(BadData, match=r"img_id\.pkl: 1,886 ids for the 1,909 rows of class_freq\.pkl\.gz; there are two generations"):
        read(write_files(tmp_path / "mixed", files))


def without(name: str) -> dict[str, bytes]:
    return {file: content for file, content in lists().items() if file != name}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (without("img_id.txt"), r"no img_id\.txt or img_id\.pkl there"),
        (lists(ids=("a", "b", "c", "a")), r"2 rows have no id of their own, the first is row 1 \('a'\)"),
        (lists(ids=("a", "b", "../c", "d")), r"path '\.\./c\.jpg' in row 3 leaves the root"),
        (lists(ids=("/a", "b", "c", "d")), r"path '/a\.jpg' in row 1 is absolute"),
        (lists(matrix=MATRIX * 2), r"label 2 in row 0, class 0 \(5 such values\), expected 0 or 1"),
        (lists(matrix=MATRIX * np.nan), r"label nan in row 0"),
        (lists(gt_labels=[]), r"gt_labels is no row of 0 and 1 for each image"),
        (lists(gt_labels=[np.zeros(3), np.zeros(2)] * 2), r"gt_labels .* \(row 1 has another length than row 0\)"),
        (lists(gt_labels=7), r"gt_labels is no row"),
        (lists(split={"head": {0, 1, 2}, "middle": {2}, "tail": set()}), r"middle is no set of labels 0\.\.2 that are in no other group"),
        (lists(split={"head": {0}, "middle": {1}, "tail": set()}), r"class 2 is in none of head, middle, tail"),
        (lists(split={"head": {0}, "middle": {1}, "tail": {3}}), r"tail is no set of labels 0\.\.2"),
        (lists(split={"head": {0}, "middle": {1}}), r"tail is no set of labels"),
        (lists(split=[1]), r"class_split\.pkl: holds no dictionary"),
        (lists() | {"class_freq.pkl": b"cposix\nsystem\n(S'false'\ntR."}, r"class_freq\.pkl asks for posix\.system"),
        (lists() | {"class_freq.pkl": lists()["class_freq.pkl"][:-20]}, r"class_freq\.pkl: ends inside a record"),
        (lists() | {"img_id.txt": b""}, r"img_id\.txt: no rows"),
    ],
)
def test_lists_that_cannot_be_read_are_refused_in_one_line(tmp_path, files, message):
    with pytest.raises(BadData, match=message) as caught:
        read(write_files(tmp_path / "mine", files))
    assert "\n" not in str(caught.value)


def test_labels_that_are_not_known_count_as_absent_and_are_noted(tmp_path):
    matrix = MATRIX.copy()
    matrix[1] = -1
    found = read(write_files(tmp_path / "mine", lists(matrix, class_freq=(matrix == 1).sum(axis=0))))
    assert found.counts() == (3, 1, 1)
    (finding,) = found.origin.findings
    assert (finding.severity, finding.count) == ("note", 3)


def test_a_matrix_in_an_npz_is_read_alike(tmp_path):
    np.savez(tmp_path / "one.npz", labels=MATRIX, ids=np.array(["a", "b", "c", "d"]), classes=np.array(["x", "y", "z"]))
    found = read(tmp_path / "one.npz")
    assert (found.task, found.classes, found.name) == ("multi-label", ("x", "y", "z"), "one")
    assert found.rows.select("id", "path", "targets").row(2) == ("c", "c.jpg", [0, 1])
    split = np.array(["train", "val", "test", "train"])
    np.savez(tmp_path / "two.npz", targets=MATRIX.astype(bool), paths=np.array([b"i/a.png", b"b", b"c", b"d"]), split=split)
    found = read(tmp_path / "two.npz")
    assert found.rows["id"][0] == found.rows["path"][0] == "i/a.png"
    assert {part: found.counts(part) for part in found.splits} == {"train": (2, 0, 1), "val": (0, 0, 0), "test": (1, 1, 0)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": MATRIX}, r"needs the arrays 'labels' and 'ids' or 'paths', has labels"),
        ({"labels": MATRIX, "ids": np.array(["a"])}, r"array 'ids' is <U1 \(1,\), expected 4 texts"),
        ({"labels": MATRIX * 3, "ids": np.array(list("abcd"))}, r"label 3 in row 0, class 0"),
        ({"labels": MATRIX, "ids": np.array(list("abca"))}, r"2 rows have no id of their own"),
        ({"labels": MATRIX, "ids": np.array(["a", "b", "c", object()])}, r"ids holds Python objects"),
        ({"labels": MATRIX, "ids": np.array(list("abcd")), "classes": np.array(["x"])}, r"array 'classes' .* expected 3 texts"),
        ({"labels": MATRIX, "ids": np.array(list("abcd")), "split": np.array(list("abcd"))}, r"split 'a' in row 0 is unknown"),
        ({"labels": MATRIX[:, 0], "ids": np.array(list("abcd"))}, r"array 'labels' is int64 \(4,\), expected \(N, C\)"),
    ],
)
def test_an_npz_that_is_no_matrix_is_refused_by_name(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(BadData, match=rf"mine\.npz.*{message}") as caught:
        read_label_matrix(tmp_path / "mine.npz")
    assert "\n" not in str(caught.value)


def refusal(source: Path) -> str:
    try:
        read(source)
    except TailwiseError as error:
        return str(error)
    return ""


FUZZED = lists(split={"head": set(), "middle": set(), "tail": {0, 1, 2}})


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(sorted(FUZZED)))
def test_any_damage_gives_a_manifest_or_one_line(tmp_path_factory, monkeypatch, data, name):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("ran"))
    content = bytearray(FUZZED[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    folder = write_files(tmp_path_factory.mktemp("lists") / "mine", FUZZED | {name: bytes(content)})
    assert "\n" not in refusal(folder)
    assert "\n" not in refusal(folder / name)
