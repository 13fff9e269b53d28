from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.data import check_sound
from tailwise.data.readers.folder import read_folder
from tailwise.data.walk import Tally, image_paths
from tailwise.errors import BadData, TailwiseError


def test_class_folders_become_sorted_classes_and_paths_become_ids(pets):
    found = read_folder(pets)
    assert found.classes == ("cat", "dog")
    assert found.rows["id"].to_list() == ["cat/a.png", "cat/b.png", "dog/a.png", "dog/deep/er/c.JPG"]
    assert found.rows["path"].to_list() == found.rows["id"].to_list()
    assert found.rows["label"].to_list() == [0, 0, 1, 1]
    assert found.splits == ("train",)
    assert (found.name, found.root) == ("pets", pets)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_become_splits_and_classes_their_union(tmp_path, write_image, val):
    for name in ("train/cat/a.png", "train/dog/a.png", f"{val}/cat/b.png", "test/owl/c.png"):
        write_image(tmp_path / name)
    found = read_folder(tmp_path)
    assert found.classes == ("cat", "dog", "owl")
    assert {split: found.counts(split) for split in found.splits} == {"train": (1, 1, 0), "val": (1, 0, 0), "test": (0, 0, 1)}


def test_a_class_called_train_is_a_class(tmp_path, write_image):
    for name in ("car/a.png", "plane/a.png", "train/a.png"):
        write_image(tmp_path / name)
    assert read_folder(tmp_path).classes == ("car", "plane", "train")


def test_split_folders_beside_others_are_refused(tmp_path, write_image):
    for name in ("train/cat/a.png", "test/cat/a.png", "papers/a.png"):
        write_image(tmp_path / name)
    with pytest.raises(BadData, match=r"splits \(test, train\) beside others \(papers\)"):
        read_folder(tmp_path)


def test_two_folders_for_one_split_are_refused(tmp_path, write_image):
    for name in ("train/cat/a.png", "val/cat/a.png", "valid/dog/a.png"):
        write_image(tmp_path / name)
    with pytest.raises(BadData, match="val and valid both mean val"):
        read_folder(tmp_path)


def test_hidden_files_are_ignored_and_others_counted(pets, write_image):
    write_image(pets / ".hidden" / "a.png")
    (pets / "cat" / "._a.png").write_text("resource fork")
    (pets / "cat" / "notes.txt").write_text("hello")
    (pets / "list.csv").write_text("hello")
    write_image(pets / "stray.png")
    found = read_folder(pets)
    assert found.rows.height == 4
    assert "skipped 2 files that are no images: cat/notes.txt, list.csv" in found.provenance
    assert "skipped 1 images that lie in no class folder: stray.png" in found.provenance


def test_links_are_followed_and_counted(pets, tmp_path, write_image):
    outside = write_image(tmp_path / "outside" / "x.png").parent
    (pets / "owl").symlink_to(outside)
    (pets / "cat" / "linked.png").symlink_to(pets / "dog" / "a.png")
    found = read_folder(pets)
    assert {"owl/x.png", "cat/linked.png"} <= set(found.rows["id"])
    assert "followed 2 symbolic links" in found.provenance


def test_link_loops_end_and_are_said(pets):
    (pets / "cat" / "again").symlink_to(pets)
    found = read_folder(pets)
    assert found.rows.height == 4
    assert any("lead back into themselves: cat/again" in line for line in found.provenance)


def test_a_dangling_link_to_an_image_is_refused(pets):
    (pets / "cat" / "gone.png").symlink_to(pets / "nowhere.png")
    with pytest.raises(BadData, match=r"gone\.png \(cannot be opened"):
        check_sound(read_folder(pets))


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_pipe_is_never_opened(pets):
    os.mkfifo(pets / "cat" / "pipe.png")
    assert "skipped 1 files that are no images: cat/pipe.png" in read_folder(pets).provenance


