from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data import check_sound, read
from tailwise.data.place import Place
from tailwise.data.readers.delimited import glance
from tailwise.errors import BadData, BadValue, TailwiseError

SHARED = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture
def table(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., Path]:
    """Write a table beside the images a.png to f.png, of different greys."""
    for value, letter in enumerate("abcdef"):
        write_image(tmp_path / f"{letter}.png", value * 40)

    def write(text: str | bytes, name: str = "list.csv") -> Path:
        content = text.encode() if isinstance(text, str) else text
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return tmp_path / name

    return write


def labels_of(manifest) -> dict[str, str]:
    return {path: manifest.classes[label] for path, label in manifest.rows.select("path", "label").iter_rows()}


def test_names_become_sorted_classes_and_paths_become_ids(table, tmp_path):
    found = read(table("label,path,shot\nowl,a.png,1\nant,b.png,2\nowl,c.png,3\n"))
    assert found.classes == ("ant", "owl")
    assert labels_of(found) == {"a.png": "owl", "b.png": "ant", "c.png": "owl"}
    assert found.rows["id"].to_list() == ["a.png", "b.png", "c.png"]
    assert (found.name, found.root, found.splits) == ("list", tmp_path, ("train",))
    assert "columns read: 'path' as path, 'label' as label; left unread: 'shot'" in found.provenance


@pytest.mark.parametrize(
    ("header", "name", "delimiter"),
    [
        ("image,class", "t.csv", ","),
        ("img;species", "t.csv", ";"),
        ("file_name\ttarget", "t.csv", "\t"),
        ("Image Path\tClass-Name", "t.tsv", "\t"),
        ("filepath,y", "t.csv.gz", ","),
        (" File , CATEGORY ", "T.CSV", ","),
    ],
)
def test_usual_names_and_delimiters_are_recognised(table, header, name, delimiter):
    found = read(table(f"{header}\na.png{delimiter}x\nb.png{delimiter}y\n", name))
    assert labels_of(found) == {"a.png": "x", "b.png": "y"}


def test_a_tsv_may_hold_commas_and_quotes_hold_delimiters(table, write_image, tmp_path):
    write_image(tmp_path / "a, b.png")
    assert labels_of(read(table("path\tlabel\na, b.png\tx,y\nb.png\tz\n", "t.tsv"))) == {"a, b.png": "x,y", "b.png": "z"}
    assert labels_of(read(table('path,label\n"a, b.png","x ""y"""\nb.png,z\n'))) == {"a, b.png": 'x "y"', "b.png": "z"}


def test_columns_are_named_by_the_user_where_they_are_strange(table):
    file = table("bild,art,label,weight\na.png,x,0,heavy\nb.png,y,1,light\n")
    assert labels_of(read(file, columns="path=bild,label=art")) == {"a.png": "x", "b.png": "y"}
    with pytest.raises(BadData, match=r"no column is recognised as path among 'bild', 'art', 'label', 'weight'; pass --columns path=NAME"):
        read(file)
    with pytest.raises(BadData, match=r"no column 'picture'; it has 'bild'"):
        read(file, columns="path=picture")
    with pytest.raises(BadData, match=r"weight 'heavy' in row 2 is no number"):
        read(file, columns="path=bild,weight=weight")


@pytest.mark.parametrize("columns", ["", "path", "path=", "colour=x", "path=a,path=b", "path=a,,label=b"])
def test_columns_that_cannot_be_read_are_refused(table, columns):
    with pytest.raises(BadValue, match="write for example path=file,label=species"):
        read(table("path,label\na.png,x\n"), columns=columns)


def test_two_columns_that_could_be_the_label_are_refused(table):
    file = table("path,label,class_name\na.png,0,x\nb.png,1,y\n")
    with pytest.raises(
        BadData, match=r"columns 'label' and 'class_name' could each be the label; choose with --columns path=..,label=label"
    ):
        read(file)
    assert read(file, columns="label=class_name").classes == ("x", "y")


