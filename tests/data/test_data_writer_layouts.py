"""Each layout: what is written, read back by its own reader, is the same set."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import tailwise.data.writers.parquet as parquet_layout
from tailwise.data import from_arrays, read, split
from tailwise.data.manifest import Manifest
from tailwise.data.writers.writing import write_set
from tailwise.errors import BadData, BadValue, OutputExists, UnknownName

CLASSES = ('Böse, "Katze"', "dog", "three-toed sloth")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def zoo(tmp_path: Path) -> Manifest:
    """Three classes of 10, 6 and 5 images of their own pixels and sizes, split 60/20/20; names with blanks, commas and quotes."""
    files = []
    for label, images in enumerate((10, 6, 5)):
        for number in range(images):
            file = tmp_path / "zoo" / CLASSES[label] / f"{number} a.{'jpg' if number % 2 else 'png'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8 + number, 5 + label), (20 * number, 80 * label, 7)).save(file)
            files.append((f"{CLASSES[label]}/{file.name}", label))
    rows = pl.DataFrame({"id": [path for path, _ in files], "path": [path for path, _ in files], "label": [label for _, label in files]})
    whole = Manifest(rows.with_columns(split=pl.lit("train")), CLASSES, tmp_path / "zoo", name="zoo")
    return split(whole, "60/20/20")


def found(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """What every image is: content -> class, split."""
    rows = manifest.with_content().rows
    return {content: (manifest.classes[label], part) for content, label, part in rows.select("content", "label", "split").iter_rows()}


def alone(folder: Path) -> Path:
    """The folder without what only tailwise wrote into it."""
    copy = folder.with_name(f"{folder.name}-alone")
    shutil.copytree(folder, copy)
    for name in ("manifest.parquet", "card.json", "README.md"):
        (copy / name).unlink(missing_ok=True)
    return copy


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


LAYOUTS = ["folder", "mini-imagenet-lt", "parquet", "hub", "coco", "list"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_written_reads_back_equal(zoo, tmp_path, layout):
    built = write_set(zoo, tmp_path / "out", layout)
    assert read(tmp_path / "out").identity == built.manifest.identity == zoo.identity
    if layout == "coco":
        parts = [read(file, root=tmp_path / "out") for file in sorted((tmp_path / "out" / "annotations").glob("*.json"))]
        of_split = {file.stem.removeprefix("instances_") for file in (tmp_path / "out" / "annotations").glob("*.json")}
        assert of_split == {"train", "val", "test"}
        assert {key: value for part in parts for key, value in found(part).items()} == found(zoo)
        return
    again = read(alone(tmp_path / "out"))
    if layout == "mini-imagenet-lt":  # without wnids its classes have no names
        assert found(again) == {content: (str(CLASSES.index(name)), part) for content, (name, part) in found(zoo).items()}
        return
    names = [name.replace('"', "_") if layout == "folder" else name for name in CLASSES]  # a folder's name must be safe everywhere
    assert found(again) == {content: (names[CLASSES.index(name)], part) for content, (name, part) in found(zoo).items()}
    if layout in ("parquet", "hub"):
        assert set(again.rows["id"]) == set(zoo.rows["id"])
    if layout == "parquet":
        assert again.identity == zoo.identity


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_sets_give_equal_bytes_and_are_already_done(zoo, tmp_path, layout):
    backwards = zoo.replace(rows=zoo.rows.reverse())
    first = write_set(zoo, tmp_path / "a" / "out", layout)
    write_set(backwards, tmp_path / "b" / "out", layout)
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    assert not first.stood
    assert write_set(backwards, tmp_path / "a" / "out", layout).stood
    with pytest.raises(OutputExists, match="another set"):
        write_set(zoo.replace(rows=zoo.rows.head(9)), tmp_path / "a" / "out", layout)
    other = "hub" if layout == "folder" else "folder"
    with pytest.raises(OutputExists, match=f"was built as {layout}, not as {other}"):
        write_set(zoo, tmp_path / "a" / "out", other)
    write_set(zoo, tmp_path / "a" / "out", other, force=True)
    assert read(tmp_path / "a" / "out").identity == zoo.identity


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_changed_or_added_file_beside_the_images_is_seen(zoo, tmp_path, layout):
    write_set(zoo, tmp_path / "out", layout)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert "README.md" in card["files"]
    for name in card["files"]:
        file = tmp_path / "out" / name
        before = file.read_bytes()
        assert hashlib.blake2b(before, digest_size=16).hexdigest() == card["files"][name]
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(OutputExists, match=rf"is damaged: 1 files are missing or have changed, {name}"):
            write_set(zoo, tmp_path / "out", layout)
        file.write_bytes(before)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExists, match=r"added after it was built.*notes\.txt"):
        write_set(zoo.replace(rows=zoo.rows.head(9)), tmp_path / "out", layout, force=True)


def test_the_layouts_look_as_their_readers_want_them(zoo, tmp_path):
    for layout in ("hub", "coco", "list", "parquet"):
        write_set(zoo, tmp_path / layout, layout)
    head, first = (tmp_path / "hub/validation/metadata.csv").read_text().splitlines()[:2]
    assert head == "file_name,label,id"
    assert first.startswith('"Böse, _Katze_/') or first.startswith("dog/")
    assert {place.name for place in (tmp_path / "hub").iterdir() if place.is_dir()} == {"train", "validation", "test"}
    lines = (tmp_path / "list/train.txt").read_text().splitlines()
    assert [int(line.rsplit(" ", 1)[1]) for line in lines] == [0] * 6 + [1] * 4 + [2] * 3
    assert all((tmp_path / "list" / line.rsplit(" ", 1)[0]).is_file() for line in lines)
    assert (tmp_path / "list/classnames.txt").read_text().splitlines() == [f"{label} {name}" for label, name in enumerate(CLASSES)]
    coco = {part: json.loads((tmp_path / f"coco/annotations/instances_{part}.json").read_text()) for part in ("train", "val", "test")}
    images = [image for part in coco.values() for image in part["images"]]
    assert sorted(image["id"] for image in images) == list(range(1, 22))
    assert sorted(note["id"] for part in coco.values() for note in part["annotations"]) == list(range(1, 22))
    for image in images:
        assert Image.open(tmp_path / "coco" / image["file_name"]).size == (image["width"], image["height"])
    assert coco["val"]["categories"] == [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    table = pl.read_parquet(tmp_path / "parquet/data/validation-00000-of-00001.parquet")
    assert table.columns == ["image", "label", "id"]
    features = json.loads(pl.read_parquet_metadata(tmp_path / "parquet/data/train-00000-of-00001.parquet")["huggingface"])["info"][
        "features"
    ]
    assert features["label"] == {"_type": "ClassLabel", "names": list(CLASSES)}
    for row in table.iter_rows(named=True):
        assert row["image"]["bytes"] == (tmp_path / "zoo" / row["id"]).read_bytes()
    assert not (tmp_path / "parquet/manifest.parquet").exists()


def test_coco_joined_by_id_is_the_set(zoo, tmp_path):
    write_set(zoo, tmp_path / "out", "coco")
    joined = {}
    for part in ("train", "val", "test"):
        record = json.loads((tmp_path / f"out/annotations/instances_{part}.json").read_text())
        files = {image["id"]: image["file_name"] for image in record["images"]}
        names = {category["id"]: category["name"] for category in record["categories"]}
        for note in record["annotations"]:
            data = (tmp_path / "out" / files[note["image_id"]]).read_bytes()
            joined[hashlib.blake2b(data, digest_size=16).hexdigest()] = (names[note["category_id"]], part)
    assert joined == found(zoo)


def test_parquet_is_cut_into_files_of_a_size_and_read_back(zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_layout, "SHARD_BYTES", 300)
    write_set(zoo, tmp_path / "out", "parquet")
    names = sorted(path.name for path in (tmp_path / "out/data").iterdir())
    train = [name for name in names if name.startswith("train")]
    assert len(train) > 2
    assert train == [f"train-{number:05d}-of-{len(train):05d}.parquet" for number in range(len(train))]
    assert read(tmp_path / "out").identity == zoo.identity
    assert pl.concat([pl.read_parquet(tmp_path / "out/data" / name) for name in train])["id"].is_sorted()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_become_png_in_every_layout(tmp_path, layout):
    images = np.random.default_rng(0).integers(0, 256, (9, 5, 6, 3), dtype=np.uint8)
    whole = from_arrays([0, 1, 2] * 3, images=images, classes=["a", "b", "c"])
    built = write_set(whole, tmp_path / "out", layout)
    again = read(tmp_path / "out")
    assert again.identity == built.manifest.identity
    assert (built.linked, built.copied) == (0, 0)
    for row in again.rows.iter_rows(named=True):
        np.testing.assert_array_equal(np.asarray(Image.open(again.root / row["path"])), images[int(row["id"].split("/")[-1])])
    assert write_set(whole, tmp_path / "out", layout).stood
    with pytest.raises(BadValue, match="leave link out"):
        write_set(whole, tmp_path / "linked", layout, link=True)


def test_parquet_of_what_was_built_from_arrays_holds_those_files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 6), dtype=np.uint8)
    write_set(from_arrays([0, 1] * 3, images=images), tmp_path / "built")
    packed = write_set(read(tmp_path / "built"), tmp_path / "packed", "parquet").manifest
    again = read(tmp_path / "packed")
    assert again.identity == packed.identity
    assert again.replace(rows=again.rows.drop("content")).identity == packed.identity


def test_weights_are_kept_by_parquet_and_hub(zoo, tmp_path):
    weighed = zoo.replace(rows=zoo.rows.with_columns(weight=pl.Series(np.linspace(0.25, 4, zoo.rows.height))))
    for layout in ("parquet", "hub"):
        write_set(weighed, tmp_path / layout, layout)
        again = read(alone(tmp_path / layout))
        expected = dict(weighed.rows.select("id", "weight").iter_rows())
        assert dict(again.rows.select("id", "weight").iter_rows()) == expected
    assert again.classes == tuple(sorted(CLASSES))


def test_an_empty_class_keeps_its_place_where_the_layout_has_one(zoo, tmp_path):
    whole = zoo.replace(rows=zoo.rows.filter(pl.col("label") != 1))
    for layout in ("parquet", "coco", "list"):
        write_set(whole, tmp_path / layout, layout)
    assert read(tmp_path / "parquet").classes == CLASSES
    assert [record["name"] for record in json.loads((tmp_path / "coco/annotations/instances_val.json").read_text())["categories"]] == list(
        CLASSES
    )
    assert len((tmp_path / "list/classnames.txt").read_text().splitlines()) == 3


def test_levels_and_ids_of_the_source_are_categories_of_coco(zoo, tmp_path):
    known = pl.DataFrame({"class_id": ["3", "10", "12"], "family": ["Felidae", "Canidae", None]})
    write_set(zoo.replace(class_table=known), tmp_path / "out", "coco")
    found = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert found["categories"] == [
        {"id": 3, "name": CLASSES[0], "family": "Felidae"},
        {"id": 10, "name": CLASSES[1], "family": "Canidae"},
        {"id": 12, "name": CLASSES[2]},
    ]
    assert {note["category_id"] for note in found["annotations"]} == {3, 10, 12}
    odd = known.with_columns(class_id=pl.Series(["x", "10", "12"]))
    write_set(zoo.replace(class_table=odd), tmp_path / "odd", "coco")
    assert [record["id"] for record in json.loads((tmp_path / "odd/annotations/instances_train.json").read_text())["categories"]] == [
        0,
        1,
        2,
    ]


def test_several_labels_an_image_are_annotations_of_coco_and_refused_elsewhere(zoo, tmp_path):
    targets = pl.Series("targets", [[label, (label + 1) % 3] for label in zoo.rows["label"]], dtype=pl.List(pl.Int32))
    several = zoo.replace(rows=zoo.rows.with_columns(targets, label=pl.lit(None, pl.Int32)))
    built = write_set(several, tmp_path / "out", "coco")
    assert built.manifest.identity == several.identity
    notes = [json.loads(file.read_text())["annotations"] for file in (tmp_path / "out/annotations").iterdir()]
    assert sum(map(len, notes)) == 42
    assert (tmp_path / "out/train").is_dir()
    for layout in set(LAYOUTS) - {"coco"}:
        with pytest.raises(BadData, match=r"several labels an image, which .* cannot hold; write it as coco"):
            write_set(several, tmp_path / "none", layout)


@pytest.mark.parametrize("layout", ["coco", "list"])
def test_a_list_without_images_is_written_as_a_list_with_its_own_paths(zoo, tmp_path, layout):
    lost = zoo.replace(root=None, rows=zoo.rows.with_columns(path="far/" + pl.col("path")))
    built = write_set(lost, tmp_path / "out", layout)
    assert "which are not there themselves" in built.manifest.provenance[-1]
    assert (built.linked, built.copied, built.manifest.has_files) == (0, 0, False)
    assert not list((tmp_path / "out").rglob("*.png"))
    assert read(tmp_path / "out").identity == lost.identity
    assert write_set(lost, tmp_path / "out", layout).stood
    text = (tmp_path / "out" / ("train.txt" if layout == "list" else "annotations/instances_train.json")).read_text()
    assert "far/dog/" in text
    assert "width" not in text


@pytest.mark.parametrize("layout", ["folder", "hub", "parquet"])
def test_a_list_without_images_is_refused_where_images_are_all(zoo, tmp_path, layout):
    with pytest.raises(BadData, match=r"pass --root .*, or write the list alone as mini-imagenet-lt, coco, list"):
        write_set(zoo.replace(root=None), tmp_path / "out", layout)
    assert not (tmp_path / "out").exists()


def test_generated_images_and_numbers_are_refused_where_they_would_be_lost(zoo, tmp_path):
    generated = zoo.replace(rows=zoo.rows.with_columns(source=pl.when(pl.col("split") == "train").then(pl.lit("generated"))))
    with pytest.raises(BadData, match="cannot tell from real ones"):
        write_set(generated, tmp_path / "out", "parquet")
    aged = zoo.replace(rows=zoo.rows.with_columns(value=pl.col("label") * 1.5))
    assert write_set(aged, tmp_path / "aged").manifest.identity == aged.identity
    with pytest.raises(BadData, match="has numbers for labels, which COCO-style JSON cannot hold"):
        write_set(aged, tmp_path / "out", "coco")
    with pytest.raises(UnknownName, match=r"no layout is called 'foldr'\. Did you mean 'folder'"):
        write_set(zoo, tmp_path / "out", "foldr")


def test_the_page_says_what_the_card_says_and_no_time(zoo, tmp_path):
    said = {
        "source": {"name": "zoo", "format": "table"},
        "rule": {"split": "60/20/20", "tail": None, "class_order": "index", "empty_classes": "refuse"},
        "seed": 5,
        "licence": "CC0",
    }
    write_set(zoo, tmp_path / "out", said=said)
    page = (tmp_path / "out/README.md").read_text()
    assert "| all | 3 | 13 | 4 | 4 |" in page
    for line in ("- source: zoo (table)", "- split: 60/20/20", "- tail: none", "- seed: 5", "- licence: CC0", zoo.identity):
        assert line in page
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert {key: card[key] for key in said} == said
    assert card["layout"] == "folder"
    with pytest.raises(OutputExists, match="states another licence"):
        write_set(zoo, tmp_path / "out", said={**said, "licence": "other"})
