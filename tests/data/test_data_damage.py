"""What is damaged or contradicts itself is said, whichever reader it meets: nothing is dropped, and nothing is taken for something else."""

from __future__ import annotations

import datetime
import gzip
import json
import math
import pickle

import numpy as np
import polars as pl
import pytest

from tailwise.checks.run import check
from tailwise.cli import run
from tailwise.data import order, read
from tailwise.data.readers.folder import read_folder
from tailwise.data.splits import split
from tailwise.errors import BadData
from tailwise.seeds import generators

COCO = {
    "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(4)],
    "annotations": [{"id": n, "image_id": n, "category_id": n % 2} for n in range(4)],
    "categories": [{"id": 0, "name": "x"}, {"id": 1, "name": "y"}],
}


@pytest.fixture
def place(tmp_path):
    """Writes files into a folder; dictionaries as JSON, names that end with `.gz` packed."""

    def make(**files):
        for name, content in files.items():
            file = tmp_path / "set" / name.replace("__", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict):
                content = json.dumps(content)
            content = content.encode() if isinstance(content, str) else content
            file.write_bytes(gzip.compress(content)[: -12 if "cut" in name else None] if name.endswith("gz") else content)
            if "cut" in name:
                file.rename(file.with_name(file.name.replace("cut", "")))
        return tmp_path / "set"

    return make


def kinds(found):
    return {finding.kind: finding.severity for finding in found.origin.findings}


# --- what claims to be a list of a split is read, or said to be damaged -----------------------------------------------------


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"d_test__txt": "a.jpg x\nb.jpg\n"}, r"d_test\.txt: .*row"),
        ({"d_val__txt": ""}, r"d_val\.txt: no rows"),
        ({"d_val__txt": "a.jpg 1\n".encode("utf-16")}, r"d_val\.txt: not UTF-8 at byte 0"),
        ({"d_valcut__txt__gz": "b.jpg 1\n"}, r"d_val\.txt\.gz: a damaged gzip file"),
    ],
)
def test_a_damaged_list_beside_a_sound_one_is_not_dropped(place, files, said):
    folder = place(d_train__txt="a.jpg 0\nb.jpg 1\n", **files)
    with pytest.raises(BadData, match=said):
        read(folder)


def test_a_damaged_list_of_mini_imagenet_is_not_dropped(place):
    folder = place(train__csv="filename,label\na.jpg,n01532829\n", val__csv="filename,label\nb\xe9.jpg,n01532829\n".encode("latin-1"))
    with pytest.raises(BadData, match=r"val\.csv: not UTF-8"):
        read(folder)


@pytest.mark.parametrize("damaged", [b"", json.dumps(COCO).encode("utf-16")])
def test_a_damaged_file_beside_those_of_coco_is_not_dropped(place, damaged):
    with pytest.raises(BadData, match=r"val\.json"):
        read(place(train__json=COCO, val__json=damaged))


def test_json_that_is_no_table_leaves_class_folders_alone(place, write_image):
    folder = place(stats__json={"run": {"images": 24}}, categories__json={"categories": ["a"]})
    for name in ("ant", "bee"):
        write_image(folder / name / "0.png")
    assert read(folder).origin.format == "folder"


@pytest.mark.parametrize("train", ["a.jpg,0\nb.jpg,1\n", "Img,Label\na.jpg,0\n"])
def test_mini_imagenet_lt_is_told_by_its_counts_whatever_the_header(place, train):
    folder = place(train__csv=train, val__csv="img,label\nc.jpg,0\n", cls_label__json={"0": 1, "1": 1})
    if train.startswith("a"):
        assert read(folder).rows["split"].value_counts().sort("split").rows() == [("train", 2), ("val", 1)]
    else:
        with pytest.raises(BadData, match=r"train\.csv: its header is 'Img', 'Label', expected img,label"):
            read(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train__json", b"", r"train\.json"),
        ("tcut__json__gz", json.dumps(COCO), "damaged gzip"),
        ("list__txt", b"", "no rows"),
        ("list__txt", "a.jpg 0\n".encode("utf-16"), "not UTF-8 at byte 0"),
        ("table__csv", b"path,label\na\xe9.jpg,0\n", "not UTF-8 at byte 12"),
    ],
)
def test_a_file_in_which_nothing_can_be_read_says_why(place, name, content, said):
    file = next(place(**{name: content}).iterdir())
    with pytest.raises(BadData, match=said):
        read(file)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_lists_of_classes_deep_in_a_table_are_no_class(place):
    rows = "".join(f"img{n}.jpg,c{n % 3}\n" for n in range(8_000))
    with pytest.raises(BadData, match=r"label 'c1\|c2' in row 8002 is several classes; read it with --format multilabel"):
        read(place(t__csv=f"path,label\n{rows}z.jpg,c1|c2\n") / "t.csv")


