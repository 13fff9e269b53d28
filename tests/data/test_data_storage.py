from __future__ import annotations

import json
import shutil

import numpy as np
import polars as pl
import pytest

from tailwise.data.manifest import Manifest
from tailwise.data.readers.folder import read_folder
from tailwise.data.splits import split
from tailwise.data.storage import scan_manifest
from tailwise.errors import BadData, OutputExists, Stopped


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_set_of_arrays_comes_back_as_it_was(make_set, tmp_path):
    small = split(make_set([6, 7]), "50/20/30")
    back = Manifest.load(small.save(tmp_path / "set"))
    assert back.identity == small.identity
    assert (back.name, back.classes, back.provenance) == (small.name, small.classes, small.provenance)
    for was, now in zip(small.rows.sort("id").iter_rows(named=True), back.rows.iter_rows(named=True), strict=True):
        np.testing.assert_array_equal(back.arrays["images"][now["row"]], small.arrays["images"][was["row"]])


def test_a_set_of_files_comes_back_and_is_found_from_its_card(pets, tmp_path):
    small = read_folder(pets)
    back = Manifest.load(small.save(tmp_path / "out" / "set"))
    assert back.identity == small.identity
    assert back.root.resolve() == pets.resolve()
    assert json.loads((tmp_path / "out" / "set" / "card.json").read_text())["root"] == "../../pets"


def test_equal_sets_give_equal_bytes_whatever_the_order_of_rows(make_set, tmp_path):
    make_set([3, 3]).save(tmp_path / "a")
    make_set([3, 3], order=[5, 3, 1, 0, 2, 4]).save(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert sorted(contents(tmp_path / "a")) == ["card.json", "images.npy", "manifest.parquet"]


def test_rows_that_are_not_in_the_set_are_not_stored(make_set, tmp_path):
    small = make_set([5, 5])
    few = small.replace(rows=small.rows.filter(pl.col("row").is_in([1, 4, 8])))
    back = Manifest.load(few.save(tmp_path / "few"))
    assert back.arrays["images"].shape == (3, 4, 4)
    assert back.identity == few.identity


def test_files_and_arrays_can_be_in_one_set(pets, make_set, tmp_path):
    files, small = read_folder(pets), make_set([2, 2])
    both = Manifest(pl.concat([files.rows, small.rows]), files.classes, pets, small.arrays, "both")
    back = Manifest.load(both.save(tmp_path / "both"))
    assert back.identity == both.identity
    assert back.rows.filter(pl.col("container").is_not_null())["row"].to_list() == [0, 1, 2, 3]


def test_an_existing_output_is_refused_and_untouched(make_set, tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(OutputExists, match="exists already"):
        make_set([2, 2]).save(tmp_path / "set")
    assert [file.name for file in tmp_path.iterdir()] == ["set"]


def test_a_failed_save_leaves_nothing(make_set, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(Stopped, match=r"disk is full.*No space left"):
        make_set([2, 2]).save(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_moved_images_are_found_with_root(pets, tmp_path):
    small = read_folder(pets)
    identity = small.identity
    folder = small.save(tmp_path / "set")
    pets.rename(tmp_path / "moved")
    with pytest.raises(BadData, match="give the folder where they are now as root"):
        Manifest.load(folder)
    assert Manifest.load(folder, root=tmp_path / "moved").identity == identity


def test_a_changed_table_is_noticed(make_set, tmp_path):
    folder = make_set([2, 2]).save(tmp_path / "set")
    table = pl.read_parquet(folder / "manifest.parquet")
    table.with_columns(label=1 - pl.col("label")).write_parquet(folder / "manifest.parquet")
    with pytest.raises(BadData, match="other identity"):
        Manifest.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(schema="tailwise.data/2"), "schema 'tailwise.data/2', expected 'tailwise.data/1'"),
        (lambda card: card.pop("classes"), "field 'classes' is missing"),
        (lambda card: card.update(classes=[1, 2]), "lists of text"),
        (lambda card: card.update(root=5), "field 'root'"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(make_set, tmp_path, change, message):
    folder = make_set([2, 2]).save(tmp_path / "set")
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(BadData, match=message):
        Manifest.load(folder)


@pytest.mark.parametrize("name", ["card.json", "manifest.parquet", "images.npy"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "noise"])
def test_damaged_files_are_refused_by_name(make_set, tmp_path, name, damage):
    folder = make_set([2, 2]).save(tmp_path / "set")
    file = folder / name
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": b"\x93noise" * 99}[damage])
    with pytest.raises(BadData, match=name) as caught:
        Manifest.load(folder)
    assert "\n" not in str(caught.value)


def test_a_table_cannot_name_arrays_outside_its_folder(make_set, tmp_path):
    folder = make_set([2, 2]).save(tmp_path / "set")
    shutil.copy(folder / "images.npy", tmp_path / "secret.npy")
    table = pl.read_parquet(folder / "manifest.parquet")
    table.with_columns(container=pl.lit("../secret")).write_parquet(folder / "manifest.parquet")
    with pytest.raises(BadData, match=r"'\.\./secret' is no name"):
        Manifest.load(folder)


def test_arrays_of_python_objects_are_never_unpickled(make_set, tmp_path):
    folder = make_set([2, 2]).save(tmp_path / "set")
    np.save(folder / "images.npy", np.array([object()] * 4), allow_pickle=True)
    with pytest.raises(BadData, match="cannot be read as an array"):
        Manifest.load(folder)


def test_a_saved_set_is_opened_without_reading_its_rows(make_set, tmp_path, monkeypatch):
    small = split(make_set([6, 7]), "50/20/30")
    folder = small.save(tmp_path / "set")
    monkeypatch.setattr(pl, "read_parquet", lambda *_: pytest.fail("the table was read"))
    found = scan_manifest(folder)
    assert (found.name, found.classes, found.root, found.identity) == (small.name, small.classes, None, small.identity)
    assert found.counts == {name: small.counts(name) for name in ("train", "val", "test")}
    asked = found.rows.filter(pl.col("split") == "val").group_by("label").len().sort("label").collect()
    assert tuple(asked["len"]) == small.counts("val")


@pytest.mark.parametrize("damage", ["gone", "noise"])
def test_a_damaged_table_is_refused_when_it_is_opened(make_set, tmp_path, damage):
    folder = make_set([2, 2]).save(tmp_path / "set")
    (folder / "manifest.parquet").unlink() if damage == "gone" else (folder / "manifest.parquet").write_bytes(b"noise" * 9)
    with pytest.raises(BadData, match=r"manifest\.parquet cannot be read as Parquet"):
        scan_manifest(folder)
