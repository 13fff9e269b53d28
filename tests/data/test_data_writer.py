from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tailwise.data import from_arrays, read, read_pixels, split, thin, write_folder
from tailwise.data.manifest import Manifest
from tailwise.data.writers.names import class_folders, safe_name, unique_names
from tailwise.data.writers.writing import write_set
from tailwise.errors import BadData, BadValue, OutputExists, Unwritable


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_files_are_copied_into_splits_and_classes(pets, tmp_path):
    whole = split(read(pets), "50/0/50")
    written = write_folder(whole, tmp_path / "out")
    assert {path for path in files_below(tmp_path / "out") if path.endswith((".png", ".JPG"))} == set(written.rows["path"])
    for old, new in zip(whole.rows.sort("id").iter_rows(named=True), written.rows.sort("id").iter_rows(named=True), strict=True):
        assert (tmp_path / "out" / new["path"]).read_bytes() == (pets / old["path"]).read_bytes()
        assert new["path"].split("/")[:2] == [old["split"], whole.classes[old["label"]]]
        assert new["id"] == old["id"]


def test_reading_it_again_gives_the_same_set_wherever_it_is_moved(pets, tmp_path):
    whole = split(read(pets), "50/0/50")
    identity = whole.identity
    assert write_folder(whole, tmp_path / "out").identity == identity
    shutil.rmtree(pets)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    again = read(tmp_path / "elsewhere")
    assert again.identity == identity
    assert again.root == tmp_path / "elsewhere"
    assert again.replace(rows=again.rows.drop("content")).identity == identity  # the files are what the table says
    assert again.provenance[: len(whole.provenance)] == whole.provenance


def test_arrays_become_png_without_loss(tmp_path):
    rng = np.random.default_rng(0)
    for shape in ((4, 5, 7), (4, 5, 7, 1), (4, 5, 7, 3)):
        images = rng.integers(0, 256, shape, dtype=np.uint8)
        whole = from_arrays([0, 1, 1, 0], images=images)
        folder = tmp_path / f"out{len(shape)}{shape[-1]}"
        write_folder(whole, folder)
        again = read(folder)
        assert again.identity == whole.identity
        assert not again.arrays
        for number, row in enumerate(again.rows.sort("id").iter_rows(named=True)):
            seen = np.asarray(Image.open(folder / row["path"]))
            np.testing.assert_array_equal(seen.reshape(5, 7, -1), images[number].reshape(5, 7, -1))
            assert row["path"] == f"train/{whole.classes[row['label']]}/000{number}.png"


def test_equal_sets_give_equal_bytes_wherever_they_are_written(make_set, tmp_path):
    for name in ("a", "b/c"):
        write_folder(thin(split(make_set([16, 16, 16]), "50/0/50"), "exponential:4"), tmp_path / name)
    for file in ("manifest.parquet", "card.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b/c" / file).read_bytes()
    card = json.loads((tmp_path / "a" / "card.json").read_text())
    assert card["root"] == "."
    assert card["counts"] == {"train": [8, 4, 2], "test": [8, 8, 8]}
    assert str(tmp_path) not in (tmp_path / "a" / "card.json").read_text()


def test_links_are_the_files_themselves_and_survive_a_move_of_both(pets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = read("pets")
    built = write_set(whole, "out", link=True)
    assert (built.linked, built.copied) == (4, 0)
    moved = tmp_path / "far" / "away" / "moved"
    moved.parent.mkdir(parents=True)
    Path("out").rename(moved)
    found = read(moved)
    for row in found.rows.iter_rows(named=True):
        assert os.path.samefile(moved / row["path"], pets / row["id"])
    shutil.rmtree(pets)
    assert found.replace(rows=found.rows.drop("content")).identity == built.manifest.identity


def test_what_the_file_system_does_not_link_is_copied_counted_and_done(pets, tmp_path, monkeypatch):
    whole, link = read(pets), os.link

    def half(file, new, **words):
        if "dog" in str(file):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(file, new, **words)

    monkeypatch.setattr(os, "link", half)
    built = write_set(whole, tmp_path / "half", link=True)
    assert (built.linked, built.copied) == (2, 2)
    again = write_set(whole, tmp_path / "half", link=True)
    assert again.stood
    assert (again.linked, again.copied) == (2, 2)
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OutputExists, match="holds copies, not the links"):  # now they could be linked
        write_set(whole, tmp_path / "half", link=True)
    with pytest.raises(OutputExists, match="holds links, not copies"):
        write_set(whole, tmp_path / "half")
    assert [place.name for place in tmp_path.iterdir() if place.name.startswith(".")] == []
    write_set(whole, tmp_path / "copied")
    for name in ("card.json", "README.md", "manifest.parquet"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "copied" / name).read_bytes()


