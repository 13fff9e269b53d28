from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data import check_sound, read
from tailwise.errors import BadData, TailwiseError

ROWS = [("a.png", "owl"), ("deep/b.png", "ant"), ("c.png", "owl")]


@pytest.fixture
def images(tmp_path, write_image) -> Path:
    """A folder with the images of `ROWS`."""
    for value, (name, _) in enumerate(ROWS):
        write_image(tmp_path / "set" / name, value)
    return tmp_path / "set"


def csv(rows, header="file_name,label") -> str:
    return "\n".join([header, *(",".join(row) for row in rows)]) + "\n"


def jsonl(rows, names=("file_name", "label")) -> str:
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)


def labels(manifest) -> dict[str, str]:
    return {row["id"]: manifest.classes[row["label"]] for row in manifest.rows.iter_rows(named=True)}


def says(manifest) -> dict[str, str]:
    return {finding.kind: f"{finding.severity}: {finding.says}" for finding in manifest.origin.findings}


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"])
def test_every_kind_of_metadata_gives_the_same_set(images, kind):
    file = images / f"metadata.{kind}"
    if kind == "parquet":
        pl.DataFrame(ROWS, schema=["file_name", "label"], orient="row").write_parquet(file)
    else:
        text = (csv(ROWS) if kind.startswith("csv") else jsonl(ROWS)).encode()
        file.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
    found = read(images)
    assert labels(found) == dict(ROWS)
    assert (found.classes, found.root, found.name, found.splits) == (("ant", "owl"), images, "set", ("train",))
    assert found.origin.format == "imagefolder"
    assert found.origin.tables[0].first == {"file_name": "a.png", "label": "owl"}
    assert found.origin.findings == ()
    check_sound(found)
    assert read(file).identity == found.identity


def test_metadata_in_the_folders_of_splits_are_relative_to_them(tmp_path, write_image):
    for name in ("train/1.png", "train/2.png", "my_test-1/1.png"):
        write_image(tmp_path / "set" / name)
    (tmp_path / "set/train/metadata.csv").write_text(csv([("1.png", "a"), ("2.png", "b")]))
    (tmp_path / "set/my_test-1/metadata.csv").write_text(csv([("1.png", "b")]))
    found = read(tmp_path / "set")
    assert labels(found) == {"train/1.png": "a", "train/2.png": "b", "my_test-1/1.png": "b"}
    assert {row["id"]: row["split"] for row in found.rows.iter_rows(named=True)}["my_test-1/1.png"] == "test"
    assert [table.name for table in found.origin.tables] == ["my_test-1/metadata.csv", "train/metadata.csv"]
    check_sound(found)


def test_numbers_of_one_file_and_text_of_another_are_one_column(tmp_path, write_image):
    for name in ("train/1.png", "test/1.png"):
        write_image(tmp_path / "set" / name)
    (tmp_path / "set/train/metadata.jsonl").write_text(jsonl([("1.png", 1)]))
    (tmp_path / "set/test/metadata.csv").write_text(csv([("1.png", "0")]))
    assert labels(read(tmp_path / "set")) == {"train/1.png": "1", "test/1.png": "0"}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train/x/a.png", "validation/x/b.png", "test/x/c.png"], ["train", "val", "test"]),
        (["Training set/a.png", "dev.2/b.png", "testing/c.png"], ["train", "val", "test"]),
        (["trainer/a.png", "testfile/b.png", "eval/c.png"], ["train", "train", "test"]),
        (["a_train.png", "b-val-1.png", "test.png"], ["train", "val", "test"]),
        (["a_train.png", "b-val-1.png", "c.png"], ["train", "train", "train"]),
        (["train/test.png", "train/b.png", "test/c.png"], ["train", "train", "test"]),
    ],
)
def test_splits_are_words_in_names_of_folders_or_else_of_all_images(tmp_path, write_image, names, splits):
    for name in names:
        write_image(tmp_path / "set" / name)
    (tmp_path / "set/metadata.csv").write_text(csv([(name, "ab"[i % 2]) for i, name in enumerate(names)]))
    assert read(tmp_path / "set").rows["split"].to_list() == splits


