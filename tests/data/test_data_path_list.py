"""Lists of paths and labels without a header: what is published, what is home-made, and what is broken."""

from __future__ import annotations

import gzip
import json
import random
import shutil

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.counts import ClassCounts
from tailwise.data.readers.path_list import read_path_list
from tailwise.data.sources import read
from tailwise.errors import BadData, TailwiseError
from tailwise.groups import make_groups


@pytest.fixture
def write(tmp_path):
    def write(text, name="train.txt"):
        file = tmp_path / "set" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.fixture
def copied(tmp_path, real_data):
    """Copy a published list, or what is there of it, under the name that it was published with."""

    def copy(source, name):
        file = tmp_path / name
        shutil.copy(real_data / "metadata" / source, file)
        return file

    return copy


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
        read(path, format="list", **words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sizes(counts):
    return [len(members) for members in make_groups(counts).members.values()]


# What is published.


def test_places_lt(copied, real_data):
    train = read(copied("places-lt/train.txt.gz", "Places_LT_train.txt.gz"))
    published = json.loads((real_data / "metadata/places-lt/train_counts.json").read_text())
    counts = train.counts()
    assert train.origin.format == "list"
    assert counts == tuple(published[str(label)] for label in range(365))
    assert (sum(counts), max(counts), min(counts), ClassCounts(counts).imbalance_ratio) == (62_500, 4_980, 5, 996)
    assert (counts.index(4_980), [label for label, n in enumerate(counts) if n == 5]) == (7, [88, 126, 195])
    assert [label for label, n in enumerate(counts) if n == 100] == [149]
    assert [label for label, n in enumerate(counts) if n == 20] == [1, 55, 70, 162, 185, 364]
    assert sizes(counts) == [131, 163, 71]
    assert train.rows.row(0, named=True)["id"] == "train/airfield/00004851.jpg"
    assert train.classes[:2] == ("0", "1")
    assert train.class_table["class_id"].to_list() == [str(label) for label in range(365)]
    assert not train.origin.findings
    val = read(copied("places-lt/val.txt.gz", "Places_LT_val.txt.gz"))
    assert (val.splits, set(val.counts("val"))) == (("val",), {20})


def test_a_folder_of_lists_is_a_set_with_splits_and_names(copied):
    copied("places-lt/train.txt.gz", "Places_LT_train.txt.gz")
    copied("places-lt/val.txt.gz", "Places_LT_val.txt.gz")
    copied("places-lt/test.txt.excerpt", "Places_LT_test.txt")
    folder = copied("places-lt/classnames.txt", "classnames.txt").parent
    found = read(folder)
    assert found.origin.format == "list"
    assert {split: sum(found.counts(split)) for split in found.splits} == {"train": 62_500, "val": 7_300, "test": 400}
    assert found.classes[:2] == ("airfield", "airplane_cabin")
    assert [table.name for table in found.origin.tables] == [
        "Places_LT_train.txt.gz",
        "Places_LT_val.txt.gz",
        "Places_LT_test.txt",
        "classnames.txt",
    ]
    assert [table.records for table in found.origin.tables] == [62_500, 7_300, 400, 365]
    assert found.origin.tables[0].first == {"path": "train/airfield/00004851.jpg", "label": "0"}
    assert not found.origin.findings


def test_imagenet_lt_by_its_counts(write, real_data):
    published = json.loads((real_data / "metadata/imagenet-lt/train_counts.json").read_text())
    rows = [f"train/x{label}/{n}.JPEG {label}" for label, count in published.items() for n in range(count)]
    counts = read(write("\n".join(rows) + "\n", "ImageNet_LT_train.txt")).counts()
    assert (len(counts), sum(counts), max(counts), counts.index(1_280), ClassCounts(counts).imbalance_ratio) == (
        1_000,
        115_846,
        1_280,
        86,
        256,
    )
    assert [label for label, n in enumerate(counts) if n == 5] == [58, 155, 356, 747, 865]
    assert [label for label, n in enumerate(counts) if n == 100] == [158, 165, 175, 227, 531, 637]
    assert [label for label, n in enumerate(counts) if n == 20] == [124, 181, 277, 364, 507, 748, 771, 825, 900, 938]
    assert sizes(counts) == [385, 479, 136]


def test_a_list_of_some_classes_keeps_their_ids(copied):
    copied("imagenet-lt/classnames.txt", "classnames.txt")
    found = read(copied("imagenet-lt/train_90class_subset.txt.gz", "ImageNet_LT_train_90.txt.gz"))
    counts = found.counts()
    assert (len(counts), sum(counts), max(counts), min(counts), ClassCounts(counts).imbalance_ratio) == (90, 7_614, 507, 6, 84.5)
    assert sizes(counts) == [30, 30, 30]
    assert found.class_table.row(0) == ("6", "n01498041")
    assert found.class_table["class_id"].to_list()[1:3] == ["15", "22"]
    assert found.class_table["class_id"][-1] == "992"
    assert found.classes[0] == "stingray"
    severity, says, count, _ = findings(found)["label-gap"]
    assert (severity, count) == ("note", 903)
    assert says == "ImageNet_LT_train_90.txt.gz: labels 0..992 without 0, 1, 2, 3, 4 and 898 more; kept as class ids, 90 classes"


def test_names_that_two_classes_share_get_their_wnid(copied, real_data):
    rows = [f"train/{label}.jpg {label}\n" for label in range(1_000)]
    list_ = copied("imagenet-lt/classnames.txt", "classnames.txt").parent / "train.txt"
    list_.write_text("".join(rows))
    found = read(list_)
    names = [line.split(" ", 1) for line in (real_data / "metadata/imagenet-lt/classnames.txt").read_text().splitlines()]
    shared = {name for wnid, name in names if [other for _, other in names].count(name) > 1}
    assert shared == {"missile", "sunglasses"}
    assert found.classes == tuple(f"{name} {wnid}" if name in shared else name for wnid, name in names)
    assert found.class_table["wnid"].to_list() == [wnid for wnid, _ in names]


@pytest.mark.parametrize(
    ("source", "rows", "first", "classes"),
    [
        ("imagenet-lt/val.txt.excerpt", 400, "train/n01440764/n01440764_762.JPEG", 20),
        ("imagenet-lt/test.txt.excerpt", 400, "val/n01440764/ILSVRC2012_val_00029930.JPEG", 8),
        ("imagenet-lt/test_flat_variant.txt.excerpt", 200, "val/ILSVRC2012_val_00029930.JPEG", 4),
        ("places-lt/train_v2_paths.txt.excerpt", 200, "data_256/a/airfield/00004851.jpg", 4),
        ("inaturalist2018/val.txt.excerpt", 400, "train_val2018/Plantae/7291/9f8ecb39e5f767e39e9b28e34488f179.jpg", 397),
    ],
)
def test_what_is_there_of_the_other_lists(copied, source, rows, first, classes):
    found = read(copied(source, source.rsplit("/")[-1].removesuffix(".excerpt")))
    assert (found.origin.format, found.rows.height, found.rows["id"][0], len(found.classes)) == ("list", rows, first, classes)


def test_inaturalist_labels_are_the_third_part_of_the_path(copied):
    found = read(copied("inaturalist2018/val.txt.excerpt", "iNaturalist18_val.txt"))
    ids = pl.Series(found.class_table["class_id"])[found.rows["label"]]
    assert ids.to_list() == [path.split("/")[2] for path in found.rows["id"]]


def test_a_shifted_test_list_has_the_published_counts(copied, real_data):
    found = read(copied("imagenet-lt/test_forward50.txt.excerpt", "test_forward50.txt"))
    published = json.loads((real_data / "metadata/imagenet-lt/test_forward50_counts.json").read_text())
    whole = tuple(published.values())
    assert (len(whole), sum(whole), max(whole), min(whole)) == (1_000, 12_058, 50, 1)
    by_id = dict(zip(found.class_table["class_id"], found.counts("test"), strict=True))
    assert {label: n for label, n in by_id.items() if label in ("0", "999")} == {"0": published["0"], "999": published["999"]}


def test_the_interrupted_download_is_refused_with_its_row(copied):
    file = copied("inaturalist2018/train_interrupted_download.txt.gz", "iNaturalist18_train.txt.gz")
    said = refusal(file)
    assert said == f"{file}: list ends inside row 6584 ('train_val'); download incomplete? Fetch it again"
    with pytest.raises(BadData, match="download incomplete"):
        read(file)  # it is recognised, too


# Where the images are.


@pytest.mark.parametrize("below", ["", "data_256", "val"])
def test_images_are_found_under_other_roots(write, write_image, below):
    folder = write("val/airfield/a b.jpg 0\nval/barn/2.jpg 1\n", "test.txt").parent
    root = folder / below if below != "val" else folder
    for name in ("airfield/a b.jpg", "barn/2.jpg"):
        write_image((root / "val" if below == "val" else root) / name)
    found = read(folder / "test.txt", root=root)
    assert found.root == root
    assert all((root / path).is_file() for path in found.rows["path"])
    assert found.rows["id"].to_list() == ["val/airfield/a b.jpg", "val/barn/2.jpg"]


def test_a_list_stands_alone_but_not_on_a_root_without_its_images(write, tmp_path):
    file = write("a/1.jpg 0\na/2.jpg 1\n")
    assert not read(file).has_files
    (tmp_path / "empty").mkdir()
    assert "none of its images is in" in refusal(file, root=tmp_path / "empty")


# What is recognised.


def test_a_folder_of_class_folders_stays_one(pets):
    (pets / "train.txt").write_text("cat/a.png 0\ndog/a.png 1\n")
    assert read(pets).origin.format == "folder"
    assert read(pets, format="list").counts() == (1, 1)


def test_folders_of_splits_are_no_class_folders(write, write_image):
    folder = write("train/1.jpg 0\n", "train.txt").parent
    write("val/2.jpg 0\n", "val.txt")
    for name in ("train/1.jpg", "val/2.jpg"):
        write_image(folder / name)
    found = read(folder)
    assert (found.origin.format, found.root, found.splits) == ("list", folder, ("train", "val"))


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("train.csv", "path,label\na.jpg,0\nb.jpg,1\n", "table"),
        ("train.csv", "a.jpg,0\nb.jpg,1\n", "list"),
        ("train.tsv", "path\tlabel\na.jpg\t0\n", "table"),
        ("train.tsv", "a.jpg\t0\n", "list"),
        ("train.lst", "Rijq4BMl4Ig 178\nxYjQkWxF8h0 126\n", "videolt"),
        ("train.csv", "filename,label\nn0153282900000005.jpg,n01532829\n", "mini-imagenet"),
        ("notes", "x.jpg 3", "list"),
    ],
)
def test_lists_and_tables_are_told_apart(write, name, text, form):
    assert read(write(text, name)).origin.format == form


