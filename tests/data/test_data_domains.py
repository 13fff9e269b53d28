from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data import check_sound, read
from tailwise.data.cells import cell_counts
from tailwise.data.formats import detect
from tailwise.data.place import Place
from tailwise.data.readers import domains
from tailwise.errors import BadData, BadValue, TailwiseError

TABLE = "env,label,path,split\nArt,3,Art/dog/a.jpg,train\nReal World,3,Real World/dog/b.jpg,test\nArt,7,Art/cat/c.jpg,val\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write files into a folder of their own: name -> text."""

    def write(**files: str | bytes) -> Path:
        folder = tmp_path / "lists"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, text in files.items():
            ending = ".csv" if name == "table" else ".txt"
            (folder / f"{name}{ending}").write_bytes(text.encode() if isinstance(text, str) else text)
        return folder

    return write


def kinds_of(manifest) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {finding.kind: (finding.severity, finding.ids) for finding in manifest.origin.findings}


def test_a_table_has_domains_and_classes_named_by_their_folders(write):
    found = read(write(table=TABLE) / "table.csv")
    assert found.classes == ("dog", "cat")
    assert found.class_table["class_id"].to_list() == ["3", "7"]
    assert sorted(found.rows.select("id", "domain", "label", "split").iter_rows()) == [
        ("Art/cat/c.jpg", "Art", 1, "val"),
        ("Art/dog/a.jpg", "Art", 0, "train"),
        ("Real World/dog/b.jpg", "Real World", 0, "test"),
    ]
    assert found.origin.tables[0].first == {"env": "Art", "label": "3", "path": "Art/dog/a.jpg", "split": "train"}
    assert found.task == "classification"


def test_a_cell_without_training_images_is_a_note(write):
    found = read(write(table=TABLE) / "table.csv")
    (note,) = found.origin.findings
    assert (note.kind, note.severity, note.ids) == ("empty-cells", "note", ("(Real World, dog)",))
    assert cell_counts(found).rows() == [("Art", 0, 1), ("Art", 1, 0), ("Real World", 0, 0), ("Real World", 1, 0)]
    assert cell_counts(found, "test")["images"].to_list() == [0, 0, 1, 0]


def test_cells_count_real_images_only_and_need_domains(write, make_set):
    found = read(write(table=TABLE) / "table.csv")
    generated = found.rows.with_columns(pl.lit("generated").alias("source"))
    assert cell_counts(found.replace(rows=generated))["images"].sum() == 0
    with pytest.raises(BadData, match="'small' has no domains"):
        cell_counts(make_set([1, 1]))
    with pytest.raises(BadValue, match="split 'dev' is none"):
        cell_counts(found, "dev")


def test_without_training_images_no_cell_is_called_empty(write):
    assert read(write(table=TABLE.replace("train", "test")) / "table.csv").origin.findings == ()


def test_images_in_another_folder_than_the_rest_of_their_class_are_found(write):
    rows = "".join(f"Art,{label},Art/{name}/{n}.jpg,train\n" for label, name in enumerate(["dog", "cat"]) for n in range(3))
    found = read(write(table=f"env,label,path,split\n{rows}Art,1,Art/dog/x.jpg,train\n") / "table.csv")
    assert found.classes == ("dog", "cat")
    assert kinds_of(found) == {"class-unlike-path": ("error", ("Art/dog/x.jpg",))}
    with pytest.raises(BadData, match=r"table.csv: 1 images have another label than the rest of their folder: Art/dog/x.jpg has label 1"):
        check_sound(found)


def test_folders_that_are_no_classes_name_none(write):
    rows = "".join(f"Art,{n % 3},Art/part{n % 2}/{n}.jpg,train\n" for n in range(12))
    found = read(write(table=f"domain,label,path,split\n{rows}") / "table.csv")
    assert found.classes == ("0", "1", "2")
    assert kinds_of(found) == {"folders-are-no-classes": ("note", ())}


def test_a_domain_that_is_not_the_one_of_the_path_is_found(write):
    found = read(write(table=TABLE + "Photo,3,Art/dog/d.jpg,train\n") / "table.csv")
    assert kinds_of(found)["domain-unlike-path"] == ("error", ("Art/dog/d.jpg",))


LISTS = {
    "art_painting_train_kfold": "art_painting/dog/a.jpg 1\nart_painting/big cat/b c.jpg\t2\n",
    "art_painting_crossval_kfold": "art_painting/dog/d.jpg 1\n",
    "Real World_test": "Real World/dog/a.jpg 1\r\nReal World/big cat/e.jpg 2",
}