def test_splits_ids_and_weights_are_read(table):
    found = read(table("id,path,label,split,weight\n007,a.png,x,TRAIN,2\n08,b.png,y,valid,0.5\n9,c.png,y,testing,1\n"))
    rows = found.rows.sort("path")
    assert rows["id"].to_list() == ["007", "08", "9"]
    assert rows["split"].to_list() == ["train", "val", "test"]
    assert rows["weight"].to_list() == [2.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["0", "2", "1"], ("0", "1", "2"), [0, 2, 1]),
        ([str(n) for n in (0, 5, 2, 1, 4, 3)], tuple("012345"), [0, 5, 2, 1, 4, 3]),
        (["10", "9", "10"], ("9", "10"), [1, 0, 1]),  # in the order of numbers, not of words
        (["1", "2", "1"], ("1", "2"), [0, 1, 0]),
        (["1000000000000", "3", "3"], ("3", "1000000000000"), [1, 0, 0]),
        (["007", "123", "007"], ("007", "123"), [0, 1, 0]),
        ([" x", "y ", "x"], ("x", "y"), [0, 1, 0]),
        (["κατάλογος", "🙂/%", "Ä b"], ("Ä b", "κατάλογος", "🙂/%"), [1, 2, 0]),
    ],
)
def test_labels_are_numbered(table, labels, classes, numbers):
    rows = "".join(f"{letter}.png,{label}\n" for letter, label in zip("abcdef", labels, strict=False))
    found = read(table(f"path,label\n{rows}"))
    assert found.classes == classes
    assert found.rows.sort("path")["label"].to_list() == numbers


def test_ten_comes_after_nine(table, tmp_path, write_image):
    for n in range(11):
        write_image(tmp_path / f"n{n}.png", n)
    found = read(table("path,label\n" + "".join(f"n{n}.png,{n}\n" for n in (10, 3, 9, 0, 1, 2, 4, 5, 6, 7, 8))))
    assert found.classes == tuple(str(n) for n in range(11))
    assert labels_of(found) == {f"n{n}.png": str(n) for n in range(11)}


def test_gaps_in_labels_are_said_and_none_is_not(table):
    said = read(table("path,label\na.png,0\nb.png,2\n")).provenance
    assert any("labels 0..2 are not 0..C-1: sorted and numbered anew, 2 classes" in line for line in said)
    assert not any("anew" in line for line in read(table("path,label\na.png,0\nb.png,1\n")).provenance)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("owl", "label 'owl' in row 3 is a name, and most others are whole numbers"),
        ("1.5", "label '1.5' in row 3 is a number, and"),
        ("1e2", "label '1e2' in row 3 is a number, and"),
        ("+3", r"label '\+3' in row 3 is a number"),
        ("03", "label '03' in row 3 is a code"),
        ("٣", "label '٣' in row 3 is a name"),
        ("", "row 3 has no label"),
        ("  ", "row 3 has no label"),
        ("-1", "label -1 in row 3, expected 0 or more"),
        ("9" * 30, "in row 3 is a code"),
    ],
)
def test_one_odd_label_among_numbers_is_named_with_its_row(table, label, message):
    with pytest.raises(BadData, match=message) as caught:
        read(table(f"path,label\na.png,0\nb.png,{label}\nc.png,1\nd.png,2\n"))
    assert "list.csv" in str(caught.value)


def test_floats_throughout_and_a_number_among_names_are_refused(table):
    with pytest.raises(BadData, match=r"label '0\.5' in row 2 is a number, and no label is a whole number or a name"):
        read(table("path,label\na.png,0.5\nb.png,1.0\n"))
    with pytest.raises(BadData, match=r"label '7' in row 4 is a whole number, and most others are names"):
        read(table("path,label\na.png,x\nb.png,y\nc.png,7\n"))


