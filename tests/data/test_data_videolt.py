from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data import check_sound, read
from tailwise.data.formats import detect
from tailwise.data.readers.videolt import read_videolt
from tailwise.errors import BadData, TailwiseError
from tailwise.groups import by_counts

TRAIN = "-lt_a4aXxB01 0\nRijq4BMl4Ig 2,1\nRIJQ4BMl4Ig 1\n"
TEST = "q8Ocg8D7QLs 2\n"
TEST_FOLDERS = "multiple/q8Ocg8D7QLs 17 2,\n"
COUNTS = "3DPainting 0 1.0\nATM 1 2.0\nBigBen 2 1.0\n"


@pytest.fixture
def lists(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of lists: name -> text."""

    def write(**files: str | bytes) -> Path:
        folder = tmp_path / "videos"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, text in files.items():
            file = folder / {"counts": "count-labels-train.lst"}.get(name, name.replace("__", "."))
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder

    return write


def labels_of(manifest) -> dict[str, list[str]]:
    return {id_: [manifest.classes[label] for label in targets] for id_, targets in manifest.rows.select("id", "targets").iter_rows()}


def finding(manifest, kind: str):
    return next(found for found in manifest.origin.findings if found.kind == kind)


def test_a_folder_of_lists_is_a_multi_label_set_of_videos(lists):
    folder = lists(train__lst=TRAIN, test__lst=TEST, test_videofolder__txt=TEST_FOLDERS, counts=COUNTS)
    found = read(folder)
    assert (found.kind, found.task, found.name, found.has_files) == ("videos", "multi-label", "videos", False)
    assert labels_of(found) == {
        "-lt_a4aXxB01": ["3DPainting"],
        "Rijq4BMl4Ig": ["ATM", "BigBen"],
        "RIJQ4BMl4Ig": ["ATM"],  # another video: ids tell upper case from lower
        "q8Ocg8D7QLs": ["BigBen"],
    }
    rows = {id_: rest for id_, *rest in found.rows.select("id", "path", "frames", "split").iter_rows()}
    assert rows["q8Ocg8D7QLs"] == ["multiple/q8Ocg8D7QLs", 17, "test"]
    assert rows["-lt_a4aXxB01"] == ["-lt_a4aXxB01", None, "train"]
    assert found.counts() == (1, 2, 1)
    assert found.origin.findings == ()
    assert {table.name: (table.records, dict(table.first)) for table in found.origin.tables} == {
        "train.lst": (3, {"id": "-lt_a4aXxB01", "labels": "0"}),
        "test.lst": (1, {"id": "q8Ocg8D7QLs", "labels": "2"}),
        "test_videofolder.txt": (1, {"path": "multiple/q8Ocg8D7QLs", "id": "q8Ocg8D7QLs", "frames": "17", "labels": "2"}),
        "count-labels-train.lst": (3, {"name": "3DPainting", "label": "0", "count": "1"}),
    }


def test_one_list_is_read_alone_and_its_numbers_name_the_classes(lists):
    folder = lists(validate__lst="a-b 7\nc_d 178,7\n")
    found = read(folder / "validate.lst")
    assert labels_of(found) == {"a-b": ["7"], "c_d": ["7", "178"]}
    assert found.class_table["class_id"].to_list() == ["7", "178"]
    assert found.splits == ("val",)


def test_folders_with_frames_are_found_below_the_root(lists, tmp_path):
    folder = lists(test_videofolder__txt=TEST_FOLDERS)
    (tmp_path / "frames/multiple/q8Ocg8D7QLs").mkdir(parents=True)
    assert read(folder, root=tmp_path / "frames").root == tmp_path / "frames"
    with pytest.raises(BadData, match="none of its images is in"):
        read(folder, root=folder)


def test_counts_alone_are_no_set(lists):
    folder = lists(counts=COUNTS)
    for path in (folder, folder / "count-labels-train.lst"):
        with pytest.raises(BadData, match=r"no list of videos there, only counts; put train.lst"):
            read(path)


def test_counts_that_disagree_with_the_list_keep_it_from_training(lists):
    found = read(lists(train__lst=TRAIN, counts=COUNTS.replace("ATM 1 2.0", "ATM 1 5.0")))
    assert finding(found, "counts-disagree").ids == ("1",)
    with pytest.raises(BadData, match=r"count-labels-train.lst says other counts .* for 1 classes: 5 for ATM \(found 2\)"):
        check_sound(found)


def test_names_that_are_not_unique_are_left_for_numbers(lists):
    found = read(lists(train__lst=TRAIN, counts=COUNTS.replace("BigBen", "ATM")))
    assert found.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("files", "kind", "severity", "ids"),
    [
        ({"train__lst": TRAIN, "test__lst": "Rijq4BMl4Ig 1,2\n"}, "in-two-splits", "error", ("Rijq4BMl4Ig",)),
        ({"train__lst": TRAIN + TRAIN[:15] + "\n"}, "listed-twice", "error", ("-lt_a4aXxB01",)),
        ({"test__lst": "q8Ocg8D7QLs 1\n", "test_videofolder__txt": TEST_FOLDERS}, "label-conflict", "error", ("q8Ocg8D7QLs",)),
        ({"test__lst": TEST + "x 1\n", "test_videofolder__txt": TEST_FOLDERS}, "in-one-list-only", "warning", ("x",)),
    ],
)
def test_lists_that_contradict_each_other_are_found(lists, files, kind, severity, ids):
    found = read(lists(**files))
    assert [(one.kind, one.severity, one.ids) for one in found.origin.findings] == [(kind, severity, ids)]


def test_the_first_split_keeps_a_video_of_two(lists):
    found = read(lists(train__lst=TRAIN, test__lst="Rijq4BMl4Ig 0\n"))
    assert found.counts() == (1, 2, 1)
    assert found.splits == ("train",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train__lst", "a 1\nb\n", r"train.lst: row 2 is 'b', expected a line such as 'xYjQkWxF8h0 126'"),
        ("train__lst", "a 1\nb 1e2\nc x\n", r"train.lst: row 2 \(and 1 more\) is 'b 1e2'"),
        ("train__lst", "a 1\n\nb -1\n", r"row 3 is 'b -1'"),
        ("train__lst", "a 1\nb 1000000000000\n", "row 2 is 'b 1000000000000'"),
        ("train__lst", "a 1\nb 1,,2\n", "row 2 is 'b 1,,2'"),
        ("train__lst", "a 1\nb ٣\n", "row 2 is"),
        ("test_videofolder__txt", "x/a 3 1,\nx/b 0 1,\nx/c 0 1,\n", r"video 'b' in row 2 \(and 1 more videos\) has 0 frames"),
        ("test_videofolder__txt", "x/a 3 1,\n../b 4 1,\n", r"path '\.\./b' in row 2 leaves the root"),
        ("test_videofolder__txt", "x/a 3 1,\n/b 4 1,\n", "path '/b' in row 2 is absolute"),
        ("test_videofolder__txt", "x/a 3 1,\nx/b 4\n", "row 2 is 'x/b 4', expected a line such as 'armWrestling/bmJxIlOApIQ 6 58,'"),
        ("train__lst", "\n\n", "no rows; expected lines such as"),
        ("train__lst", b"a 1\n\xff 2\n", "not UTF-8 at byte 4"),
    ],
)
def test_lines_that_are_none_are_refused_by_row(lists, name, text, message):
    folder = lists(**{name: text})
    with pytest.raises(BadData, match=message) as caught:
        read(folder, format="videolt")
    assert "\n" not in str(caught.value)
    with pytest.raises(BadData, match=message):
        read(folder / name.replace("__", "."), format="videolt")


def test_a_label_without_a_name_and_a_label_named_twice_are_refused(lists):
    with pytest.raises(BadData, match=r"label 3 of video 'x' is not in count-labels-train.lst, which has 3 classes"):
        read(lists(train__lst=TRAIN + "x 3\n", counts=COUNTS))
    with pytest.raises(BadData, match="row 4 has label 1 again, after row 2"):
        read(lists(train__lst=TRAIN, counts=COUNTS + "Other 1 2.0\n"))


def test_line_ends_and_a_byte_order_mark_do_not_matter(lists):
    assert labels_of(read(lists(train__lst="\ufeffa 1\r\nb 2,1\rc 3\n\r\nd 1"))) == {"a": ["1"], "b": ["1", "2"], "c": ["3"], "d": ["1"]}


@pytest.mark.parametrize("name", ["train.lst", "validate.lst", "test.lst", "val_videofolder.txt", "test_videofolder.txt"])
def test_real_lists_are_recognised_and_read(real_data, name):
    file = real_data / "metadata/videolt" / f"{name}.excerpt"
    assert detect(file).name == "videolt"
    found = read(file)
    assert found.rows.height == len(file.read_text().split("\n")) - 1
    assert found.splits == ({"tra": "train", "val": "val", "tes": "test"}[name[:3]],)
    assert found.origin.findings == ()


def test_real_lists_of_folders_and_of_labels_agree(real_data, lists):
    folder = lists()
    for name in ("train.lst", "validate.lst", "test.lst", "val_videofolder.txt", "test_videofolder.txt"):
        shutil.copy(real_data / f"metadata/videolt/{name}.excerpt", folder / name)
    found = read(folder)
    assert [found.select(split).height for split in ("train", "val", "test")] == [400, 200, 200]
    assert found.origin.findings == ()
    frames = dict(found.rows.select("id", "frames").iter_rows())
    assert (frames["TOxzzbpZ8pU"], frames["bmJxIlOApIQ"], frames["xYjQkWxF8h0"]) == (170, 6, None)
    assert labels_of(found)["Rijq4BMl4Ig"] == ["178", "343"]
    assert any(id_.startswith("-") for id_ in found.rows["id"])

    shutil.copy(real_data / "metadata/videolt/count-labels-train.lst", folder)  # of the whole list, which is not here
    found = read(folder)
    assert len(found.classes) == 1004
    assert found.classes[:2] == ("3DPainting", "3DPrinter")
    assert finding(found, "counts-disagree").severity == "error"


def test_the_real_counts_are_those_of_the_paper(real_data, lists):
    """The list itself is too large to be here: one is written that has its counts."""
    counts = json.loads((real_data / "metadata/videolt/train_counts_from_list.json").read_text())
    folder = lists(train__lst="".join(f"v{label}-{n} {label}\n" for label, count in counts.items() for n in range(count)))
    shutil.copy(real_data / "metadata/videolt/count-labels-train.lst", folder)
    found = read(folder)
    real = found.counts()
    assert found.origin.findings == ()
    assert (len(real), sum(real), max(real), min(real)) == (1004, 196_798, 1912, 44)
    assert round(max(real) / min(real), 2) == 43.45
    groups = by_counts(real, many_above=500, few_below=101)  # the authors' own: head > 500, tail <= 100
    assert {name: len(labels) for name, labels in groups.members.items()} == {"many": 47, "medium": 617, "few": 340}


TOKENS = st.sampled_from(["a", "-b", "x/a", "../c", " ", " ", "1", "0", ",", "2,3", "3.0", "\n", "\r\n", "\t", "ä", "\0", "9" * 12])


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["train__lst", "test_videofolder__txt", "counts"]),
    st.one_of(st.binary(max_size=60), st.lists(TOKENS, max_size=12).map("".join)),
    st.integers(0, len(TRAIN)),
)
def test_any_bytes_give_a_manifest_or_one_line(lists, name, more, cut):
    start = {"train__lst": TRAIN, "test_videofolder__txt": TEST_FOLDERS, "counts": COUNTS}[name][:cut]
    more = more.encode("utf-8", "surrogatepass") if isinstance(more, str) else more
    said = ""
    try:
        found = read_videolt(lists(**{"train__lst": TRAIN, name: start.encode() + more}))
    except TailwiseError as error:
        said = str(error)
    assert "\n" not in said
    assert said or found.rows.height > 0