def test_text_lists_of_a_folder_are_one_set(write):
    folder = write(**LISTS)
    assert detect(folder).name == "domains"
    found = read(folder)
    assert sorted(found.rows.select("id", "domain", "label", "split").iter_rows()) == [
        ("Real World/big cat/e.jpg", "Real World", 1, "test"),
        ("Real World/dog/a.jpg", "Real World", 0, "test"),
        ("art_painting/big cat/b c.jpg", "art_painting", 1, "train"),
        ("art_painting/dog/a.jpg", "art_painting", 0, "train"),
        ("art_painting/dog/d.jpg", "art_painting", 0, "val"),
    ]
    assert (found.classes, found.class_table["class_id"].to_list()) == (("dog", "big cat"), ["1", "2"])
    assert any("labels 1..2 are not 0..C-1: sorted and numbered anew" in line for line in found.provenance)
    assert {table.name: table.records for table in found.origin.tables} == {
        "Real World_test.txt": 2,
        "art_painting_crossval_kfold.txt": 1,
        "art_painting_train_kfold.txt": 2,
    }


def test_one_text_list_is_a_set(write, write_image):
    folder = write(**LISTS)
    write_image(folder / "PACS/Real World/dog/a.jpg")
    file = folder / "Real World_test.txt"
    assert detect(file).name == "domains"
    found = read(file, root=folder / "PACS")
    assert (found.name, found.splits, found.root) == ("Real World_test", ("test",), folder / "PACS")


def test_published_duplicates_are_left_out_of_a_folder(write):
    folder = write(**LISTS, domain_net_duplicates="art_painting/dog/a.jpg\nclipart/x/y.jpg\n")
    found = read(folder)
    assert found.rows.height == 4
    assert "left out 1 duplicates that domain_net_duplicates.txt names (2 lines)" in found.provenance
    with pytest.raises(BadData, match=r"domain_net_duplicates.txt: names images that are to be left out"):
        read(folder / "domain_net_duplicates.txt")


@pytest.mark.parametrize(
    ("more", "kind", "ids", "kept"),
    [
        ({"art_painting_test_kfold": "art_painting/dog/a.jpg 1\n"}, "in-two-splits", ("art_painting/dog/a.jpg",), "train"),
        ({"art_painting_train": "art_painting/dog/a.jpg 1\n"}, "listed-twice", ("art_painting/dog/a.jpg",), "train"),
        ({"art_painting_train": "art_painting/dog/d.jpg 2\n"}, "label-conflict", ("art_painting/dog/d.jpg",), "train"),
    ],
)
def test_images_in_two_lists_are_found(write, more, kind, ids, kept):
    found = read(write(**LISTS, **more))
    assert kinds_of(found)[kind] == ("error", ids)
    assert dict(found.rows.select("id", "split").iter_rows())[ids[0]] == kept
    assert found.rows.height == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/x/1.jpg 1\na/x/2.jpg\n", "a_train.txt: row 2 is 'a/x/2.jpg', expected a line such as 'clipart/bird"),
        ("a/x/1.jpg 1\na/x/2.jpg 1e2\n", "row 2 is 'a/x/2.jpg 1e2'"),
        ("a/x/1.jpg 1\n\na/x/2.jpg -1\na/x/3.jpg x\n", r"row 3 \(and 1 more\) is 'a/x/2.jpg -1'"),
        ("a/x/1.jpg 1\na/x/2.jpg 03\n", "row 2 is"),
        ("a/x/1.jpg 1\na/x/" + "y" * 200, r"row 2 is 'a/x/y{76}\.\.\.'"),
        ("a/x/1.jpg 1\na/../../2.jpg 1\n", "in row 2 leaves the root"),
        ("a/x/1.jpg 1\n/a/2.jpg 1\n", "in row 2 is absolute"),
        ("a/x/1.jpg 1\na/x/\0.jpg 1\n", "in row 2 holds a control character"),
        ("", "no rows; expected lines"),
    ],
)
def test_lines_that_are_none_are_refused_by_row(write, text, message):
    folder = write(a_train=text)
    for path in (folder, folder / "a_train.txt"):
        with pytest.raises(BadData, match=message) as caught:
            read(path, format="domains")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("env,label,path\n,0,Art/dog/a.jpg\n", r"row 2 has no domain \(1 rows in all\)"),
        ("label,path\n0,Art/dog/a.jpg\n", "no column is recognised as domain among 'label', 'path'"),
        ("env,domain,label,path\na,a,0,a/x/y.jpg\n", "columns 'env' and 'domain' could each be the domain"),
        ("env,label,path\na,1.5,a/x/y.jpg\n", "label '1.5' in row 2"),
        ("env,label,path\na,1,a/x/y.jpg\na,1,a/x/y.jpg\n", "1 images are listed more than once"),
    ],
)
def test_tables_that_are_none_are_refused_in_one_line(write, text, message):
    with pytest.raises(BadData, match=message):
        read(write(table=text) / "table.csv", format="domains")


@pytest.mark.parametrize(
    "files",
    [
        {"table": "domain,label,path\nEukarya,0,owl/a.jpg\n"},
        {"table": "path,label\nArt/dog/a.jpg,0\n"},
        {"ImageNet_LT_train": "train/n01440764/a.JPEG 0\n"},
        {"train": "Art/dog/a.jpg 0\n"},
    ],
)
def test_other_lists_are_not_taken_for_those_of_domains(write, files):
    folder = write(**files)
    assert not domains.recognises(Place(folder))
    assert not any(domains.recognises(Place(file)) for file in folder.iterdir())