def test_links_to_arrays_are_refused_and_links_into_the_store_outlive_it(tmp_path, store):
    with pytest.raises(BadValue, match="in arrays, which cannot be linked to"):
        write_folder(read("digits"), tmp_path / "out", link=True)
    images = [{"bytes": (tmp_path / "x.png").read_bytes(), "path": None} for _ in [Image.new("L", (3, 3)).save(tmp_path / "x.png")]]
    pl.DataFrame({"image": images, "label": [0]}).write_parquet(tmp_path / "x.parquet")
    built = write_set(read(tmp_path / "x.parquet"), tmp_path / "out", link=True)
    assert built.linked == 1
    shutil.rmtree(store)
    assert read_pixels(tmp_path / "out" / built.manifest.rows["path"][0]).shape == (3, 3, 3)


def test_files_of_one_name_and_odd_names_get_names_of_their_own(tmp_path, write_image):
    root = tmp_path / "root"
    paths = ["1/a.png", "2/a.png", "3/A.png", "4/a-2.png", 'x/"q".png', "y/κ ά.png", "z/.hidden.png", "w/con.png"]
    classes = ("T-shirt/top", "t-SHIRT_TOP", "..", "\u00c4", "A\u0308", "a:b", "con", "end. ", "鳥" * 100)
    for value, path in enumerate(paths):
        write_image(root / path, value)
    labels = [0] * len(paths)
    for label in range(1, len(classes)):
        write_image(root / f"c{label}.png", label * 20)
        paths.append(f"c{label}.png")
        labels.append(label)
    rows = pl.DataFrame({"id": paths, "path": paths, "label": labels, "split": ["train"] * len(paths)})
    whole = Manifest(rows, classes, root, name="odd")
    written = write_folder(whole, tmp_path / "out")
    again = read(tmp_path / "out")
    assert again.classes == classes
    assert again.identity == whole.identity
    assert again.replace(rows=again.rows.drop("content")).identity == whole.identity
    found = dict(written.rows.select("id", "path").iter_rows())
    assert [found[p] for p in paths[:4]] == [f"train/T-shirt_top/{n}" for n in ("a.png", "a-2.png", "A-3.png", "a-2-2.png")]
    folded = {path.casefold() for path in found.values()}
    assert len(folded) == len(paths)
    folders = {path.split("/")[1] for path in found.values()}
    assert len({name.casefold() for name in folders}) == len(classes)
    assert {"t-SHIRT_TOP-2", "__", "a_b", "_con", "end__"} <= folders
    assert any("classes have folders of other names: 'T-shirt/top' -> 'T-shirt_top'" in line for line in written.provenance)
    assert any("files got other names, to be safe and unique" in line for line in written.provenance)


def test_which_of_equal_names_keeps_it_is_no_matter_of_row_order():
    paths = ["1/a.png", "2/a.png", "3/a.png"]
    rows = pl.DataFrame({"id": paths, "path": paths, "label": [0] * 3, "split": ["train"] * 3})
    given = ["train/x/a.png", "train/x/a-2.png", "train/x/a-3.png"]
    assert class_folders(Manifest(rows, ("x",))).to_list() == given
    assert class_folders(Manifest(rows.reverse(), ("x",)), {"train": "fit"}).to_list() == [
        path.replace("train", "fit") for path in given[::-1]
    ]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "NUL", "nul.txt", "com1", "x" * 300, "🙂" * 100, "a\nb", "tail.", " ", "-", "\ud800"]
)
def test_safe_names_can_be_written_anywhere(name):
    safe = safe_name(name)
    assert safe
    assert len(safe.encode("utf-8", "surrogatepass")) <= 201
    assert safe not in (".", "..")
    assert not safe.startswith(".")
    assert not safe.endswith((".", " "))
    assert not set(safe) & set('/\\:*?"<>|\n\0')