def test_prose_is_no_list(write):
    with pytest.raises(BadData, match="not recognised"):
        read(write("The picture cat.jpg was taken in 2018\nat noon 12\n", "readme.txt"))


def test_two_lists_of_a_split_are_refused(write):
    write("a.jpg 0\n", "ImageNet_LT_test.txt")
    folder = write("a.jpg 0\n", "test_forward50.txt").parent
    said = refusal(folder)
    assert "both ImageNet_LT_test.txt and test_forward50.txt list test" in said


def test_a_folder_without_lists_says_what_is_expected(tmp_path):
    assert "no list of a split there" in refusal(tmp_path)


def test_lists_of_no_split_are_left_unread_and_said(write):
    folder = write("a.jpg 0\n", "X_train.txt").parent
    write("b.jpg -1\n", "X_open.txt")
    found = read(folder)
    assert found.rows["id"].to_list() == ["a.jpg"]
    assert found.provenance[-1] == "left unread: X_open.txt"


# Rows.


@pytest.mark.parametrize("sign", [" ", "\t", ",", ";", ", ", "  ", " \t"])
def test_separators(write, sign):
    found = read(write(f"my dir/a b.jpg{sign}0\nc.jpg{sign}1\n"))
    assert found.rows["id"].to_list() == ["my dir/a b.jpg", "c.jpg"]
    assert found.rows["label"].to_list() == [0, 1]


