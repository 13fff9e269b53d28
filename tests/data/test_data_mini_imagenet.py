"""mini-ImageNet's split lists: classes divided among the lists, so that they are merged into one pool."""

from __future__ import annotations

import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data.readers.mini_imagenet import read_mini_imagenet
from tailwise.data.sources import read
from tailwise.data.splits import split
from tailwise.errors import BadData, TailwiseError

A, B, C, D = "n01532829", "n01558993", "n02110063", "n01440764"


def listed(*wnids, images=2, column="label"):
    return f"filename,{column}\n" + "".join(f"{wnid}{n:08}.jpg,{wnid}\n" for wnid in wnids for n in range(images))


@pytest.fixture
def write(tmp_path):
    def write(text, name="train.csv"):
        file = tmp_path / "lists" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.fixture
def pool(write):
    """A folder of three lists that share no class."""
    write(listed(A, B))
    write(listed(C), "val.csv")
    return write(listed(D), "test.csv").parent


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
        read(path, format="mini-imagenet", **words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is published.


def test_ravi_and_larochelle(real_data, tmp_path):
    for name in ("train", "val", "test"):
        shutil.copy(real_data / f"metadata/mini-imagenet/ravi_larochelle_{name}.csv.gz", tmp_path)
    for name, images, classes in (("train", 38_400, 64), ("val", 9_600, 16), ("test", 12_000, 20)):
        alone = read(tmp_path / f"ravi_larochelle_{name}.csv.gz")
        assert (alone.origin.format, alone.rows.height, len(alone.classes), set(alone.counts())) == (
            "mini-imagenet",
            images,
            classes,
            {600},
        )
    found = read(tmp_path)
    assert (found.rows.height, len(found.classes), set(found.counts()), found.splits) == (60_000, 100, {600}, ("train",))
    assert list(found.classes) == sorted(found.classes)
    assert found.class_table["class_id"].to_list() == list(found.classes)
    assert dict(found.class_table["list"].value_counts().rows()) == {"train": 64, "val": 16, "test": 20}
    assert all(id_.startswith(found.classes[label]) for id_, label in found.rows.select("id", "label").rows())
    says = findings(found)["class-disjoint-lists"][1]
    assert says.endswith(
        "its lists share no class, so they are merged into one pool of 60,000 images and 100 classes (64 of train, 16 of val, 20 of test); "
        "split it within the classes"
    )
    assert says in found.provenance
    assert [table.records for table in found.origin.tables] == [38_400, 9_600, 12_000]
    cut = split(found, "80/10/10")
    assert [set(cut.counts(name)) for name in ("train", "val", "test")] == [{480}, {60}, {60}]


@pytest.mark.parametrize(
    ("name", "rows", "end"), [("train", 200, b"\r\n"), ("val", 199, b"\n\n"), ("test", 199, b"\n\n"), ("trainval", 199, b"\n\n")]
)
def test_what_is_there_of_vinyals(real_data, tmp_path, name, rows, end):
    file = tmp_path / f"{name}.csv"
    shutil.copy(real_data / f"metadata/mini-imagenet/vinyals_{name}.csv.excerpt", file)
    assert file.read_bytes().endswith(end)
    found = read(file)
    assert (found.origin.format, found.rows.height, len(found.classes)) == ("mini-imagenet", rows, 2)
    assert found.rows["id"].str.ends_with(".JPEG").all()
    assert found.origin.tables[0].first["class"] == found.rows["id"][0].split("_")[0]
    assert not found.origin.findings


# Lists and splits.


def test_lists_that_share_no_class_are_a_pool(pool):
    found = read(pool)
    assert (found.classes, found.counts(), found.splits) == ((D, A, B, C), (2, 2, 2, 2), ("train",))
    assert found.class_table.rows() == [(D, "test"), (A, "train"), (B, "train"), (C, "val")]
    assert findings(found)["class-disjoint-lists"][0] == "note"


def test_lists_that_share_classes_keep_their_splits(pool, write):
    write(listed(C).replace(f"{C}00000000", f"{C}00000009") + f"{D}00000005.jpg,{D}\n{A}00000005.jpg,{A}\n", "val.csv")
    found = read(pool)
    assert (found.splits, found.counts("val")) == (("train", "val", "test"), (1, 1, 0, 2))
    assert found.class_table.columns == ["class_id"]
    assert list(findings(found)) == ["unseen-classes"]


def test_trainval_stands_in_for_train_and_val_or_is_passed_over(pool, write):
    write(listed(A, B, C), "trainval.csv")
    assert [table.name for table in read(pool).origin.tables] == ["train.csv", "val.csv", "test.csv"]
    (pool / "train.csv").unlink()
    found = read(pool)
    assert [table.name for table in found.origin.tables] == ["trainval.csv", "test.csv"]
    assert found.rows.height == 8


def test_two_sets_in_a_folder_are_refused(pool, write):
    write(listed(A, column="class"), "vinyals_train.csv")
    assert "both train.csv and vinyals_train.csv list train" in refusal(pool)


def test_columns_of_the_two_forms_and_blank_lines(write):
    plain = read(write(listed(A, B)))
    other = read(write("\r\n".join(listed(A, B, column="class").splitlines()).replace(f",{A}\r\n", f",{A}\r\n\r\n") + "\r\n\r\n"))
    assert plain.identity == other.identity


# Where the images are.


@pytest.mark.parametrize("below", ["", "images/"])
@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("{file}", "images are all in one folder"),
        ("{wnid}/{file}", "images are in a folder a wnid"),
        ("{split}/{wnid}/{file}", "images are in folders of split and wnid"),
    ],
)
def test_images_are_found_in_each_layout(pool, write_image, below, form, said):
    for name, wnids in (("train", (A, B)), ("val", (C,)), ("test", (D,))):
        for wnid in wnids:
            for n in range(2):
                write_image(pool / (below + form).format(split=name, wnid=wnid, file=f"{wnid}{n:08}.jpg"))
    for found in (read(pool), read(pool, format="mini-imagenet", root=pool / below)):
        assert said in found.provenance
        assert all((found.root / path).is_file() for path in found.rows["path"])
        assert found.rows["id"][0] == f"{A}00000000.jpg"


