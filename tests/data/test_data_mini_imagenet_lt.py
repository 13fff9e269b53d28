"""mini-ImageNet-LT's own files: every published figure, and each contradiction with a line of its own."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import random
import shutil
from collections import Counter

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.counts import ClassCounts
from tailwise.data.readers.mini_imagenet_lt import read_mini_imagenet_lt
from tailwise.data.sources import read
from tailwise.data.trainable import check_sound, weigh_generated
from tailwise.errors import BadData, TailwiseError
from tailwise.groups import make_groups

WNIDS = ("n04522168", "n01440764", "n02012849")
FILES = {
    "train.csv": "img,label\r\n"
    + "".join(f"data/images/{WNIDS[label]}0000000{n}.jpg,{label}\r\n" for label in range(3) for n in range((4, 2, 1)[label])),
    "val.csv": "img,label\r\n" + "".join(f"data/images/{wnid}00000100.jpg,{label}\r\n" for label, wnid in enumerate(WNIDS)),
    "test.csv": "img,label\r\n" + "".join(f"data/images/{wnid}00000200.jpg,{label}\r\n" for label, wnid in enumerate(WNIDS)),
    "gentrain.csv": "".join(f"data/genimages/{n}.jpg,{(1, 1, 2, 2, 2)[n]}\r\n" for n in range(5)),
    "cls_label.json": '{"0": 4, "1": 2, "2": 1}',
    "classname.txt": '{"0": ["n01440764", "tench"], "134": ["n02012849", "crane"],\n\n"883": ["n04522168", "big_vase"]}',
}
FILES["alltrain.csv"] = FILES["train.csv"] + "".join(f"data/genimages/{n}.jpg,{(1, 1, 2, 2, 2)[n]}\r\n" for n in (0, 2, 4))


@pytest.fixture
def make(tmp_path):
    """Write the small set, with files replaced, or left out where None is given."""

    def make(folder="mini", **changed):
        here = tmp_path / folder
        here.mkdir(exist_ok=True)
        for name, text in {**FILES, **{key.replace("__", "."): text for key, text in changed.items()}}.items():
            if text is not None:
                (here / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return here

    return make


@pytest.fixture
def published(real_data):
    return read(real_data / "mini-imagenet-lt")


def findings(manifest):
    return {finding.kind: (finding.severity, finding.says, finding.count, finding.ids) for finding in manifest.origin.findings}


def is_read_or_refused_in_one_line(form, path):
    said = ""
    try:
        assert form(path).rows["id"].is_unique().all()
    except TailwiseError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


def refusal(path, **words):
    with pytest.raises(BadData) as caught:
        read(path, format="mini-imagenet-lt", **words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_row(name, old, new):
    assert old in FILES[name]
    return {name.replace(".", "__"): FILES[name].replace(old, new, 1)}


# What is published.


def test_published_counts_and_groups(published, real_data):
    counts = published.counts()
    assert published.origin.format == "mini-imagenet-lt"
    assert (len(counts), sum(counts), max(counts), min(counts)) == (100, 23_192, 479, 12)
    assert (counts.index(479), [label for label, n in enumerate(counts) if n == 12]) == (38, [55, 67])
    assert round(ClassCounts(counts).imbalance_ratio, 4) == 39.9167
    assert counts == tuple(json.loads((real_data / "mini-imagenet-lt/cls_label.json").read_text()).values())
    assert set(published.counts("val")) == set(published.counts("test")) == {60}
    assert (sum(published.counts("val")), sum(published.counts("test"))) == (6_000, 6_000)
    assert not {20, 100} & set(counts)
    groups = make_groups(counts).members
    assert [len(groups[name]) for name in groups] == [79, 17, 4]
    assert {label: counts[label] for label in groups["few"]} == {49: 13, 51: 15, 55: 12, 67: 12}
    middle = "2:82 3:82 6:22 17:41 27:36 29:65 32:62 48:49 53:69 63:38 70:38 74:75 76:42 81:22 83:60 88:98 93:75"
    assert " ".join(f"{label}:{counts[label]}" for label in groups["medium"]) == middle


def test_published_names_go_through_the_wnid(published, real_data):
    with (real_data / "metadata/mini-imagenet/mini_imagenet_lt_label_table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert published.classes == tuple(row["name"].replace("_", " ") for row in table)
    assert (published.classes[0], "tench" in published.classes) == ("vase", False)
    assert {"three-toed sloth", "green mamba"} <= set(published.classes)
    assert published.class_table.rows() == [(row["label"], row["wnid"]) for row in table]
    assert published.counts() == tuple(int(row["train_images"]) for row in table)
    generated = published.rows.filter(pl.col("source") == "generated")
    of_class = Counter(generated["label"])
    assert [of_class[label] for label in range(100)] == [int(row["generated"]) for row in table]
    kept = Counter(generated.filter(pl.col("weight") > 0)["label"])
    assert [kept[label] for label in range(100)] == [int(row["generated_kept_in_alltrain"]) for row in table]


def test_published_generated_images(published):
    counts = published.counts()
    generated = published.rows.filter(pl.col("source") == "generated")
    of_class = Counter(generated["label"])
    assert [of_class[label] for label in range(100)] == [480 - n for n in counts]
    assert (generated.height, min(of_class.values()), of_class[38], of_class[55], of_class[67]) == (24_808, 1, 1, 468, 468)
    assert set(generated["split"]) == {"train"}
    kept = weigh_generated(published, None)
    assert kept.provenance[-1] == "left out 364 generated images of weight 0"
    filled = Counter(kept.rows.filter(pl.col("split") == "train")["label"])
    assert (sum(filled.values()), max(filled.values()), min(filled.values()), filled[4]) == (47_636, 480, 409, 409)
    assert round(max(filled.values()) / min(filled.values()), 4) == 1.1736
    assert sum(n == 480 for n in filled.values()) == 45
    assert kept.counts() == counts  # groups are of real images, however the set is filled


def test_published_dropped_images_by_class(published):
    severity, says, count, ids = findings(published)["generated-left-out"]
    assert (severity, count, len(ids)) == ("note", 364, 364)
    assert [int(path.split("/")[-1][:-4]) for path in ids[:5]] == [40, 166, 261, 269, 711]
    assert says == (
        "alltrain.csv leaves out 364 generated images, which weigh 0, in 55 classes: "
        "bolete 71, three-toed sloth 28, electric guitar 27, orange 26, upright 22 and 50 more"
    )
    several = (
        "4:71 89:28 2:27 63:26 93:22 17:14 82:14 30:13 51:13 21:12 44:11 58:10 70:8 99:7 53:6 "
        "29:5 55:5 68:5 83:5 96:5 0:4 8:4 28:4 3:3 37:3"
    )
    two, one = "9 25 47 59 73 78 81 90 95", "7 18 22 23 27 40 42 49 54 62 64 66 71 76 77 79 87 88 94 97 98"
    expected = {int(label): int(n) for label, n in (pair.split(":") for pair in several.split())}
    expected |= dict.fromkeys(map(int, two.split()), 2) | dict.fromkeys(map(int, one.split()), 1)
    dropped = Counter(published.rows.filter(pl.col("weight") == 0)["label"])
    assert dropped == expected
    groups = make_groups(published.counts()).members
    assert [sum(dropped[label] for label in groups[name]) for name in groups] == [224, 121, 19]
    assert list(findings(published)) == ["generated-left-out"]


def test_published_tables(published):
    tables = {table.name: (table.records, table.first) for table in published.origin.tables}
    assert {name: records for name, (records, _) in tables.items()} == {
        "train.csv.gz": 23_192,
        "gentrain.csv.gz": 24_808,
        "alltrain.csv.gz": 47_636,
        "val.csv.gz": 6_000,
        "test.csv.gz": 6_000,
        "cls_label.json": 100,
        "classname.txt": 1_000,
    }
    assert tables["gentrain.csv.gz"][1] == {"img": "data/genimages/0.jpg", "label": "0"}


@pytest.mark.parametrize(
    ("name", "rows", "source", "split"),
    [
        ("train.csv.gz", 23_192, {"real": 23_192}, "train"),
        ("gentrain.csv.gz", 24_808, {"generated": 24_808}, "train"),
        ("alltrain.csv.gz", 47_636, {"real": 23_192, "generated": 24_444}, "train"),
        ("val.csv.gz", 6_000, {"real": 6_000}, "val"),
        ("test.csv.gz", 6_000, {"real": 6_000}, "test"),
    ],
)
def test_each_published_list_alone(real_data, name, rows, source, split):
    found = read(real_data / "mini-imagenet-lt" / name)
    assert (found.origin.format, found.rows.height, found.splits, len(found.classes)) == ("mini-imagenet-lt", rows, (split,), 100)
    assert (found.generated, found.rows.height - found.generated) == (source.get("generated", 0), source.get("real", 0))
    assert found.name == name.removesuffix(".csv.gz")
    assert not found.origin.findings


def test_real_images_are_rows_of_ravi_and_larochelle(published, real_data):
    known = set()
    for split in ("train", "val", "test"):
        with gzip.open(real_data / f"metadata/mini-imagenet/ravi_larochelle_{split}.csv.gz", "rt") as file:
            known |= {row["filename"] for row in csv.DictReader(file)}
    listed = {path.split("/")[-1] for path in published.rows.filter(pl.col("source") == "real")["id"]}
    assert (len(listed), len(known), listed <= known) == (35_192, 60_000, True)


# The layout.


def test_the_small_set(make):
    found = read(make())
    assert found.classes == ("big vase", "tench", "crane")
    assert (found.counts(), found.counts("val"), found.generated) == ((4, 2, 1), (1, 1, 1), 5)
    assert found.rows.filter(pl.col("weight") == 0)["id"].to_list() == ["data/genimages/1.jpg", "data/genimages/3.jpg"]
    assert findings(found)["generated-left-out"][1].endswith("2 generated images, which weigh 0, in 2 classes: tench 1, crane 1")
    assert not found.has_files
    assert found.provenance[0] == "read from mini-ImageNet-LT's lists in 'mini': 7 train, 5 generated, 3 val, 3 test"


def test_packed_and_plain_files_give_the_same(make, tmp_path):
    plain = make()
    packed = tmp_path / "packed"
    packed.mkdir()
    for name, text in FILES.items():
        (packed / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    assert read(plain).identity == read(packed).identity
    assert read(plain).rows.equals(read(packed).rows)


@pytest.mark.parametrize("below", ["", "data", "data/images"])
def test_the_root_may_be_named_in_three_ways(make, write_image, tmp_path, below):
    lists = make()
    root = tmp_path / "elsewhere"
    for path in read(lists).rows["id"]:
        write_image(root / path)
    found = read(lists, root=root / below)
    assert found.rows.height == 18
    assert all((found.root / path).is_file() for path in found.rows["path"])  # the generated ones, too
    check_sound(found)
    for name in FILES:
        shutil.copy(lists / name, root / below / name)
    beside = read(root / below)
    assert all((beside.root / path).is_file() for path in beside.rows["path"])


def test_a_root_without_the_images_is_refused(make, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "none of its images is in" in refusal(make(), root=tmp_path / "empty")
    assert "is no folder" in refusal(make(), root=tmp_path / "gone")


def test_without_generated_images_there_is_no_source_and_no_weight(make):
    found = read(make(gentrain__csv=None, alltrain__csv=None))
    assert {"source", "weight"} & set(found.rows.columns) == set()
    assert found.rows["position"].to_list() == list(range(13))


def test_without_alltrain_all_generated_images_count(make):
    found = read(make(alltrain__csv=None))
    assert (found.generated, "weight" in found.rows.columns, found.origin.findings) == (5, False, ())


def test_without_gentrain_they_are_those_of_alltrain(make):
    found = read(make(gentrain__csv=None))
    generated = found.rows.filter(pl.col("source") == "generated")
    assert (generated["id"].to_list(), "weight" in found.rows.columns) == ([f"data/genimages/{n}.jpg" for n in (0, 2, 4)], False)


def test_without_names_a_class_is_called_by_its_wnid_or_else_its_label(make):
    assert read(make(classname__txt=None)).classes == WNIDS
    plain = {name.replace(".", "__"): text.replace("images/n", "images/x") for name, text in FILES.items() if name.endswith(".csv")}
    found = read(make("plain", classname__txt=None, **plain))
    assert (found.classes, found.class_table.columns) == (("0", "1", "2"), ["class_id"])
    assert "wnid-missing" not in findings(found)


def test_names_of_two_classes_get_their_wnid(make):
    names = '{"1": ["n01440764", "crane"], "2": ["n02012849", "crane"], "3": ["n04522168", "vase"]}'
    assert read(make(classname__txt=names)).classes == ("vase", "crane n01440764", "crane n02012849")


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"gentrain__csv": None, "cls_label__json": None, "alltrain__csv": None}, "table"),
        ({"train__csv": FILES["train.csv"].replace("img,label", "file,class")}, None),
    ],
)
def test_other_folders_are_not_taken_for_it(make, changed, name):
    folder = make(**changed)
    with contextlib.suppress(BadData):
        assert read(folder).origin.format != "mini-imagenet-lt"
    if name is not None:
        (folder / "mine.csv").write_text("img,label\na.jpg,cat\n")
        assert read(folder / "mine.csv").origin.format == name


def test_a_table_of_other_images_called_train_is_a_table(tmp_path):
    (tmp_path / "train.csv").write_text("img,label\na.jpg,0\nb.jpg,1\n")
    assert read(tmp_path / "train.csv").origin.format == "table"


# Contradictions, each with its line.


def error_of(found, kind):
    severity, says, _, _ = findings(found)[kind]
    assert severity == "error"
    with pytest.raises(BadData) as caught:
        check_sound(found)
    assert "\n" not in str(caught.value)
    return says


def test_a_changed_count_is_an_error(make):
    found = read(make(cls_label__json='{"0": 5, "1": 2, "2": 1}'))
    assert error_of(found, "counts-differ") == "cls_label.json says 5 for class 0, train.csv has 4"
    found = read(make(cls_label__json='{"0": 4, "1": 9, "2": 0, "3": 0}'))
    assert error_of(found, "counts-differ") == "cls_label.json says 9 for class 1, train.csv has 2 (and 1 more classes differ: 2)"
    assert (found.counts(), found.classes[3]) == ((4, 2, 1, 0), "3")


def test_the_published_count_changed_by_one(real_data, tmp_path):
    for file in (real_data / "mini-imagenet-lt").iterdir():
        shutil.copy(file, tmp_path)
    lines = gzip.decompress((tmp_path / "train.csv.gz").read_bytes()).split(b"\r\n")
    (tmp_path / "train.csv.gz").unlink()
    (tmp_path / "train.csv").write_bytes(b"\r\n".join(lines[:1] + lines[2:]))
    found = read(tmp_path)
    assert findings(found)["counts-differ"][1] == "cls_label.json says 147 for class 0, train.csv has 146"
    assert findings(found)["not-in-parts"][2:] == (1, ("data/images/n0452216800001101.jpg",))


def test_a_label_that_is_none_of_the_counts_is_an_error(make):
    found = read(make(**with_row("train.csv", "n0452216800000001.jpg,0", "n0452216800000001.jpg,100")))
    assert error_of(found, "label-out-of-range") == (
        "label 100 in row 3 of train.csv ('data/images/n0452216800000001.jpg') is none of cls_label.json, which has 0..2; 1 images in all"
    )
    assert found.origin.findings[0].kind == "other-label"  # alltrain.csv says 0
    found = read(make("alone", alltrain__csv=None, **with_row("val.csv", ",2", ",3")))
    assert error_of(found, "label-out-of-range").startswith("label 3 in row 4 of val.csv")
    assert found.origin.findings[0].kind == "label-out-of-range"


def test_a_wnid_without_a_name_is_an_error(make):
    found = read(make(classname__txt='{"0": ["n01440764", "tench"], "134": ["n02012849", "crane"]}'))
    assert error_of(found, "wnid-without-name") == "classname.txt has no name for 1 wnids: n04522168 (label 0)"
    assert found.classes == ("n04522168", "tench", "crane")


def test_an_image_without_a_wnid_is_an_error(make):
    found = read(make(alltrain__csv=None, **with_row("train.csv", "images/n0144076400000001", "images/mine")))
    assert error_of(found, "wnid-missing") == (
        "1 images have no wnid at the beginning of their names (first: 'data/images/mine.jpg', label 1, in row 7 of train.csv)"
    )


def test_an_image_among_those_of_another_class_is_an_error(make):
    found = read(make(**with_row("test.csv", "n0144076400000200.jpg,1", "n0144076400000200.jpg,0")))
    says = error_of(found, "wnid-of-another-class")
    assert says.startswith("1 images have another wnid than the rest of their class (first: 'data/images/n0144076400000200.jpg', label 0")
    assert found.classes[0] == "big vase"


def test_a_wnid_of_two_labels_is_an_error(make):
    changed = {
        name.replace(".", "__"): text.replace("n02012849", "n01440764") for name, text in FILES.items() if name.endswith("train.csv")
    }
    held_out = {"val__csv": None, "test__csv": None}
    train = changed["train__csv"].replace("n0144076400000000.jpg,2", "n0144076400000009.jpg,2")
    found = read(make(**{**changed, **held_out, "train__csv": train, "alltrain__csv": None}))
    assert error_of(found, "wnid-of-two-classes") == "1 wnids stand for several labels: n01440764 (labels 1, 2)"
    assert found.classes == ("big vase", "tench n01440764 1", "tench n01440764 2")


def test_alltrain_must_be_its_parts_together(make):
    extra = FILES["alltrain.csv"] + "data/genimages/99.jpg,1\r\ndata/images/n0144076400000077.jpg,1\r\n"
    found = read(make(alltrain__csv=extra))
    assert error_of(found, "not-in-parts") == (
        "alltrain.csv is not train.csv and gentrain.csv together: 2 images are in neither "
        "(first: 'data/genimages/99.jpg' in row 12 of alltrain.csv)"
    )
    less = FILES["alltrain.csv"].replace("data/images/n0452216800000000.jpg,0\r\n", "")
    found = read(make(alltrain__csv=less))
    assert "1 images are not in it (first: 'data/images/n0452216800000000.jpg' in row 2 of train.csv)" in error_of(found, "not-in-alltrain")
    other = FILES["alltrain.csv"].replace("genimages/0.jpg,1", "genimages/0.jpg,2")
    found = read(make(alltrain__csv=other))
    assert "1 images have another label (first: 'data/genimages/0.jpg' in row 9 of alltrain.csv)" in error_of(found, "other-label")


def test_an_image_of_two_lists_is_an_error(make):
    found = read(make(**with_row("test.csv", "n0452216800000200", "n0452216800000001")))
    assert error_of(found, "in-two-lists") == (
        "1 images of test.csv also in train.csv (first: 'data/images/n0452216800000001.jpg'); results would be inflated"
    )
    assert found.counts("test") == (0, 1, 1)


def test_gaps_and_unseen_classes_are_noted(make):
    changed = {"gentrain__csv": None, "alltrain__csv": None, "cls_label__json": '{"0": 4, "1": 2, "7": 0}'}
    train = FILES["train.csv"].replace("data/images/n0201284900000000.jpg,2\r\n", "")
    held_out = {f"{name}__csv": FILES[f"{name}.csv"].replace(",2", ",7") for name in ("val", "test")}
    found = read(make(train__csv=train, **changed, **held_out))
    assert found.class_table["class_id"].to_list() == ["0", "1", "7"]
    assert findings(found)["label-gap"][:2] == ("note", "mini: labels 0..7 without 2, 3, 4, 5, 6; kept as class ids, 3 classes")
    assert findings(found)["unseen-classes"][1] == "mini: 1 classes have val or test images, and none in training: crane"
    assert [finding.severity for finding in found.origin.findings] == ["note", "note"]


# What cannot be read.


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"train__csv": None}, "no train.csv there"),
        ({"val__csv": "img,label\r\n"}, "val.csv: only a header, no rows"),
        ({"val__csv": ""}, "val.csv: empty"),
        ({"val__csv": "path,label\r\na.jpg,0\r\n"}, "val.csv: its header is 'path', 'label', expected img,label"),
        (
            with_row("train.csv", "n0452216800000001.jpg,0", "n0452216800000001.jpg,1e2"),
            "train.csv: label '1e2' in row 3 is not a whole number",
        ),
        (with_row("train.csv", "n0452216800000001.jpg,0", "n0452216800000001.jpg,-1"), "train.csv: label '-1' in row 3 is below 0"),
        (with_row("test.csv", ",0", ",1000000000000"), "test.csv: label '1000000000000' in row 2 exceeds the limit"),
        (with_row("test.csv", ",0", ""), "test.csv: row 2 has 1 fields, expected 2"),
        (with_row("test.csv", ",0", ",0,0"), "test.csv: row 2 has 3 fields, expected 2"),
        (with_row("gentrain.csv", "data/genimages/2.jpg,2", "img,label"), "gentrain.csv: label 'label' in row 3 is not a whole number"),
        (with_row("train.csv", "data/images/n0144076400000000.jpg,1", "img,label"), "train.csv: row 6 repeats the header"),
        (with_row("train.csv", "data/images/n0452216800000001.jpg", "../x.jpg"), "train.csv: path '../x.jpg' in row 3 leaves the root"),
        (
            with_row("gentrain.csv", "data/genimages/2", "/data/genimages/2"),
            "gentrain.csv: path '/data/genimages/2.jpg' in row 3 is absolute",
        ),
        ({"cls_label__json": "[4, 2, 1]"}, "cls_label.json: holds a list, expected a JSON dictionary"),
        ({"cls_label__json": '{"0": 4, "1": 2, "2"'}, "cls_label.json: cannot be read as JSON"),
        ({"cls_label__json": '{"0": 4, "0": 4}'}, "cls_label.json: cannot be read as JSON (duplicate key '0')"),
        ({"cls_label__json": '{"vase": 4}'}, "cls_label.json: 'vase' has '4', expected a label and its number of images"),
        ({"cls_label__json": '{"0": true}'}, "cls_label.json: '0' has 'True'"),
        ({"cls_label__json": '{"0": -4}'}, "cls_label.json: '0' has '-4'"),
        ({"cls_label__json": '{"2000000000": 0}'}, "cls_label.json: '2000000000' has '0'"),
        ({"cls_label__json": '{"0": ' + "9" * 5_000 + "}"}, "cls_label.json: cannot be read as JSON"),
        ({"cls_label__json": "[" * 100_000}, "cls_label.json: cannot be read as JSON"),
        ({"classname__txt": '{"0": "tench"}'}, "classname.txt: '0' has 'tench', expected a wnid and a name"),
        ({"classname__txt": '{"0": ["n01440764", ""]}'}, "classname.txt: '0' has"),
        ({"classname__txt": "n01440764 tench\n"}, "classname.txt: cannot be read as JSON"),
    ],
)
def test_broken_files_are_refused_in_one_line(make, changed, what):
    assert what in refusal(make(**changed))


def test_a_header_is_a_first_row_whose_second_field_is_no_number(make):
    folder = make()
    headless = FILES["val.csv"].removeprefix("img,label\r\n")
    headed = "img,label\r\n" + FILES["gentrain.csv"]
    assert read(make("other", val__csv=headless, gentrain__csv=headed)).rows.equals(read(folder).rows)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\n"])
def test_any_line_ends_do(make, end):
    changed = {name.replace(".", "__"): "\ufeff" + text.replace("\r\n", end) for name, text in FILES.items() if name.endswith(".csv")}
    assert read(make("ends", **changed)).rows.equals(read(make()).rows)


@pytest.mark.fuzz
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(FILES)), seed=st.integers(0, 10**9), garbage=st.none() | st.binary(max_size=40))
def test_any_damage_gives_a_manifest_or_one_line(make, name, seed, garbage):
    chance = random.Random(seed)
    damaged = bytearray(FILES[name].encode())
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(damaged))
        damaged[at : at + chance.randint(0, 4)] = bytes(chance.choice(b'\r\n,0129"{}[]:-.\\/ \0\xffn') for _ in range(chance.randint(0, 3)))
    damaged = damaged[: chance.randint(0, len(damaged))] if chance.random() < 0.3 else damaged
    folder = make(**{name.replace(".", "__"): bytes(damaged) if garbage is None else garbage})
    for form in (read_mini_imagenet_lt, read):
        for path in (folder, folder / name):
            is_read_or_refused_in_one_line(form, path)
