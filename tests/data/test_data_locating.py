"""Where a list's images are: one mapping for all rows, and paths that lead nowhere else."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tailwise.data.locating import clean_paths, locate
from tailwise.errors import BadData

WRITTEN = pl.Series("path", ["data/images/a.png", "data/images/b.png"])
ROWS = pl.Series("row", [2, 3])


@pytest.fixture
def images(tmp_path, write_image):
    for name in "ab":
        write_image(tmp_path / "set" / "data" / "images" / f"{name}.png")
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("below", "paths", "said"),
    [
        ("", ["data/images/a.png", "data/images/b.png"], "paths as written"),
        ("data", ["images/a.png", "images/b.png"], "paths without their first part"),
        ("data/images", ["a.png", "b.png"], "paths without their first 2 parts"),
    ],
)
def test_the_root_may_be_any_folder_on_the_way(images, below, paths, said):
    for found in (locate(WRITTEN, [images / below], "train.csv"), locate(WRITTEN, [], "train.csv", images / below)):
        assert (found.root, found.paths.to_list(), found.said) == (images / below, paths, said)


def test_the_mapping_that_finds_most_is_taken_for_all_rows(images, write_image):
    write_image(images / "c.png")  # found as a bare name, but only this one
    found = locate(pl.concat([WRITTEN, pl.Series("path", ["data/images/c.png"])]), [images], "train.csv")
    assert (found.paths[2], found.said) == ("data/images/c.png", "paths as written")


def test_bare_names_are_tried_however_deep_a_path_is(images):
    deep = pl.Series("path", ["/".join([*"x" * 40, "data/images/a.png"]), "b.png"])
    found = locate(deep, [images / "data" / "images"], "train.csv")
    assert found.paths.to_list() == ["a.png", "b.png"]


def test_of_a_path_that_is_shorter_than_the_others_the_name_stays(images, write_image):
    write_image(images / "c.png")
    found = locate(pl.Series("path", ["x/y/data/images/a.png", "x/y/data/images/b.png", "c.png"]), [images], "train.csv")
    assert (found.paths.to_list(), found.said) == (["data/images/a.png", "data/images/b.png", "c.png"], "paths without their first 2 parts")


def test_folders_are_tried_in_turn_and_the_first_of_equals_wins(images, tmp_path):
    assert locate(WRITTEN, [tmp_path, images], "train.csv").root == images
    assert locate(WRITTEN, [images / "data", images], "train.csv").root == images / "data"


def test_a_list_whose_images_are_nowhere_stands_alone_unless_a_folder_was_named(tmp_path):
    found = locate(WRITTEN, [tmp_path], "train.csv")
    assert (found.root, found.paths.to_list()) == (None, WRITTEN.to_list())
    with pytest.raises(BadData, match=r"train\.csv: none of its images is in .*tried 'data/images/a\.png'"):
        locate(WRITTEN, [], "train.csv", tmp_path)
    with pytest.raises(BadData, match="which is no folder"):
        locate(WRITTEN, [], "train.csv", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("../x.png", "leaves the root"),
        ("a/../../x.png", "leaves the root"),
        ("a\\..\\x.png", "leaves the root"),
        ("/etc/x.png", "is absolute"),
        ("C:\\x.png", "is absolute"),
        ("a\0.png", "holds a control character"),
        ("a\n.png", "holds a control character"),
        ("  ", "is empty"),
        (None, "is empty"),
    ],
)
def test_paths_that_lead_elsewhere_are_refused_with_their_row(path, what):
    with pytest.raises(BadData, match=rf"list: path .* in row 3 {what}; ") as caught:
        clean_paths(pl.Series("path", ["a.png", path], dtype=pl.String), ROWS, "list")
    assert "\n" not in str(caught.value)


def test_dots_that_lead_nowhere_are_kept_and_slashes_tidied():
    paths = clean_paths(pl.Series("path", ["./a..b//c.png", "a/./..c.png"]), ROWS, "list")
    assert paths.to_list() == ["a..b/c.png", "a/..c.png"]


def test_absolute_paths_are_admitted_below_the_root_of_all_or_where_a_format_publishes_them():
    absolute = pl.Series("path", ["/home/me/a.png", "/b.png"])
    for words in ({"root": Path("/")}, {"strip_absolute": True}):
        assert clean_paths(absolute, ROWS, "list", **words).to_list() == ["home/me/a.png", "b.png"]


@pytest.mark.parametrize(
    "text", ["a//b", "./a", "/a", "a/./b", "a/../b", "..", "", " ", "C:/a", "c:\\a", "a\nb", "a\x00", "\t", "a/b.jpg", ".a/b", "a:b/c"]
)
@pytest.mark.parametrize("root", [None, Path("/")])
def test_the_look_that_spares_the_rules_misses_nothing(monkeypatch, text, root):
    def cleaned() -> object:
        try:
            return clean_paths(pl.Series(["x/y.jpg", text]), pl.Series([0, 1]), "list", root).to_list()
        except BadData as error:
            return str(error)

    found = cleaned()
    monkeypatch.setattr("tailwise.data.locating._ODD", "")  # which is in every text
    assert found == cleaned()
