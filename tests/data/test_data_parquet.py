from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tailwise.data import check_sound, read
from tailwise.data.images import read_pixels
from tailwise.errors import BadData, BadValue, TailwiseError

HUB_IMAGE = pl.Struct({"bytes": pl.Binary, "path": pl.String})
NAMES = ["ant", "bee/wasp", "čmelák"]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def encoded(value: int, kind: str = "PNG", size: tuple[int, int] = (6, 4)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(file, kind)
    return file.getvalue()


def write_shard(file: Path, values: Sequence[int], labels: Sequence[int], names: Sequence[str] | None = NAMES, **columns: object) -> Path:
    """A table as the Hub writes it: {bytes, path} and a class label, the class names in the schema's metadata."""
    table = pl.DataFrame({"image": [{"bytes": encoded(v), "path": f"{v}.png"} for v in values], "label": labels, **columns})
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"} if names else {"_type": "Value"}}
    file.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(file, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    return file


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Two shards of train and one of validation; grey 10 to 50, labels beside."""
    folder = tmp_path / "hub"
    write_shard(folder / "data/train-00000-of-00002.parquet", [10, 20], [0, 2])
    write_shard(folder / "data/train-00001-of-00002.parquet", [30], [2])
    write_shard(folder / "data/validation-00000-of-00001.parquet", [40, 50], [1, 0])
    return folder


def greys(manifest) -> dict[str, tuple[int, str, str]]:
    return {
        row["id"]: (int(read_pixels(manifest.root / row["path"])[0, 0, 0]), manifest.classes[row["label"]], row["split"])
        for row in manifest.rows.iter_rows(named=True)
    }


def test_shards_become_splits_with_the_hubs_class_names(hub):
    found = read(hub)
    assert found.classes == tuple(NAMES)
    assert greys(found) == {
        "train/00000": (10, "ant", "train"),
        "train/00001": (20, "čmelák", "train"),
        "train/00002": (30, "čmelák", "train"),
        "val/00000": (40, "bee/wasp", "val"),
        "val/00001": (50, "ant", "val"),
    }


def test_the_identity_does_not_depend_on_how_rows_are_cut_into_shards(hub, tmp_path):
    whole = tmp_path / "whole"
    write_shard(whole / "train.parquet", [10, 20, 30], [0, 2, 2])
    write_shard(whole / "validation.parquet", [40, 50], [1, 0])
    assert read(whole).identity == read(hub).identity


def test_images_lie_in_the_store_and_content_is_that_of_the_files(hub, store):
    found = read(hub)
    assert found.root.parent == store / "files"
    fresh = found.replace(rows=found.rows.drop("content"))
    assert fresh.identity == found.identity


def test_a_second_reading_writes_nothing_and_damage_is_mended(hub):
    first = read(hub)
    files = sorted(first.root.rglob("*.png"))
    before = [file.stat().st_mtime_ns for file in files]
    assert read(hub).rows.equals(first.rows)
    assert [file.stat().st_mtime_ns for file in files] == before
    good = greys(first)
    files[0].unlink()
    assert greys(read(hub)) == good
    files[1].write_bytes(b"short")
    assert greys(read(hub)) == good
    (first.root / "unpacked.parquet").write_bytes(b"broken")
    assert greys(read(hub)) == good
    whole = files[2].read_bytes()
    files[2].write_bytes(whole[:-1] + b"x")  # as long as before, a second later
    os.utime(files[2], ns=(before[2] + 10**12, before[2] + 10**12))
    read(hub)
    assert files[2].read_bytes() == whole


def test_an_interrupted_unpacking_leaves_nothing_that_is_used(hub, store, monkeypatch):
    import tailwise.data.readers.parquet as reader

    really = reader._encoded

    def stops(*arguments):
        yield next(iter(really(*arguments)))
        raise KeyboardInterrupt

    monkeypatch.setattr(reader, "_encoded", stops)
    with pytest.raises(KeyboardInterrupt):
        read(hub)
    assert [p for p in (store / "files").iterdir() if not p.name.startswith(".pending")] == []
    monkeypatch.undo()
    monkeypatch.setenv("TAILWISE_STORE", str(store))
    assert len(greys(read(hub))) == 5


def test_one_file_other_names_binary_columns_and_formats(tmp_path):
    file = tmp_path / "mine.parquet"
    images = [encoded(10), encoded(200, "JPEG", (9, 3)), encoded(30, "GIF"), encoded(40, "WEBP"), encoded(50, "BMP"), encoded(60, "TIFF")]
    pl.DataFrame(
        {"photo": images, "species": ["b", "a", "b", "a", "a", "b"], "set": ["train", "test", "dev", "train", "train", "val"]}
    ).write_parquet(file)
    found = read(file)
    assert (found.name, found.classes) == ("mine", ("a", "b"))
    assert found.rows["split"].to_list() == ["train", "test", "val", "train", "train", "val"]
    assert [Path(p).suffix for p in found.rows["path"]] == [".png", ".jpg", ".gif", ".webp", ".bmp", ".tif"]
    assert greys(found)["rows/00005"] == (60, "b", "val")


def test_another_label_is_chosen_by_name(tmp_path):
    file = write_shard(tmp_path / "x.parquet", [1, 2], [0, 1], names=None, by_hand=[7, 3])
    assert read(file).classes == ("0", "1")
    assert read(file, columns="label=by_hand").classes == ("3", "7")


@pytest.mark.parametrize("names", [NAMES, None])
def test_a_label_of_minus_one_is_none(tmp_path, names):
    found = read(write_shard(tmp_path / "x.parquet", [1, 2, 3], [0, -1, 1], names))
    assert dict(found.rows.select("id", "label").iter_rows()) == {"rows/00000": 0, "rows/00001": None, "rows/00002": 1}
    assert (found.unlabelled, found.counts()[:2]) == (1, (1, 1))
    assert "1 images have no label (-1)" in found.provenance


def test_a_test_split_without_labels_needs_named_classes(tmp_path):
    assert read(write_shard(tmp_path / "test.parquet", [1, 2], [-1, -1])).classes == tuple(NAMES)
    with pytest.raises(BadData, match="no row has a label, all are -1"):
        read(write_shard(tmp_path / "test.parquet", [1, 2], [-1, -1], None))


def test_an_image_column_of_paths_alone_is_a_table_of_paths(tmp_path, pets):
    images = pl.Series([{"bytes": None, "path": "cat/a.png"}, {"bytes": None, "path": "dog/a.png"}], dtype=HUB_IMAGE)
    pl.DataFrame({"image": images, "label": [0, 1]}).write_parquet(pets / "list.parquet")
    found = read(pets / "list.parquet")
    assert (found.root, found.rows["path"].to_list()) == (pets, ["cat/a.png", "dog/a.png"])
    check_sound(found)


def test_a_path_beside_bytes_is_a_name_and_never_opened(tmp_path, write_image):
    write_image(tmp_path / "a.png", 200)
    images = pl.Series([{"bytes": encoded(10), "path": "a.png"}, {"bytes": encoded(20), "path": None}], dtype=HUB_IMAGE)
    pl.DataFrame({"image": images, "label": [0, 1]}).write_parquet(tmp_path / "x.parquet")
    assert [grey for grey, _, _ in greys(read(tmp_path / "x.parquet")).values()] == [10, 20]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([(b"x", "a.png")] * 8 + [(None, None)], "row 8: neither bytes nor path"),
        ([(None, "a.png")] * 8 + [(None, None)], "row 8: neither bytes nor path"),
        ([(b"x", "a.png"), (None, "b.png")], "row 1: no bytes but the path 'b.png', and other rows hold their images"),
        ([(None, None)], "row 0: neither bytes nor path"),
    ],
)
def test_a_row_without_an_image_is_refused_by_number(tmp_path, images, message):
    column = pl.Series([{"bytes": content, "path": path} for content, path in images], dtype=HUB_IMAGE)
    pl.DataFrame({"image": column, "label": [0] * len(images)}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(BadData, match=message):
        read(tmp_path / "x.parquet")


def test_a_table_of_paths_is_read_as_a_csv_is(tmp_path, pets):
    file = pets / "list.parquet"
    pl.DataFrame({"path": ["cat/a.png", "dog/a.png"], "label": [5, 9]}).write_parquet(file)
    found = read(file)
    assert (found.root, found.classes, found.rows["id"].to_list()) == (pets, ("5", "9"), ["cat/a.png", "dog/a.png"])
    file.rename(tmp_path / "list.parquet")
    assert read(tmp_path / "list.parquet", root=pets).identity == found.identity
    assert not read(tmp_path / "list.parquet").has_files


def test_a_folder_of_classes_with_a_stray_table_stays_one(pets):
    pl.DataFrame({"a": [1]}).write_parquet(pets / "features.parquet")
    assert read(pets).classes == ("cat", "dog")


def test_a_saved_manifest_stays_one(pets, tmp_path):
    folder = read(pets).save(tmp_path / "saved")
    assert read(folder / "manifest.parquet").root == pets


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hub: (hub / "data/train-00001-of-00002.parquet").unlink(), "of 2 shards of 'train' number 1 is missing"),
        (lambda hub: (hub / "data/train-00001-of-00002.parquet").write_bytes(b"PAR1xxPAR1"), "train-00001.*cannot be read as Parquet"),
        (
            lambda hub: (hub / "data/train-00001-of-00002.parquet").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "is a Git-LFS pointer",
        ),
        (lambda hub: write_shard(hub / "data/extra.parquet", [1], [0]), "no split is named by extra.parquet"),
        (lambda hub: write_shard(hub / "data/test.parquet", [1], [0], more=[1]), "other columns than"),
        (lambda hub: write_shard(hub / "data/test.parquet", [1], [3]), "label 3 in row 0 has no name, expected 0..2"),
        (lambda hub: write_shard(hub / "data/train-00001-of-00002.parquet", [1], [3]), "label 3 in row 2 has no name"),
    ],
)
def test_damage_is_refused_in_one_line(hub, change, message):
    change(hub)
    with pytest.raises(BadData, match=message) as caught:
        read(hub)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"image": pl.Series([{"bytes": None, "path": "a.png"}], dtype=HUB_IMAGE), "label": [0]},
            "images of 'x' are not where its list says",
        ),
        ({"image": pl.Series([{"url": "a.png"}]), "label": [0]}, "the column for the path holds Struct"),
        ({"image": [b"", b"x"], "label": [0, 1]}, "row 0: neither bytes nor path"),
        ({"image": [b"\x89PNG"], "label": [0]}, "1 of 1 images cannot be read"),
        ({"image": [b"x"], "label": [0.5]}, "label '0.5' in row 0"),
        ({"image": [b"x"], "label": [None]}, "row 0 has no label"),
        ({"image": [1], "label": [0]}, "the column for the path holds Int64, expected text"),
        ({"a": [1], "label": [0]}, "no column is recognised as path among 'a', 'label'"),
        ({"image": pl.Series([], dtype=pl.Binary), "label": pl.Series([], dtype=pl.Int64)}, "no rows"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, table, message):
    pl.DataFrame(table).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(BadData, match=message):
        check_sound(read(tmp_path / "x.parquet"))


def test_root_means_nothing_for_images_in_the_table(hub, tmp_path):
    with pytest.raises(BadValue, match="leave root out"):
        read(hub, root=tmp_path)


def test_files_that_name_the_classes_otherwise_are_refused(hub):
    """The same number would mean another class in each file."""
    write_shard(hub / "data/test-00000-of-00001.parquet", [60], [0], names=list(reversed(NAMES)))
    with pytest.raises(BadData, match="name the classes otherwise"):
        read(hub)


def as_refused_or_read(file: Path) -> str:
    """Read a file that may be damaged: a manifest, or one line."""
    try:
        said = repr(read(file))
    except TailwiseError as error:
        said = str(error)
    assert "\n" not in said
    return said


def test_a_file_cut_off_anywhere_is_refused_in_one_line(tmp_path):
    whole = write_shard(tmp_path / "x.parquet", [1, 2, 3], [0, 1, 2]).read_bytes()
    cut = tmp_path / "cut.parquet"
    for length in range(0, len(whole) - 1, 37):
        cut.write_bytes(whole[:length])
        assert "cut.parquet: cannot be read as Parquet" in as_refused_or_read(cut)


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_give_a_manifest_or_one_line(tmp_path, changes):
    content = bytearray(write_shard(tmp_path / "x.parquet", [1, 2, 3], [0, 1, 2]).read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    (tmp_path / "x.parquet").write_bytes(content)
    as_refused_or_read(tmp_path / "x.parquet")