def test_rows_are_counted_as_lines_in_the_file(table):
    with pytest.raises(BadData, match="row 5 has no label"):
        read(table("path,label\r\n\r\na.png,x\r\n\r\nb.png,\r\n"))


def test_a_byte_order_mark_and_all_line_ends_are_read(table):
    for end in ("\n", "\r\n", "\r"):
        assert labels_of(read(table(f"\ufeffpath,label{end}a.png,x{end}b.png,y"))) == {"a.png": "x", "b.png": "y"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected a header such as path,label"),
        ("\n\n", "empty; expected"),
        ("path,label\n", "only a header, no rows"),
        ("path,label,path\na.png,x,b.png\n", "its header names 'path' twice"),
        ("a.png,x\nb.png,y\n", "its first row, a.png, x, is no header but an image; put a header such as path,label above it"),
        ("path,label\na.png\n", "row 2 has 1 fields, expected 2; correct"),
        ("path,label\na.png,x\nb.png,y,z\n", r"row 3 has 3 fields, expected 2 \(a delimiter inside a field needs quotes\)"),
        ('path,label\n"a.png,x\nb.png,y\n', "row 3 cannot be read"),
        ("path,label,split\na.png,x,3\n", "split '3' in row 2 is unknown; use train, val or test"),
        ("path,label,split\na.png,x,\n", "split '' in row 2 is unknown"),
        ("path,label,id\na.png,x,1\nb.png,y,1\n", "2 rows have no id of their own, the first is row 2"),
        ("path,label,weight\na.png,x,-1\n", "weight '-1' in row 2"),
        ("path,label,weight\na.png,x,nan\n", "weight 'nan' in row 2"),
        ("path,label\n,x\n", "path '' in row 2 is empty"),
        ("path,label\na.png,x\n../b.png,y\n", r"path '\.\./b\.png' in row 3 leaves the root"),
        ("path,label\nx/../../b.png,y\n", "in row 2 leaves the root"),
        ("path,label\n/etc/passwd,y\n", "path '/etc/passwd' in row 2 is absolute; .* pass --root / to admit absolute paths"),
        ("path,label\na\0.png,y\n", "in row 2 holds a control character"),
        ("path,label\na.png,x\nb.png,y\na.png,x\n", "1 images are listed more than once .first: 'a.png' in rows 2, 4.; list each once"),
        ("path,label\na.png,x\nb.png,y\n./a.png,y\n", "1 images have two labels .first: 'a.png' in rows 2, 4."),
        (b"\xff\xfep\0a\0", "not UTF-8 at byte 0"),
        (b"path,label\na.png,\xe4\n", "not UTF-8 at byte 17"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git-LFS pointer"),
        ("<!DOCTYPE html><html>", "is a web page"),
    ],
)
def test_tables_that_are_none_are_refused_in_one_line(table, text, message):
    with pytest.raises(BadData, match=message) as caught:
        read(table(text))
    assert "\n" not in str(caught.value)
    assert "list.csv" in str(caught.value)


def test_a_conflict_of_labels_is_named_before_a_mere_repetition(table):
    with pytest.raises(BadData, match=r"1 images have two labels \(first: 'b\.png' in rows 4, 5\)"):
        read(table("path,label\na.png,x\na.png,x\nb.png,x\nb.png,y\n"))


def test_root_says_where_the_paths_start(table, tmp_path, write_image):
    write_image(tmp_path / "deep" / "er" / "x.png")
    file = table("path,label\nx.png,one\n")
    assert read(file, root=tmp_path / "deep" / "er").root == tmp_path / "deep" / "er"
    with pytest.raises(BadData, match=r"the images of 'list' are not where its list says; pass --root"):
        check_sound(read(file))
    with pytest.raises(BadData, match="which is no folder"):
        read(file, root=tmp_path / "nowhere")


