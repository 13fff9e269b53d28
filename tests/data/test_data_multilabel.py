from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data import check_trainable, read
from tailwise.data.formats import detect
from tailwise.data.place import Place
from tailwise.data.readers import multilabel
from tailwise.errors import BadData, TailwiseError
from tailwise.groups import by_counts


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, name: str = "tags.csv") -> Path:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / name

    return write


def labels_of(manifest) -> dict[str, list[str] | None]:
    rows = manifest.rows.select("id", "targets").iter_rows()
    return {id_: None if targets is None else [manifest.classes[label] for label in targets] for id_, targets in rows}


def findings_of(manifest) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {finding.kind: (finding.severity, finding.ids) for finding in manifest.origin.findings}


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (["1 14", "9", "14  2"], [["1", "14"], ["9"], ["2", "14"]]),
        (["owl|ant", "ant", "big owl | owl"], [["ant", "owl"], ["ant"], ["big owl", "owl"]]),
        (["owl;ant;", "ant", ";owl"], [["ant", "owl"], ["ant"], ["owl"]]),
        (['"1,14"', "9", '"14, 2"'], [["1", "14"], ["9"], ["2", "14"]]),
        (["3|10", "10", "3"], [["3", "10"], ["10"], ["3"]]),
    ],
)
def test_a_column_of_lists_is_several_labels_an_image(table, rows, labels):
    file = table("path,labels\n" + "".join(f"{letter}.jpg,{row}\n" for letter, row in zip("abc", rows, strict=True)))
    assert detect(file).name == "multilabel"
    found = read(file)
    assert found.task == "multi-label"
    assert labels_of(found) == {f"{letter}.jpg": sorted_ for letter, sorted_ in zip("abc", labels, strict=True)}


def test_classes_that_are_numbers_are_in_their_order(table):
    found = read(table("image_id,labels\nx,10 9\ny,100\n"))
    assert found.classes == ("9", "10", "100")
    assert found.counts() == (1, 1, 1)


def test_an_empty_field_is_no_label_and_minus_one_is_not_known(table):
    found = read(table("id,labels,split\na,1 0,train\nb,,train\nc,-1,train\nd,1 1,test\n"))
    assert labels_of(found) == {"a": ["0", "1"], "b": [], "c": None, "d": ["1"]}
    assert found.counts() == (1, 1)
    assert found.unlabelled == 1
    assert findings_of(found) == {
        "repeated-labels": ("warning", ("d",)),
        "unknown-labels": ("note", ("c",)),
        "images-without-labels": ("note", ("b",)),
    }


def test_numbers_between_that_no_image_has_are_said(table):
    found = read(table("path,labels\na.jpg,0 1\nb.jpg,3 5\n"))
    assert [finding.says for finding in found.origin.findings] == ["tags.csv: labels 0..5 without 2, 4; kept as class ids, 4 classes"]
    assert found.classes == ("0", "1", "3", "5")
    assert "labels 0..3 without 0;" in read(table("path,labels\na.jpg,1 2\nb.jpg,3\n")).origin.findings[0].says
    assert read(table("path,labels\na.jpg,3077 418\nb.jpg,5\n")).origin.findings == ()  # ids, far apart


def test_one_column_a_class_is_several_labels_an_image(table):
    file = table("filename,dog,cat,bird,width,split\na.jpg,1,0,1,640,train\nb.jpg,0,0,0,320,val\nc.jpg,1.0,0.0,1,640,train\n")
    assert detect(file).name == "multilabel"
    found = read(file)
    assert found.classes == ("dog", "cat", "bird")
    assert labels_of(found) == {"a.jpg": ["dog", "bird"], "b.jpg": [], "c.jpg": ["dog", "bird"]}
    assert found.counts() == (2, 0, 2)
    assert found.splits == ("train", "val")
    assert any(line.endswith("left unread: 'width'") for line in found.provenance)


def test_what_is_not_known_of_a_class_counts_as_absent_and_is_said(table):
    found = read(table("path,dog,cat\na.jpg,1,-1\nb.jpg,,0\nc.jpg,-1,\nd.jpg,0,1\n"))
    assert labels_of(found) == {"a.jpg": ["dog"], "b.jpg": [], "c.jpg": None, "d.jpg": ["cat"]}
    (note,) = found.origin.findings
    assert (note.kind, note.severity, note.ids) == ("unknown-labels", "note", ("a.jpg", "b.jpg", "c.jpg"))
    assert "3 images have -1 or nothing for 4 labels in all" in note.says