def test_a_blank_after_the_separator_is_none(write):
    found = read(write("a.jpg, 0\nb,c.jpg, 1\n"))
    assert found.rows["id"].to_list() == ["a.jpg", "b,c.jpg"]


def test_names_for_labels_are_refused(write):
    assert "label 'cat' in row 1 (and 1 more) is not a whole number" in refusal(write("a.jpg cat\nb.jpg dog\n"))


def test_rows_are_parted_from_the_right_once_and_quotes_are_literal(write):
    found = read(write('a, b; c.jpg 0\n"d".jpg 1\ne 5.jpg 12\n'))
    assert found.rows["id"].to_list() == ["a, b; c.jpg", '"d".jpg', "e 5.jpg"]
    assert found.class_table["class_id"].to_list() == ["0", "1", "12"]


@pytest.mark.parametrize("text", ["a.jpg 0\r\nb.jpg 1\r\n", "a.jpg 0\rb.jpg 1", "\ufeffa.jpg 0\n\n\nb.jpg 1", "a.jpg 0 \nb.jpg 1\t\n"])
def test_line_ends_byte_order_marks_and_blanks_at_the_end_are_no_matter(write, text):
    found = read(write(text))
    assert found.rows.select("id", "label").rows() == [("a.jpg", 0), ("b.jpg", 1)]
    assert not found.origin.findings
    packed = write(gzip.compress(text.encode()), "train.txt.gz")
    assert (read(packed).identity, read(packed).name) == (found.identity, "train")