def test_a_column_for_the_split_is_used_and_said(images):
    (images / "metadata.csv").write_text(
        csv([(*row, split) for row, split in zip(ROWS, ("train", "dev", "test"), strict=True)], "file_name,label,split")
    )
    found = read(images)
    assert found.rows["split"].to_list() == ["train", "val", "test"]
    assert says(found)["split-column"].startswith("note: splits are those of the column 'split'; the Hub takes them from the names")


@pytest.mark.parametrize("column", ["filename", "path", "image"])
def test_other_columns_for_the_image_are_read_and_said(images, column):
    (images / "metadata.csv").write_text(csv(ROWS, f"{column},label"))
    found = read(images)
    assert labels(found) == dict(ROWS)
    assert says(found)["path-column"] == f"note: images are named in the column '{column}'; the Hub takes 'file_name' alone"


def test_file_name_wins_over_others_and_further_images_are_left_unread(images):
    (images / "metadata.csv").write_text(csv([(a, "x", b, "m") for a, b in ROWS], "file_name,path,label,mask_file_name"))
    found = read(images)
    assert labels(found) == dict(ROWS)
    assert says(found)["further-images"] == "note: further images a row are left unread: mask_file_name"


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["cat/a.png", "dog/b.png"], ("cat", "dog")),
        (["train/10/a.png", "train/9/b.png", "test/10/c.png"], ("9", "10")),
        (["train/test tube/a.png", "train/owl/b.png"], ("owl", "test tube")),
        (["test tube/a.png", "owl/b.png"], ("owl", "test tube")),
        (["train/e\u0301/a.png", "train/f/a.png", "test/\u00e9/b.png"], ("f", "é")),
    ],
)
def test_without_a_label_the_folder_of_an_image_is_its_class(tmp_path, write_image, names, classes):
    for name in names:
        write_image(tmp_path / "set" / name)
    (tmp_path / "set/metadata.csv").write_text(csv([(name, "1") for name in names], "file_name,age"))
    found = read(tmp_path / "set")
    assert found.classes == classes
    assert found.rows["split"].to_list() == ["test" if name.startswith("test/") else "train" for name in names]
    check_sound(found)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["a.png", "b.png"], "some lie in no folder"),
        (["x/a.png", "x/b.png"], "all lie in one, 'x'"),
        (["x/a.png", "x/y/b.png"], "they lie at different depths"),
        (["train/a.png", "test/b.png"], "these are splits"),
    ],
)
def test_folders_that_are_no_classes_are_refused(tmp_path, write_image, names, why):
    for name in names:
        write_image(tmp_path / "set" / name)
    (tmp_path / "set/metadata.csv").write_text(csv([(name, "1") for name in names], "file_name,age"))
    with pytest.raises(BadData, match=rf"no classes \({why}\); pass --columns label=NAME"):
        read(tmp_path / "set")
    assert read(tmp_path / "set", columns="path=file_name,label=age").classes == ("1",)


def test_missing_and_unnamed_images_are_counted(images, write_image):
    write_image(images / "extra.png")
    write_image(images / ".hidden.png")
    (images / "notes.txt").write_text("hello")
    (images / "metadata.csv").write_text(csv([*ROWS, ("gone.png", "ant"), (".hidden.png", "ant")]))
    found = read(images)
    assert says(found) == {
        "missing-image": "error: 1 images of the metadata are not there: gone.png",
        "unnamed-image": "warning: 1 images are named by no row of the metadata and left out: extra.png",
    }
    with pytest.raises(BadData, match=r"1 images of the metadata are not there: gone\.png"):
        check_sound(found)