def test_a_folder_without_lists_is_refused_when_named(write):
    with pytest.raises(BadData, match=r"no text lists there; expected names such as clipart_train.txt"):
        read(write(table=TABLE), format="domains")
    with pytest.raises(BadData, match=r"all its images are in domain_net_duplicates.txt"):
        read(write(a_train="a/x/1.jpg 1\n", domain_net_duplicates="a/x/1.jpg\n"))


def test_the_real_pacs_has_the_counts_that_were_published(real_data):
    file = real_data / "metadata/domains/PACS.csv.gz"
    assert detect(file).name == "domains"
    found = read(file)
    assert found.classes == ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    assert (found.rows.height, found.rows["domain"].n_unique()) == (9991, 4)
    assert [found.select(split).height for split in ("train", "val", "test")] == [7891, 700, 1400]
    cells = cell_counts(found)
    assert (cells.height, cells["images"].min(), cells["images"].max()) == (28, 5, 741)
    assert (found.has_files, found.origin.findings) == (False, ())
    for split in ("train", "val", "test"):
        assert cell_counts(found, split).rows() == published(real_data, "PACS", split)


def published(real_data: Path, name: str, split: str) -> list[tuple[str, int, int]]:
    counts = json.loads((real_data / f"metadata/domains/{name}_counts.json").read_text())
    return sorted((domain, int(label), cell[split]) for domain, labels in counts.items() for label, cell in labels.items())


@pytest.mark.parametrize(
    ("name", "sizes", "shape", "empty"),
    [
        ("OfficeHome", [11_688, 1300, 2600], (4, 65), ["Art, 16", "Art, 49"]),
        ("VLCS", [9872, 285, 572], (4, 5), ["LabelMe, 3", "SUN09, 0", "SUN09, 3"]),
        (
            "TerraIncognita",
            [23_269, 353, 708],
            (4, 10),
            [
                *("location_100, 3", "location_38, 0", "location_38, 1", "location_43, 2"),
                *("location_43, 9", "location_46, 2", "location_46, 4", "location_46, 9"),
            ],
        ),
    ],
)
def test_the_other_real_sets_have_the_counts_that_were_published(real_data, write, name, sizes, shape, empty):
    """The tables themselves are too large to be here: one is written that has their counts."""
    cells = [(*cell, split) for split in ("train", "val", "test") for cell in published(real_data, name, split)]
    rows = (f"{domain},{label},{domain}/{label}/{split}{n}.jpg,{split}\n" for domain, label, count, split in cells for n in range(count))
    found = read(write(table="env,label,path,split\n" + "".join(rows)) / "table.csv")
    assert [found.select(split).height for split in ("train", "val", "test")] == sizes
    assert (found.rows["domain"].n_unique(), len(found.classes)) == shape
    assert kinds_of(found) == {"empty-cells": ("note", tuple(f"({cell})" for cell in empty))}
    assert cell_counts(found).rows() == published(real_data, name, "train")


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("OfficeHome", ("Alarm_Clock", "Backpack", "Trash_Can", "Webcam")),
        ("VLCS", ("bird", "person")),
        ("TerraIncognita", ("bird", "bobcat", "raccoon", "squirrel")),
    ],
)
def test_real_excerpts_are_recognised_and_read(real_data, name, classes):
    file = real_data / f"metadata/domains/{name}.csv.excerpt"
    assert detect(file).name == "domains"
    found = read(file)
    assert (found.rows.height, found.classes) == (200, classes)
    assert not any(finding.severity == "error" for finding in found.origin.findings)


def test_the_real_list_of_duplicates_is_refused_for_what_it_is(real_data):
    file = real_data / "metadata/domains/domain_net_duplicates.txt.excerpt"
    assert detect(file).name == "domains"
    with pytest.raises(BadData, match="give the folder of DomainNet's lists with it in there"):
        read(file)


CELLS = st.sampled_from(["a", "a/x/1.jpg", "b/y/2.jpg", "0", "7", "x", "", "train", '"', "../a", "\0", "a//x", "9" * 30])
TOKENS = st.sampled_from(["a/x/1.jpg", "a/y z/2.jpg", " ", "\t", "1", "0", "-1", "\n", "\r", "/", "ä", "\0", "9" * 19])


@pytest.mark.fuzz
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60).map(lambda content: ("a_train", content)),
        st.lists(TOKENS, max_size=12).map(lambda tokens: ("a_train", "".join(tokens).encode())),
        st.lists(st.lists(CELLS, min_size=4, max_size=4), max_size=5).map(
            lambda rows: ("table", ("env,label,path,split\n" + "\n".join(",".join(row) for row in rows)).encode())
        ),
    )
)
def test_any_bytes_give_a_manifest_or_one_line(write, content):
    name, content = content
    folder = write(**{"b_test": "b/y/2.jpg 0\n", name: content})
    said = ""
    try:
        domains.recognises(Place(folder))
        found = domains.read_domains(folder / "table.csv" if name == "table" else folder)
    except TailwiseError as error:
        said = str(error)
    assert "\n" not in said
    assert said or found.rows.height > 0
