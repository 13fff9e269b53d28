from __future__ import annotations

import os
import sys

import pytest

from tailwise.data.readers.folder import read_folder
from tailwise.errors import BadData


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
        read_folder(pets)


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_pipe_is_never_opened(pets):
    os.mkfifo(pets / "cat" / "pipe.png")
    assert "skipped 1 files that are no images: cat/pipe.png" in read_folder(pets).provenance


def test_all_files_that_only_look_like_images_are_refused_at_once(pets):
    for i in range(3):
        (pets / "cat" / f"bad{i}.jpg").write_text("<html>")
    with pytest.raises(BadData, match=r"3 of 7 images cannot be read: .*bad0\.jpg.*bad2\.jpg"):
        read_folder(pets)


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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_opened_is_refused(pets):
    (pets / "cat").chmod(0)
    try:
        with pytest.raises(BadData, match="cannot be opened"):
            read_folder(pets)
    finally:
        (pets / "cat").chmod(0o755)