def test_images_may_be_elsewhere_or_nowhere(images, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/metadata.csv").write_text(csv(ROWS))
    assert not read(tmp_path / "lists").has_files
    assert read(tmp_path / "lists", root=images).root == images


def test_names_of_the_hubs_metadata_name_the_labels(images):
    features = {"label": {"names": ["ant", "bee", "owl"], "_type": "ClassLabel"}}
    frame = pl.DataFrame({"file_name": [name for name, _ in ROWS], "label": [2, 0, 2]})
    frame.write_parquet(images / "metadata.parquet", metadata={"huggingface": json.dumps({"info": {"features": features}})})
    assert labels(read(images)) == dict(ROWS)


def test_numbers_as_labels_stay_numbers(images):
    (images / "metadata.jsonl").write_text("\n" + jsonl([(name, number) for (name, _), number in zip(ROWS, (10, 9, 10), strict=True)]))
    assert read(images).classes == ("9", "10")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"metadata.csv": csv([("../x.png", "a")])}, r"metadata\.csv: path '\.\./x\.png' in row 2 leaves the root"),
        ({"metadata.csv": csv([("/x.png", "a")])}, r"metadata\.csv: path '/x\.png' in row 2 is absolute"),
        ({"metadata.csv": csv([("a.png", "a"), ("a.png", "b")])}, "1 images have two labels"),
        ({"metadata.csv": csv([("a.png", "")])}, r"metadata\.csv: row 2 has no label"),
        ({"metadata.csv": "file_name,label\n"}, r"metadata\.csv: only a header"),
        ({"metadata.csv": "age,label\n1,2\n"}, "no column is recognised as path among 'age', 'label'"),
        ({"metadata.csv": csv(ROWS), "metadata.jsonl": jsonl(ROWS)}, r"metadata\.csv, metadata\.jsonl all describe its images"),
        ({"metadata.jsonl": jsonl([(["a.png"], "a")], ("file_names", "label"))}, "'file_names' lists several images a row"),
        ({"metadata.jsonl": jsonl([(["a.png"], "a")])}, "column 'file_name' holds Object, expected text"),
        ({"metadata.jsonl": jsonl([(None, "a")])}, "in row 1 is empty"),
        ({"metadata.jsonl": jsonl([(7, "a")])}, "the column for the path holds Int64, expected text"),
        ({"metadata.jsonl": jsonl(ROWS) + '{"file_name": "x.png", "la'}, r"metadata\.jsonl: row 4 is no JSON"),
        ({"metadata.jsonl": "[1]\n"}, "row 1 is no object"),
        ({"metadata.jsonl": "[" * 100_000}, "row 1 is no JSON"),
        ({"metadata.jsonl": "{}\n"}, "no column is recognised|no rows"),
        ({"metadata.jsonl": ""}, "no rows"),
        ({"metadata.parquet": "version https://git-lfs.github.com/spec/v1\n"}, "is a Git-LFS pointer"),
        ({"metadata.parquet": "PAR1PAR1"}, "cannot be read as Parquet"),
        (
            {"train/metadata.csv": csv(ROWS), "test/metadata.csv": csv(ROWS, "file_name,class")},
            r"train/metadata\.csv: other columns than .*\(class, label\)",
        ),
        ({"train/metadata.csv": csv(ROWS), "test/metadata.csv": csv([("a.png", "")])}, r"test/metadata\.csv: row 2 has no label"),
    ],
)
def test_damage_is_refused_in_one_line(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text(text)
    with pytest.raises(BadData, match=message) as caught:
        check_sound(read(tmp_path / "set"))
    assert "\n" not in str(caught.value)


def test_columns_of_lists_and_bytes_are_refused(images):
    pl.DataFrame({"file_name": ["a.png"], "label": [[1, 2]]}).write_parquet(images / "metadata.parquet")
    with pytest.raises(BadData, match=r"metadata\.parquet: column 'label' holds List"):
        read(images)


def outcome(folder: Path) -> None:
    try:
        said = repr(read(folder))
    except TailwiseError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), max_size=6), cut=st.integers(0, 5_000))
def test_changed_bytes_give_a_manifest_or_one_line(images, kind, changes, cut):
    file = images / f"metadata.{kind}"
    if kind == "parquet":
        pl.DataFrame(ROWS, schema=["file_name", "label"], orient="row").write_parquet(file)
    else:
        file.write_text(csv(ROWS) if kind == "csv" else jsonl(ROWS))
    content = bytearray(file.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    file.write_bytes(content[: max(len(content) - cut % 300, 0)])
    outcome(images)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2)
)


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.sampled_from(["file_name", "label", "split", "id", "weight"]), JSON), max_size=4))
def test_any_values_give_a_manifest_or_one_line(images, rows):
    (images / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome(images)