def test_a_negative_number_in_a_cell_of_labels_is_refused(place):
    with pytest.raises(BadData, match="-2"):
        read(place(t__csv="path,labels\na.jpg,1 -2\nb.jpg,2 3\n") / "t.csv")


@pytest.mark.parametrize("header", ["Path,Label", "\ufeffpath,label", " path ,label"])
def test_a_header_in_the_middle_is_one_in_any_spelling(place, header):
    with pytest.raises(BadData, match="row 3 repeats the header"):
        read(place(t__csv=f"path,label\na.jpg,x\n{header}\nb.jpg,y\n") / "t.csv")


def test_nan_is_no_class_and_one_name_is_one_in_two_spellings(place):
    with pytest.raises(BadData, match="row 4 has no label"):
        read(place(t__csv="path,label\na.png,x\nb.png,y\nc.png,nan\n") / "t.csv")
    assert read(place(t__csv="path,label\na.png,caf\u00e9\nb.png,cafe\u0301\nc.png,x\n") / "t.csv").classes == ("caf\u00e9", "x")


def test_labels_that_a_table_wrote_as_fractions_are_whole(place):
    found = read(place(t__csv="path,label\na.png,0.0\nb.png,1.0\nc.png,10.0\n") / "t.csv")
    assert found.classes == ("0", "1", "10")
    assert any("written like 0.0" in line for line in found.provenance)
    with pytest.raises(BadData, match=r"label '0\.5'"):
        read(place(t__csv="path,label\na.png,0.5\nb.png,1.0\n") / "t.csv")


def test_a_name_that_a_terminal_would_obey_is_refused(place):
    with pytest.raises(BadData, match="an escape character"):
        read(place(t__csv="path,label\na.png,\x1b[31mred\nb.png,y\n") / "t.csv")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("label", [[1], [2]]),
        ("label", [datetime.timedelta(1)] * 2),
        ("label", [b"\xff", b"a"]),
        ("label", [{"a": 1}, {"a": 2}]),
        ("split", [["train"], ["val"]]),
        ("id", [b"\xff", b"b"]),
        ("weight", [[1.0], [2.0]]),
        ("weight", [datetime.date(2020, 1, 1)] * 2),
    ],
)
def test_columns_of_other_kinds_are_one_line(place, tmp_path, column, values):
    columns = {"path": ["a.png", "b.png"], "label": ["x", "y"], column: values}
    pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(BadData, match=f"column for the {column} holds .*, expected text or numbers"):
        read(tmp_path / "t.parquet")


# --- the tables of a source, as JSON ----------------------------------------------------------------------------------------