def test_a_column_that_is_nearly_a_class_is_named(table):
    rows = "".join(f"{n}.jpg,{n % 2},1,{2 if n == 7 else 0}\n" for n in range(30))
    found = read(table(f"path,dog,cat,bird\n{rows}"))
    assert found.classes == ("dog", "cat")
    assert [finding.says for finding in found.origin.findings] == [
        "tags.csv: 1 columns hold 0 and 1 but for a few rows, and were left unread: 'bird' has '2' in row 9"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.jpg,big dog\nb.jpg,big cat\n",
        'path,label\na.jpg,"dog, brown"\nb.jpg,cat\n',
        "path,label\na.jpg,dog|cat\nb.jpg,bird\n",  # a name with a bar: its parts never come back
        'path,label\na.jpg,"1,234"\nb.jpg,7\n',
        "path,label\na.jpg,1\nb.jpg,2\n",
        "path,label,occluded,truncated\na.jpg,x,0,1\nb.jpg,y,1,0\n",
        "path,flag\na.jpg,0\nb.jpg,1\n",
        ",id,split\n0,1,train\n1,0,test\n",
        "dog,cat\n1,0\n0,1\n",
        "path\na.jpg\n",
        "",
    ],
)
def test_a_table_of_one_class_an_image_is_not_taken_for_one_of_several(table, text):
    assert not multilabel.recognises(Place(table(text)))


def test_names_with_commas_are_lists_when_the_user_says_so(table):
    file = table('file,kinds,dog,cat\na.jpg,"owl, ant",1,0\nb.jpg,ant,1,1\n')
    found = read(file, format="multilabel", columns="path=file,label=kinds")
    assert labels_of(found) == {"a.jpg": ["ant", "owl"], "b.jpg": ["ant"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,labels\na.jpg,1 2\nb.jpg,-1 3\n", "labels '-1 3' in row 3, expected none below 0, or -1 alone for unknown"),
        ("path,labels\na.jpg,1 2\nb.jpg,-2\n", "labels '-2' in row 3"),
        ("path,labels\na.jpg,\nb.jpg,-1\n", "no row has a label"),
        ("path,flag\na.jpg,0\nb.jpg,1\n", "no column is recognised as label, and 1 of the others hold only 0 and 1, expected two or more"),
        ("labels,x\n1 2,3\n", "no column is recognised as path"),
        ("path,labels\na.jpg,1 2\na.jpg,3\n", r"1 images have two labels \(first: 'a.jpg' in rows 2, 3\)"),
        ("path,labels\na.jpg,1 2\na.jpg,2 1\n", "1 images are listed more than once"),
        ("path,labels\na.jpg,1 2\n../b.jpg,3\n", "in row 3 leaves the root"),
        ("path,labels\na.jpg,1 2\nb.jpg\n", "row 3 has 1 fields, expected 2"),
        ("path,labels,split\na.jpg,1 2,later\n", "split 'later' in row 2 is unknown"),
        ("path,labels\n", "only a header, no rows"),
    ],
)
def test_tables_that_are_none_are_refused_in_one_line(table, text, message):
    with pytest.raises(BadData, match=message) as caught:
        read(table(text), format="multilabel")
    assert "\n" not in str(caught.value)
    assert "tags.csv" in str(caught.value)


def test_images_are_found_beside_the_table(table, tmp_path, write_image):
    write_image(tmp_path / "a.png")
    found = read(table("id,path,labels\nfirst,./a.png,1 2\nsecond,b.png,2\n"))
    assert (found.root, found.rows["id"].to_list(), found.rows["path"].to_list()) == (tmp_path, ["first", "second"], ["a.png", "b.png"])
    with pytest.raises(BadData, match="is a multi-label set: explore, check and build take it, training needs images of one class each"):
        check_trainable(found)


@pytest.mark.parametrize(
    ("name", "images", "positives", "largest", "smallest", "ratio", "convention_a"),
    [
        ("voc-lt", 1142, 2346, (775, "14"), (4, "9"), 193.75, (5, 7, 8)),
        ("coco-lt", 1909, 8316, (1128, "0"), (6, "21"), 188.0, (21, 34, 25)),
    ],
)
def test_real_multi_label_lists_have_the_counts_that_were_published(
    real_data, name, images, positives, largest, smallest, ratio, convention_a
):
    file = real_data / "metadata" / name / "train_labels.csv"
    assert detect(file).name == "multilabel"
    found = read(file)
    counts = found.counts()
    assert (found.rows.height, sum(counts), len(found.classes)) == (images, positives, sum(convention_a))
    assert (max(counts), found.classes[counts.index(max(counts))]) == largest
    assert (min(counts), found.classes[counts.index(min(counts))]) == smallest
    assert max(counts) / min(counts) == ratio
    assert tuple(len(members) for members in by_counts(counts).members.values()) == convention_a
    assert (found.has_files, found.origin.findings) == (False, ())


CELLS = st.sampled_from(
    ["a.jpg", "b", "0", "1", "-1", "", "1 2", "x|y", "y", "-3", '"1,2"', '"', "|", ";", " ", "٣", "9" * 20, "\0", "007"]
)


@pytest.mark.fuzz
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=60), st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=6)),
    st.sampled_from(["path,labels\n", "path,x,y\n", "id,labels,split\n", ""]),
)
def test_any_bytes_give_a_manifest_or_one_line(table, content, header):
    if isinstance(content, list):
        content = "\n".join(",".join(row) for row in content).encode()
    file = table(header.encode() + content)
    said = ""
    try:
        multilabel.recognises(Place(file))
        found = multilabel.read_multilabel(file)
    except TailwiseError as error:
        said = str(error)
    assert "\n" not in said
    assert said or found.rows.height > 0