def test_all_files_that_only_look_like_images_are_refused_at_once(pets):
    for i in range(3):
        (pets / "cat" / f"bad{i}.jpg").write_text("<html>")
    with pytest.raises(BadData, match=r"3 of 7 images cannot be read: .*bad0\.jpg.*bad2\.jpg"):
        check_sound(read_folder(pets))


def test_a_class_folder_without_images_is_a_class_without_images(pets):
    (pets / "owl").mkdir()
    found = read_folder(pets)
    assert found.classes == ("cat", "dog", "owl")
    assert found.counts() == (2, 2, 0)


def test_reading_does_not_depend_on_the_order_of_the_file_system(pets, monkeypatch):
    first = read_folder(pets)
    really = os.listdir
    monkeypatch.setattr(os, "listdir", lambda *a: really(*a)[::-1])
    assert read_folder(pets).rows.equals(first.rows)


def test_odd_names_are_kept(tmp_path, write_image):
    for name in ("κατάλογος/α β.png", "con./🙂.png", "a:b/'quote\".png", "line\nbreak/x.png"):
        write_image(tmp_path / name)
    assert set(read_folder(tmp_path).classes) == {"κατάλογος", "con.", "a:b", "line\nbreak"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_names_that_are_no_utf8_are_refused_readably(pets):
    os.rename(os.fsencode(pets / "cat" / "a.png"), os.fsencode(pets) + b"/cat/\xff.png")
    with pytest.raises(BadData, match="1 paths are not UTF-8") as caught:
        read_folder(pets)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no images"),
        (["a.png", "b.png"], "2 images but no class folders"),
        (["train/a.png", "test/b.png"], "make one folder a class in its train, val and test"),
        (["cat/a.png", "cat/b.png"], "only one class, 'cat'"),
    ],
)
def test_folders_that_are_no_class_folders_are_refused(tmp_path, write_image, names, message):
    for name in names:
        write_image(tmp_path / name)
    with pytest.raises(BadData, match=message):
        read_folder(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(BadData, match="no such folder"):
        read_folder(tmp_path / "none")


def test_a_folder_that_cannot_be_opened_is_skipped_and_keeps_the_set_from_training(pets, write_image, monkeypatch):
    write_image(pets / "owl" / "a.png")
    really = os.scandir

    def refuses(folder):
        if Path(folder).name == "owl" or Path(folder) == pets / "dog" / "deep":
            raise PermissionError(errno.EACCES, "Permission denied")
        return really(folder)

    monkeypatch.setattr(os, "scandir", refuses)
    found = read_folder(pets)
    assert found.counts() == (2, 1, 0)
    assert "skipped 2 folders that cannot be opened: dog/deep (Permission denied), owl (Permission denied)" in found.provenance
    with pytest.raises(BadData, match="2 folders cannot be opened: dog/deep"):
        check_sound(found)
    monkeypatch.setattr(os, "scandir", lambda _: refuses("owl"))
    for reads in (read_folder, lambda folder: list(image_paths(folder, Tally()))):
        with pytest.raises(BadData, match="pets: cannot be opened"):
            reads(pets)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["10", "9", "1"], ("1", "9", "10")),
        (["10", "9", "1", "x"], ("1", "10", "9", "x")),
        (["2", "02", "-1"], ("-1", "02", "2")),
        (["1.5", "10", "9"], ("1.5", "10", "9")),
        (["b", "B", "a"], ("B", "a", "b")),
        (["\u0661", "10", "9"], ("10", "9", "\u0661")),
        (["9" * 200, "10"], ("10", "9" * 200)),
    ],
)
def test_folders_are_in_order_of_numbers_only_where_all_are_whole_numbers(tmp_path, write_image, names, classes):
    for name in names:
        write_image(tmp_path / name / "a.png")
    assert read_folder(tmp_path).classes == classes


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_names_are_compared_composed_and_opened_as_they_are_on_disk(tmp_path, write_image):
    for name in (f"train/{DECOMPOSED}/{DECOMPOSED}.png", "train/owl/a.png", f"test/{COMPOSED}/b.png"):
        write_image(tmp_path / name)
    found = read_folder(tmp_path)
    assert found.classes == (COMPOSED, "owl")
    assert (found.counts("train"), found.counts("test")) == ((1, 1), (1, 0))
    assert f"train/{DECOMPOSED}/{DECOMPOSED}.png" in found.rows["path"].to_list()
    check_sound(found)