def test_the_first_record_of_a_table_is_plain(tmp_path, write_image, capsys):
    write_image(tmp_path / "set" / "a.png")
    write_image(tmp_path / "set" / "b.png")
    odd = {"when": [datetime.datetime(2020, 1, 1)] * 2, "height": [math.nan] * 2, "boxes": [[math.inf]] * 2}
    pl.DataFrame({"file_name": ["a.png", "b.png"], "label": ["x", "y"], **odd}).write_parquet(tmp_path / "set" / "metadata.parquet")
    assert run(["explore", str(tmp_path / "set"), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["tables"][0]["first"]
    assert (first["when"], first["height"], first["boxes"]) == ("2020-01-01 00:00:00", "nan", ["inf"])


def test_parquet_tells_its_rows_and_the_first(tmp_path):
    pl.DataFrame({"path": ["a.png", "b.png"], "label": ["x", "y"], "date": [1, 2]}).write_parquet(tmp_path / "t.parquet")
    (table,) = read(tmp_path / "t.parquet").origin.tables
    assert (table.name, table.records, table.first) == ("t.parquet", 2, {"path": "a.png", "label": "x", "date": 1})


# --- COCO ---------------------------------------------------------------------------------------------------------------


def test_one_box_makes_no_set_of_several_labels(place):
    several = [*COCO["annotations"], {"id": 9, "image_id": 0, "category_id": 1}]
    found = read(place(train__json={**COCO, "annotations": several}))
    assert (found.task, kinds(found)["several-classes"]) == ("classification", "error")
    several[1] = {**several[1], "bbox": [1, 2, 3, 4]}
    assert read(place(train__json={**COCO, "annotations": several})).task == "classification"
    found = read(place(train__json={**COCO, "annotations": [{**one, "bbox": [1, 2, 3, 4]} for one in several]}))
    assert (found.task, kinds(found)["several-classes"]) == ("multi-label", "note")


def test_one_file_under_two_ids_is_said(place):
    twice = {**COCO, "images": [*COCO["images"][:3], {"id": 3, "file_name": "0.jpg"}]}
    assert kinds(read(place(train__json=twice)))["conflicting-labels"] == "error"
    same = {**COCO, "images": [*COCO["images"][:2], {"id": 2, "file_name": "0.jpg"}, COCO["images"][3]]}
    assert kinds(read(place(train__json=same)))["listed-twice"] == "warning"
    assert kinds(read(place(train__json=COCO, val__json=COCO)))["in-two-splits"] == "error"


@pytest.mark.parametrize("id_", [9223372036854775808, "--3"])
def test_ids_beyond_numbers_are_text(place, id_):
    odd = {
        "images": [{"id": 9223372036854775808, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}],
        "annotations": [{"id": 1, "image_id": 9223372036854775808, "category_id": id_}, {"id": 2, "image_id": 1, "category_id": 5}],
        "categories": [{"id": id_, "name": "x"}, {"id": 5, "name": "y"}],
    }
    found = read(place(train__json=odd))
    assert dict(found.rows.select("id", "label").iter_rows()) == {
        "9223372036854775808": found.classes.index("x"),
        "1": found.classes.index("y"),
    }


def test_names_that_meet_with_their_ids_stay_apart(place):
    named = [{"id": n, "name": name} for n, name in enumerate(("x", "x", "x (1)"))]
    labels = [{"id": n, "image_id": n, "category_id": n % 3} for n in range(4)]
    assert len(set(read(place(train__json={**COCO, "annotations": labels, "categories": named})).classes)) == 3


def test_a_byte_that_is_no_text_is_found_in_the_file(place):
    text = json.dumps(COCO).encode().replace(b'"x"', b'"\xe9"')
    with pytest.raises(BadData, match=f"not UTF-8 at byte {text.index(0xE9):,}"):
        read(place(train__json=text) / "train.json")


# --- others -------------------------------------------------------------------------------------------------------------


def test_rows_that_alltrain_lists_twice_are_said(place):
    folder = place(
        train__csv="img,label\na.jpg,0\n",
        gentrain__csv="genimages/1.jpg,0\n",
        alltrain__csv="img,label\na.jpg,0\ngenimages/1.jpg,0\ngenimages/1.jpg,0\n",
        cls_label__json={"0": 1},
    )
    assert kinds(read(folder))["listed-twice"] == "warning"


def test_labels_that_no_cifar_has_are_refused(tmp_path):
    record = b"\xc8" + bytes(3_072)
    (tmp_path / "data_batch_1.bin").write_bytes(record * 3)
    with pytest.raises(BadData, match=r"label 200, expected 0\.\.9"):
        read(tmp_path / "data_batch_1.bin")


def test_a_group_that_is_no_list_is_one_line(tmp_path):
    matrix = np.eye(3, dtype=np.int64)
    (tmp_path / "class_freq.pkl").write_bytes(
        pickle.dumps({"gt_labels": matrix, "class_freq": matrix.sum(0), "neg_class_freq": 3 - matrix.sum(0)})
    )
    (tmp_path / "class_split.pkl").write_bytes(pickle.dumps({"head": np.array(0), "middle": {1}, "tail": {2}}))
    (tmp_path / "img_id.txt").write_text("a\nb\nc\n")
    with pytest.raises(BadData, match="head is no set of labels"):
        read(tmp_path)


def test_links_between_class_folders_are_walked_once_each(tmp_path, write_image):
    names = [f"class{n}" for n in range(9)]
    for name in names:
        write_image(tmp_path / name / "0.png")
    for name in names:
        for other in names:
            if other != name:
                (tmp_path / name / other).symlink_to(tmp_path / other)
    found = read_folder(tmp_path)
    assert found.rows.height == 81  # each class folder holds the nine, one way each
    assert any("ways to folders that were walked already" in line for line in found.provenance)


def test_nothing_is_drawn_for_empty_classes(tmp_path, monkeypatch):
    np.savez(tmp_path / "few.npz", images=np.zeros((6, 4, 4), np.uint8), labels=np.array([0, 1, 2, 3, 4, 299_999]))
    drawn = []
    monkeypatch.setattr(order, "generators", lambda *words, names: drawn.extend(names) or generators(*words, names=names))
    found = read(tmp_path / "few.npz")
    split(found, "50/50")
    assert len(drawn) == len({*found.rows["label"]}) == 6


def test_bins_between_those_of_a_regression_are_no_error(place):
    rows = "".join(f"{n}.jpg,{n % 50},{'train' if n % 50 != 7 else 'test'}\n" for n in range(200))
    found = check(read(place(ages__csv=f"path,age,split\n{rows}") / "ages.csv"))
    assert "class-without-training-images" not in {finding.kind for finding in found.findings}


def test_threads_that_panic_are_not_heard(tmp_path, capfd):
    pl.DataFrame({"path": ["a.png", "b.png"], "label": ["x", "y"]}).write_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    rng, refused = np.random.default_rng(3), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[int(rng.integers(max(0, len(whole) - 900), len(whole)))] = int(rng.integers(256))
        (tmp_path / "t.parquet").write_bytes(bytes(damaged))
        try:
            read(tmp_path / "t.parquet")
        except BadData:
            refused += 1
    assert refused > 10
    assert capfd.readouterr().err == ""