def test_many_files_of_one_name_are_numbered_without_a_clash():
    names = unique_names(["a.png"] * 2000 + ["a-7.png", "A-2000.PNG"])
    assert len({name.casefold() for name in names}) == 2002
    assert names[1999] == "a-2000.png"


def test_weights_sources_and_empty_classes_are_kept(tmp_path):
    whole = from_arrays([0, 2], images=np.zeros((2, 3, 3), np.uint8), classes=["a", "b", "c"])
    whole = whole.replace(rows=whole.rows.with_columns(weight=pl.Series([1.0, 2.5]), source=pl.Series(["real", "generated"])))
    write_folder(whole, tmp_path / "out")
    again = read(tmp_path / "out")
    assert again.identity == whole.identity
    assert again.counts() == (1, 0, 0)


def test_features_are_refused(tmp_path):
    with pytest.raises(BadData, match="holds features, expected images"):
        write_folder(from_arrays([0, 1], features=np.zeros((2, 3), np.float32)), tmp_path / "out")


def test_what_exists_is_refused_and_force_replaces_only_what_carries_our_card(pets, tmp_path, write_image):
    whole, out = read(pets), tmp_path / "out"
    write_folder(whole, out)
    smaller = whole.replace(rows=whole.rows.head(3))
    with pytest.raises(OutputExists, match=r"another set, .* or replace this one with --force"):
        write_folder(smaller, out)
    (out / "train" / "mine.txt").write_text("")
    with pytest.raises(OutputExists, match=r"1 files that were added .*: train/mine\.txt"):
        write_folder(smaller, out, force=True)
    (out / "train" / "mine.txt").unlink()
    write_folder(smaller, out, force=True)
    assert files_below(out) == {"manifest.parquet", "card.json", "README.md", *read(out).rows["path"]}
    assert read(out).identity == smaller.identity
    photo = write_image(tmp_path / "photos" / "cat" / "mine.png")
    for place in (photo.parent.parent, photo, tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(OutputExists, match=r"carries no card of tailwise|is a file"):
            write_folder(whole, place, force=True)
    (photo.parent.parent / "card.json").write_text('{"schema": "somebody else\'s"}')
    with pytest.raises(OutputExists, match="carries no card"):
        write_folder(whole, photo.parent.parent, force=True)
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(OutputExists, match="is a link"):
        write_folder(whole, tmp_path / "link", force=True)
    assert photo.exists()


def test_the_old_folder_stands_until_the_new_one_is_whole(pets, tmp_path, monkeypatch):
    whole, out = read(pets), tmp_path / "out"
    write_folder(whole.replace(rows=whole.rows.head(3)), out)
    before = files_below(out)
    (pets / "dog" / "a.png").unlink()
    with pytest.raises(BadData, match=r"dog/a\.png"):
        write_folder(whole, out, force=True)
    with pytest.raises(BadData, match=r"dog/a\.png: cannot be read .*; restore it"):
        write_folder(whole.replace(rows=whole.rows.with_columns(content=pl.lit("0" * 32))), out, force=True)
    assert files_below(out) == before
    assert {p.name for p in tmp_path.iterdir()} - {"pets", "store"} == {"out"}


def test_nothing_is_written_among_the_images(pets, tmp_path):
    whole = read(pets)
    for place in (pets, pets / "out", pets / "cat" / "out", tmp_path, pets / ".." / "pets" / "x"):
        with pytest.raises(BadValue, match=r"lies inside|holds images"):
            write_folder(whole, place, force=True)
    assert len(read(pets).rows) == 4
    out = tmp_path / "out"
    write_folder(whole, out)
    with pytest.raises(BadValue, match="holds images of 'pets' itself"):
        write_folder(read(out), out, force=True)


def test_a_table_beside_its_images_may_be_built_beside_them(tmp_path, write_image):
    for name in ("images/1.png", "images/2.png"):
        write_image(tmp_path / name)
    (tmp_path / "list.csv").write_text("path,label\nimages/1.png,a\nimages/2.png,b\n")
    assert write_folder(read(tmp_path / "list.csv"), tmp_path / "out").counts() == (1, 1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_is_refused(pets, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(Unwritable):
        write_folder(read(pets), tmp_path / "closed" / "out")


def test_pixels_are_read_alike_from_the_folder_and_from_the_array(tmp_path):
    whole = read("digits")
    written = write_folder(whole.replace(rows=whole.rows.head(20)), tmp_path / "out")
    for row in written.rows.sort("id").iter_rows(named=True):
        np.testing.assert_array_equal(
            read_pixels(tmp_path / "out" / row["path"], channels=1), whole.arrays["images"][int(row["id"].split("/")[1])]
        )


def test_replacing_a_folder_by_what_was_linked_from_it_loses_no_image(pets, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    write_folder(read(pets), first)
    write_folder(read(first), second, link=True)
    before = {p: p.read_bytes() for p in first.rglob("*") if p.is_file()}
    write_folder(read(second), first, force=True)
    with pytest.raises(BadValue, match="holds images of"):
        write_folder(read(first), first, force=True)
    assert {p: p.read_bytes() for p in first.rglob("*.png")} == {p: data for p, data in before.items() if p.suffix == ".png"}
    assert read(second).replace(rows=read(second).rows.drop("content")).identity == read(first).identity


def test_an_image_that_changed_after_building_is_noticed(pets, tmp_path):
    out = tmp_path / "out"
    written = write_folder(read(pets), out)
    cache = tmp_path / "hashes"
    assert read(out).with_content(cache).identity == written.identity
    Image.new("RGB", (7, 7)).save(out / "train" / "cat" / "b.png")
    with pytest.raises(BadData, match=r"1 images have changed since their manifest was made: train/cat/b\.png"):
        read(out).with_content(cache)


def test_a_picture_of_an_array_that_changed_after_building_is_noticed(make_set, tmp_path):
    out = tmp_path / "out"
    write_folder(make_set([4, 4]), out)
    assert len(read(out).with_content(tmp_path / "hashes").rows) == 8
    changed = sorted(out.rglob("*.png"))[3]
    Image.new("L", (8, 8), 77).save(changed)
    with pytest.raises(BadData, match="1 images have changed"):
        read(out).with_content(tmp_path / "hashes")


def test_a_built_set_of_arrays_can_be_used_built_from_and_saved(make_set, tmp_path):
    cache = tmp_path / "hashes"
    built = write_folder(make_set([4, 4]), tmp_path / "a")
    again = write_folder(read(tmp_path / "a"), tmp_path / "b")
    linked = write_folder(read(tmp_path / "b"), tmp_path / "c", link=True)
    built.save(tmp_path / "saved")
    for found in (built, again, linked, read(tmp_path / "b"), read(tmp_path / "c"), read(tmp_path / "saved")):
        assert found.with_content(cache).identity == built.identity


def test_an_equal_set_in_the_same_folder_is_already_done(pets, tmp_path):
    out, whole = tmp_path / "out", split(read(pets), "50/0/50")
    assert not write_set(whole, out).stood
    again = write_set(whole.replace(name="by another name"), out)
    assert again.stood
    assert again.manifest.identity == whole.identity
    renamed = whole.replace(rows=whole.rows.with_columns(path=pl.col("path").str.replace("cat/b", "cat/c")))
    (pets / "cat" / "b.png").rename(pets / "cat" / "c.png")
    with pytest.raises(OutputExists, match="an equal set under other file names"):
        write_set(renamed, out)


def test_an_equal_set_stands_where_the_store_cannot_keep_hashes(pets, tmp_path, monkeypatch):
    """The cache of hashes saves time; without it the files are hashed."""
    (tmp_path / "a file").touch()
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "a file"))
    assert not write_set(read(pets), tmp_path / "out").stood
    assert write_set(read(pets), tmp_path / "out").stood


def test_what_a_file_manager_leaves_is_no_addition_and_a_damaged_table_is_said(pets, tmp_path):
    out = tmp_path / "out"
    write_folder(read(pets), out)
    (out / ".DS_Store").write_text("")
    (out / "train" / "cat" / "Thumbs.db").write_text("")
    (out / "train" / "._cat").write_text("")
    write_folder(split(read(pets), "50/0/50"), out, force=True)
    (out / "manifest.parquet").write_bytes(b"damaged")
    with pytest.raises(OutputExists, match="is damaged, so what was added"):
        write_folder(read(pets), out, force=True)