def test_unknown_is_no_class(write):
    found = read(write("a.jpg 0\nb.jpg -1\nc.jpg -1\nd.jpg 1\n", "test.txt"))
    assert found.rows["label"].to_list() == [0, None, None, 1]
    assert (found.counts("test"), found.unlabelled, found.classes) == ((1, 1), 2, ("0", "1"))
    assert findings(found)["unknown-labels"][::2] == ("note", 2)
    assert "label -1, unknown" in findings(found)["unknown-labels"][1]


def test_an_open_set_list_alone_needs_names(write):
    file = write("a.jpg -1\nb.jpg -1\n", "ImageNet_LT_open.txt")
    assert "all its labels are -1, unknown" in refusal(file)
    write("n01440764 tench\nn01443537 goldfish\n", "classnames.txt")
    found = read(file)
    assert (found.classes, found.rows["label"].to_list()) == (("tench", "goldfish"), [None, None])


def test_numbers_written_oddly_are_taken_and_noted(write):
    found = read(write("a.jpg,1.0\nb.jpg, 0\nc.jpg,1\n"))
    assert found.rows["label"].to_list() == [1, 0, 1]
    assert findings(found)["odd-labels"][:3] == ("note", "train.txt: 2 labels are written like '1.0' in row 1; taken as whole numbers", 2)


@pytest.mark.parametrize(
    ("label", "what"),
    [
        ("1e2", "is not a whole number"),
        ("+3", "is not a whole number"),
        ("03", "is not a whole number"),
        ("٣", "is not a whole number"),
        ("1.5", "is not a whole number"),
        ("-0", "is not a whole number"),
        ("cat", "is not a whole number"),
        ("-2", "is below -1"),
        ("-99999999999999999999999", "is below -1"),
        ("1000000000000", "exceeds the limit of 1,000,000,000"),
        ("9" * 400, "exceeds the limit"),
    ],
)
def test_labels_that_are_none_are_refused_with_their_row(write, label, what):
    rows = [f"{n}.jpg {n % 3}" for n in range(1, 4)] + [f"x.jpg {label}", "y.jpg 1"]
    file = write("\n".join(rows) + "\n")
    said = refusal(file)
    assert said.startswith(f"{file}: label '{label[:40]}'")
    assert f"in row 4 {what}" in said
    with pytest.raises(BadData, match="in row 4"):
        read(file)  # one such row does not hide what the file is


def test_the_highest_label_is_admitted(write):
    found = read(write("a.jpg 0\nb.jpg 1000000000\n"))
    assert found.class_table["class_id"].to_list() == ["0", "1000000000"]
    assert "labels 0..1000000000 without 1, 2, 3, 4, 5 and 999,999,994 more" in findings(found)["label-gap"][1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a.jpg 0\nb.jpg\nc.jpg 1\n", "row 2 is 'b.jpg', expected a path, a blank and a label"),
        ("a.jpg 0\nb.jpg 1\nc.jp", "list ends inside row 3 ('c.jp'); download incomplete?"),
        ("a.jpg 0\nb.jpg 1\nc.jpg ", "list ends inside row 3"),
        ("a.jpg 0\n\nmy photos/c.jp", "list ends inside row 3"),
        ("", "no rows"),
        ("\n \n", "no rows"),
        ("a.jpg 0\n../../etc/x.jpg 1\n", "path '../../etc/x.jpg' in row 2 leaves the root"),
        ("a.jpg 0\n/etc/x.jpg 1\n", "path '/etc/x.jpg' in row 2 is absolute"),
        ("a.jpg 0\nC:\\x.jpg 1\n", "in row 2 is absolute"),
        ("a.jpg 0\nb\0.jpg 1\n", r"path 'b\x00.jpg' in row 2 holds a control character"),
        (b"a.jpg 0\n\xff.jpg 1\n", "not UTF-8 at byte 8"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a Git-LFS pointer"),
        ("<!DOCTYPE html>\n", "is a web page"),
        (b"\x1f\x8b\x08", "damaged gzip"),
    ],
)
def test_broken_lists_are_refused_in_one_line(write, text, what):
    file = write(text)
    said = refusal(file)
    assert said.startswith(f"{file}")
    assert what in said