def test_root_slash_admits_absolute_paths(table, tmp_path):
    found = read(table(f"path,label\n{tmp_path}/a.png,x\n{tmp_path}/b.png,y\n"), root="/")
    assert found.root == Path("/")
    assert (found.root / found.rows["path"][0]).samefile(tmp_path / "a.png")


def test_missing_files_are_all_counted_and_five_are_named(table):
    rows = "".join(f"gone{n}.png,x\n" for n in range(7))
    with pytest.raises(BadData, match=r"7 of 8 images cannot be read: .*gone0.png \(cannot be opened .*gone4.png .* and 2 more"):
        check_sound(read(table(f"path,label\na.png,x\n{rows}")))


def test_a_file_that_is_no_image_is_refused(table, tmp_path):
    (tmp_path / "a.png").write_text("<html>")
    with pytest.raises(BadData, match=r"1 of 2 images cannot be read: .*a\.png"):
        check_sound(read(table("path,label\na.png,x\nb.png,y\n")))


def test_a_truncated_gzip_is_refused(table, tmp_path):
    file = table("path,label\n" + "a.png,x\n" * 1000, "t.csv.gz")
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(BadData, match="a damaged gzip file"):
        read(file)


CELLS = st.sampled_from(["a.png", "b.png", "x", "0", "1", "", '"', "1.5", "../a.png", "train", "\0", "ä", ",", "\n", ";", "path", "label"])


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(st.binary(max_size=60), st.lists(st.lists(CELLS, min_size=1, max_size=3)), st.text(max_size=60)), headed=st.booleans()
)
def test_any_bytes_give_a_manifest_or_one_line(table, content, headed):
    if isinstance(content, list):
        content = "\n".join(",".join(row) for row in content)
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    said = ""
    try:
        found = read(table((b"path,label\n" if headed else b"") + content))
    except TailwiseError as error:
        said = str(error)
    assert "\n" not in said
    assert said or found.rows.height > 0


def test_a_quote_that_never_closes_swallows_no_row(tmp_path):
    """Quotation marks that are meant as letters would join two rows into one."""
    (tmp_path / "t.tsv").write_text('path\tlabel\na.png\t"a\nb.png\tb"\nc.png\tc\n')
    with pytest.raises(BadData, match="row 3 has a field with a line break or a tab in it"):
        read(tmp_path / "t.tsv")


def test_a_header_in_the_middle_tells_of_lists_that_were_joined(table):
    with pytest.raises(BadData, match=r"list.csv: row 4 repeats the header; were two lists joined\? Take the row out"):
        read(table("path,label\na.png,x\nb.png,y\npath,label\nc.png,x\n"))


def test_mixed_line_ends_are_read_and_rows_counted_as_lines(table):
    text = "path,label\r\na.png,x\rb.png,y\n\nc.png,x\r\n"
    assert labels_of(read(table(text))) == {"a.png": "x", "b.png": "y", "c.png": "x"}
    with pytest.raises(BadData, match="row 6 has 1 fields, expected 2"):
        read(table(text + "d.png\n"))


def test_the_first_record_is_kept_as_it_is_written(table):
    (source,) = read(table('path,label,note\na.png,x,"1, 2"\nb.png,y,\n')).origin.tables
    assert (source.name, source.records, dict(source.first)) == ("list.csv", 2, {"path": "a.png", "label": "x", "note": "1, 2"})


def test_a_glance_shows_whole_rows_of_a_table_and_nothing_of_what_is_none(table):
    assert glance(Place(table(" path ,label\na.png,x\nshort\nb.png,y\n"))).rows() == [("a.png", "x"), ("b.png", "y")]
    assert glance(Place(table("path,label\n" + "a.png,x\n" * 20_000))).height in range(8_000, 9_000)
    for text in ("", "one column\nx\n", "path,path\na,b\n", b"\xff\xfe", b"PK\0\0,\n"):
        assert glance(Place(table(text))).columns == []