def test_two_folders_of_one_name_but_for_its_composition_are_refused(tmp_path, write_image):
    for name in (COMPOSED, DECOMPOSED, "owl"):
        write_image(tmp_path / name / "a.png")
    if len(os.listdir(tmp_path)) == 2:
        pytest.skip("this disk takes both names for one")
    with pytest.raises(BadData, match=r"two folders are called 'café', .*\('cafe\\u0301', 'caf\\xe9'\); put their images into one"):
        read_folder(tmp_path)


def test_what_systems_leave_behind_is_no_class_and_no_image(pets, write_image):
    write_image(pets / "__MACOSX" / "cat" / "._a.png")
    (pets / "cat" / "._a.png").write_bytes(bytes(162))
    (pets / "cat" / "Thumbs.db").write_text("")
    (pets / ".DS_Store").write_text("")
    found = read_folder(pets)
    assert (found.classes, found.rows.height) == (("cat", "dog"), 4)
    assert "skipped 4 hidden files or folders: .DS_Store, __MACOSX, cat/._a.png, cat/Thumbs.db" in found.provenance
    check_sound(found)


def test_classes_that_differ_in_case_alone_are_two(tmp_path, write_image):
    for name in ("Cat", "cat"):
        write_image(tmp_path / name / "a.png")
    if len(os.listdir(tmp_path)) == 1:
        pytest.skip("this disk takes both names for one")
    assert read_folder(tmp_path).classes == ("Cat", "cat")


def test_names_that_are_odd_anywhere_are_classes_that_can_be_opened(tmp_path, write_image):
    names = ["con", "a b ", "ends.", "\U0001f431 cats", "\u05d7\u05ea\u05d5\u05dc", "\u202egpj", "x" * 255, "=cmd()", "a:b", "-1"]
    for name in names:
        write_image(tmp_path / name / f"{name[:200]}.png")
    found = read_folder(tmp_path)
    assert found.classes == tuple(sorted(names))
    check_sound(found)


def test_one_bad_file_of_ten_thousand_is_named(tmp_path, write_image):
    first = write_image(tmp_path / "cat" / "0.png")
    write_image(tmp_path / "dog" / "0.png")
    for number in range(1, 10_000):
        os.link(first, tmp_path / "cat" / f"{number}.png")
    (tmp_path / "cat" / "7777.png").unlink()
    (tmp_path / "cat" / "7777.png").write_bytes(first.read_bytes()[:20])
    found = read_folder(tmp_path)
    assert found.counts() == (10_000, 1)
    with pytest.raises(BadData, match=r"1 of 10,001 images cannot be read: [^,]*cat/7777\.png \("):
        check_sound(found)


def test_stray_images_are_a_finding(pets, write_image):
    write_image(pets / "stray.png")
    (finding,) = read_folder(pets).origin.findings
    assert (finding.kind, finding.severity, finding.ids) == ("stray-image", "warning", ("stray.png",))


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None)
@given(paths=st.lists(st.tuples(NAMES, NAMES, st.sampled_from(["", ".png", ".JPG"])), max_size=8))
def test_any_names_give_a_manifest_or_one_line(paths):
    with tempfile.TemporaryDirectory() as folder:
        for top, name, ending in paths:
            with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
                (Path(folder) / top).mkdir(exist_ok=True)
                (Path(folder) / top / (name + ending)).write_bytes(b"")
        try:
            said = repr(read_folder(folder).counts())
        except TailwiseError as error:
            said = str(error)
    assert "\n" not in said