def test_a_cut_list_is_recognised_however_short(write):
    with pytest.raises(BadData, match="list ends inside row 2"):
        read(write("a.jpg 0\ntrain_v"))


# Images that are listed again.


def test_images_listed_twice_are_kept_once(write):
    found = read(write("a.jpg 0\nb.jpg 1\na.jpg 0\nb.jpg 0\nb.jpg 1\nc.jpg 2\n"))
    assert found.rows.select("id", "label").rows() == [("a.jpg", 0), ("b.jpg", 1), ("c.jpg", 2)]
    said = findings(found)
    assert said["conflicting-labels"] == (
        "error",
        "train.txt: 1 images have two labels (first: 'b.jpg' in rows 2, 4, 5); the first row was taken",
        1,
        ("b.jpg",),
    )
    assert said["listed-twice"] == (
        "warning",
        "train.txt: 1 images are listed more than once (first: 'a.jpg' in rows 1, 3); the first row was taken",
        1,
        ("a.jpg",),
    )


def test_images_of_two_splits_are_an_error(write):
    write("a.jpg 0\nb.jpg 1\nc.jpg 1\n")
    write("d.jpg 0\n", "val.txt")
    folder = write("b.jpg 1\n./c.jpg 1\nd.jpg 0\ne.jpg 0\n", "test.txt").parent
    found = read(folder)
    errors = [(finding.severity, finding.says, finding.ids) for finding in found.origin.findings]
    assert errors == [
        ("error", "2 images of test.txt also in train.txt (first: 'b.jpg'); results would be inflated", ("b.jpg", "c.jpg")),
        ("error", "1 images of test.txt also in val.txt (first: 'd.jpg'); results would be inflated", ("d.jpg",)),
    ]
    assert dict(found.rows.select("id", "split").rows()) == {
        "a.jpg": "train",
        "b.jpg": "train",
        "c.jpg": "train",
        "d.jpg": "val",
        "e.jpg": "test",
    }


def test_classes_that_training_lacks_are_noted(write):
    write("a.jpg 0\nb.jpg 1\n")
    folder = write("c.jpg 1\nd.jpg 2\ne.jpg -1\n", "test.txt").parent
    assert findings(read(folder))["unseen-classes"] == (
        "note",
        "set: 1 classes have val or test images, and none in training: 2",
        1,
        ("2",),
    )


# Names of classes.


def test_names_that_do_not_reach_are_a_warning(write):
    write("airfield airfield\n\nbarn\nold barn house\n", "classnames.txt")
    found = read(write("a.jpg 0\nb.jpg 1\nc.jpg 2\nd.jpg 3\ne.jpg 7\n"))
    assert found.classes == ("airfield", "1", "barn", "barn house", "7")
    severity, says, count, ids = findings(found)["labels-without-name"]
    assert (severity, count, ids) == ("warning", 2, ("1", "7"))
    assert "classnames.txt names 4 classes, and none of 2 labels (1, 7)" in says


def test_names_that_cannot_be_made_unique_give_way_to_class_ids(write):
    write("x a\nx a\ny a x 0\n", "classnames.txt")
    file = write("a.jpg 0\nb.jpg 1\nc.jpg 2\n")
    assert read(file).classes == ("0", "1", "2")


# Anything.


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_bytes_give_a_manifest_or_one_line(write, content):
    _reads(write(content))
    _reads(write(b"a.jpg 0\n" + content))


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**9))
def test_any_damage_gives_a_manifest_or_one_line(write, seed):
    write("n01440764 tench\nn01443537 goldfish\n", "classnames.txt")
    valid = bytearray(b"train/a/1.jpg 0\ntrain/a/2.jpg 1\ntrain/b/3.jpg 7\ntrain/b/4 5.jpg -1\n")
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(valid))
        valid[at : at + chance.randint(0, 3)] = bytes(chance.choice(b'\t\r\n ,;-.0e9/\\\0\xffa"') for _ in range(chance.randint(0, 3)))
    _reads(write(bytes(valid[: chance.randint(1, len(valid))])))


def _reads(file):
    for form in (read_path_list, read):
        is_read_or_refused_in_one_line(form, file)


def test_a_path_of_thousands_of_parts_is_soon_given_up(write):
    assert not read(write("a/" * 30_000 + "a.jpg 0\nb.jpg 1\n")).has_files