def test_lists_stand_alone(pool, tmp_path):
    found = read(pool)
    assert (found.has_files, found.rows["path"].to_list()) == (False, found.rows["id"].to_list())
    (tmp_path / "empty").mkdir()
    assert "none of its images is in" in refusal(pool, root=tmp_path / "empty")


# What is odd, and what cannot be read.


def test_an_image_named_after_another_class_is_an_error(write):
    found = read(write(listed(A, B) + f"{A}00000077.jpg,{B}\n"))
    assert findings(found)["class-unlike-path"] == (
        "error",
        f"train.csv: 1 images are named after another class (first: '{A}00000077.jpg' with label {B} in row 6 of train.csv)",
        1,
        (f"{A}00000077.jpg",),
    )


def test_an_image_of_two_lists_is_an_error(pool, write):
    write(listed(D) + f"{A}00000000.jpg,{A}\n", "test.csv")
    assert findings(read(pool))["in-two-lists"][:2] == (
        "error",
        f"1 images of test.csv also in train.csv (first: '{A}00000000.jpg'); results would be inflated",
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (listed(A) + "x.jpg,cat\n", "label 'cat' in row 4 is no wnid, expected one like n01532829"),
        (listed(A) + f"x.jpg,{A}0\n", f"label '{A}0' in row 4 is no wnid"),
        (listed(A) + "x.jpg,\n", "label '' in row 4 is no wnid"),
        (listed(A) + "x.jpg\n", "row 4 has 1 fields, expected 2"),
        (listed(A) + listed(B), "row 4 repeats the header"),
        (listed(A) + f"../x.jpg,{A}\n", "path '../x.jpg' in row 4 leaves the root"),
        ("filename,label\n", "only a header, no rows"),
        ("", "empty"),
        ("file,label\na,b\n", "its header is 'file', 'label', expected filename,label or filename,class"),
        ("filename,l\x85el\na,b\n", "its header is 'filename', 'l\\x85el', expected"),  # a line end to some
        (b"filename,label\n\xff,n\n", "not UTF-8"),
    ],
)
def test_broken_lists_are_refused_in_one_line(write, text, what):
    file = write(text)
    said = refusal(file)
    assert said.startswith(str(file))
    assert what in said


def test_a_folder_without_lists_says_what_is_expected(tmp_path):
    assert "no list of mini-ImageNet there" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("filename,label\na.jpg,cat\nb.jpg,dog\n", "table"),
        ("path,label\n" + listed(A).split("\n", 1)[1], "table"),
        (listed(A), "mini-imagenet"),
    ],
)
def test_tables_of_other_labels_are_tables(write, text, form):
    assert read(write(text)).origin.format == form


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**9), garbage=st.none() | st.binary(max_size=40))
def test_any_damage_gives_a_manifest_or_one_line(pool, write, seed, garbage):
    chance = random.Random(seed)
    damaged = bytearray(listed(A, B).encode())
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(damaged))
        damaged[at : at + chance.randint(0, 4)] = bytes(chance.choice(b'\r\n,019"n./\\ \0\xff') for _ in range(chance.randint(0, 3)))
    file = write(bytes(damaged) if garbage is None else garbage)
    for form in (read_mini_imagenet, read):
        for path in (file, pool):
            is_read_or_refused_in_one_line(form, path)
