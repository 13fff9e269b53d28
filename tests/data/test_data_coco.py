"""COCO-style JSON: joined by id in every dialect, and what does not fit is counted, never dropped in silence."""

from __future__ import annotations

import copy
import gzip
import json
import random

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data import Manifest, check_sound, check_trainable, read
from tailwise.data.formats import detect
from tailwise.errors import BadData, TailwiseError

HERBARIUM = {
    "annotations": [
        {"genus_id": 1, "institution_id": 37, "category_id": 0, "image_id": "00000__001"},
        {"genus_id": 1, "institution_id": 37, "category_id": 0, "image_id": "00000__007"},
        {"genus_id": 2, "institution_id": 37, "category_id": 5, "image_id": "00005__001"},
        {"genus_id": 1, "institution_id": 37, "category_id": 10, "image_id": "00010__001"},
    ],
    "images": [
        {"image_id": key, "file_name": f"{key[:3]}/{key[3:5]}/{key}.jpg", "license": 1}
        for key in ("00000__001", "00000__007", "00005__001", "00010__001")
    ],
    "categories": [
        {
            "category_id": class_id,
            "scientificName": f"{genus} {name} Mill.",
            "family": "Pinaceae",
            "genus": genus,
            "species": name,
            "authors": "Mill.",
        }
        for class_id, genus, name in ((10, "Abies", "nova"), (0, "Abies", "alba"), (2, "Pinus", "sola"), (5, "Pinus", "mugo"))
    ],
    "genera": [{"genus_id": 1, "genus": "Abies"}, {"genus_id": 2, "genus": "Pinus"}],
    "institutions": [{"institution_id": 37, "collectionCode": "ny"}],
    "distances": [{"genus_id_x": 1, "genus_id_y": 2, "distance": 123.4}],
    "license": [{"id": 1, "name": "..", "url": ".."}],
}
HERBARIUM_TEST = [{"image_id": "0", "file_name": "000/test-000000.jpg", "license": 1}]
INATURALIST = {
    "info": {"year": 2018},
    "images": [
        {"id": n, "file_name": f"train_val2018/Aves/{c}/{n}.jpg", "width": 8, "height": 6} for n, c in ((7, 2820), (11, 31), (9, 31))
    ],
    "categories": [
        {"id": 2820, "name": "Anas platyrhynchos", "supercategory": "Aves", "class": "Aves", "genus": "Anas"},
        {"id": 31, "name": "Parus major", "supercategory": "Aves", "class": "Aves", "genus": "Parus"},
    ],
    "annotations": [{"id": n, "image_id": n, "category_id": c} for n, c in ((7, 2820), (11, 31), (9, 31))],
}
LVIS = {
    "images": [
        {"id": 1, "coco_url": "http://images.cocodataset.org/train2017/000000000001.jpg", "neg_category_ids": [2]},
        {"id": 2, "coco_url": "http://images.cocodataset.org/train2017/000000000002.jpg", "neg_category_ids": []},
        {"id": 3, "coco_url": "http://images.cocodataset.org/train2017/000000000003.jpg", "neg_category_ids": []},
    ],
    "annotations": [
        {"id": n, "image_id": image, "category_id": class_id, "bbox": [1.0, 2.0, 3.0, 4.0], "area": 12.0, "segmentation": [[1.0, 2.0]]}
        for n, (image, class_id) in enumerate([(1, 3), (1, 1), (1, 3), (2, 3)])
    ],
    "categories": [
        {
            "id": n,
            "name": name,
            "synset": f"{name}.n.01",
            "frequency": letter,
            "image_count": count,
            "instance_count": 9,
            "synonyms": [name],
        }
        for n, name, letter, count in ((1, "acorn", "r", 1), (2, "bat", "r", 0), (3, "cup", "c", 2))
    ],
}


@pytest.fixture
def write(tmp_path):
    def save(value, name="train_metadata.json"):
        file = tmp_path / "set" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, (str, bytes)) else json.dumps(value)
        content = text.encode() if isinstance(text, str) else text
        file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return file

    return save


def table(found: Manifest) -> dict[str, str | None]:
    """Id of each image -> id of its class."""
    ids = found.class_table["class_id"]
    return {id_: None if label is None else ids[label] for id_, label in found.rows.select("id", "label").iter_rows()}


def kinds(found: Manifest) -> dict[str, tuple[str, int]]:
    return {finding.kind: (finding.severity, finding.count) for finding in found.origin.findings}


# --- dialects -------------------------------------------------------------------------------------------------------------


def test_herbarium_2022_with_its_test_list_and_folders(write, tmp_path, write_image):
    write(HERBARIUM)
    folder = write(HERBARIUM_TEST, "test_metadata.json").parent
    for image in HERBARIUM["images"]:
        write_image(folder / "train_images" / image["file_name"])
    write_image(folder / "test_images" / "000/test-000000.jpg")
    found = read(folder)
    assert found.root == folder
    assert all((folder / path).is_file() for path in found.rows["path"])
    assert table(found) == {"00000__001": "0", "00000__007": "0", "00005__001": "5", "00010__001": "10", "0": None}
    assert found.class_table["class_id"].to_list() == ["0", "2", "5", "10"]  # sorted as numbers, the gap kept
    assert found.counts() == (2, 0, 1, 1)
    assert found.class_table["genus"].to_list() == ["Abies", "Pinus", "Pinus", "Abies"]
    assert found.classes[0] == "Abies alba Mill."
    assert found.rows.filter(pl.col("split") == "test")["path"].to_list() == ["test_images/000/test-000000.jpg"]
    check_sound(found)
    assert check_trainable(found, "drop").counts() == (2, 1, 1)
    assert kinds(found) == {"gap-in-class-ids": ("note", 7)}
    assert detect(folder).name == "coco"


def test_every_list_is_counted_with_its_first_record(write):
    tables = {one.name.rpartition(": ")[2]: (one.records, one.first) for one in read(write(HERBARIUM)).origin.tables}
    assert {name: records for name, (records, _) in tables.items()} == {
        **{"annotations": 4, "images": 4, "categories": 4, "genera": 2, "institutions": 1, "distances": 1, "license": 1},
    }
    assert tables["distances"][1] == {"genus_id_x": 1, "genus_id_y": 2, "distance": 123.4}
    assert tables["annotations"][1] == HERBARIUM["annotations"][0]


@pytest.mark.parametrize("name", ["train2018.json", "train2018.json.gz"])
def test_inaturalist_has_a_hierarchy_and_gaps(write, name):
    found = read(write(INATURALIST, name))
    assert table(found) == {"7": "2820", "11": "31", "9": "31"}
    assert found.classes == ("Parus major", "Anas platyrhynchos")
    assert found.class_table.columns == ["class_id", "class", "genus", "supercategory"]
    assert (found.splits, found.name) == (("train",), "train2018")


def test_names_beside_the_file_win_over_hidden_ones(write):
    hidden = copy.deepcopy(INATURALIST)
    for category in hidden["categories"]:
        category["name"] = str(category["id"])
    file = write(hidden, "train2018.json")
    write([{"id": 31, "name": "Parus major", "supercategory": "Birds"}], "categories.json")
    found = read(file)
    assert found.classes == ("Parus major", "2820")
    assert "names of the classes are those of categories.json" in found.provenance


def test_herbarium_2020_and_2021_lie_in_folders_of_splits(write, write_image):
    whole = {
        "images": [{"id": 1, "file_name": "images/000/00/1.jpg"}, {"id": 2, "file_name": "images/000/01/2.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 2, "category_id": 1, "region_id": 3},
            {"id": 2, "image_id": 1, "category_id": 0, "region_id": 3},
        ],
        "categories": [{"id": 0, "name": "A a", "family": "F", "genus": "A"}, {"id": 1, "name": "B b", "family": "F", "order": "O"}],
        "regions": [{"id": 3, "name": "?"}],
    }
    folder = write(whole, "train/metadata.json").parent.parent
    write({"images": [{"id": 3, "file_name": "images/000/3.jpg"}]}, "test/metadata.json")
    for path in ("train/images/000/00/1.jpg", "train/images/000/01/2.jpg", "test/images/000/3.jpg"):
        write_image(folder / path)
    found = read(folder)
    assert table(found) == {"1": "0", "2": "1", "3": None}
    assert sorted(found.rows["path"]) == ["test/images/000/3.jpg", "train/images/000/00/1.jpg", "train/images/000/01/2.jpg"]
    assert found.root == folder


def test_lvis_has_several_classes_an_image_each_counted_once(write):
    found = read(write(LVIS, "lvis_v1_train.json"))
    assert (found.task, found.counts()) == ("multi-label", (1, 0, 2))
    assert dict(found.rows.select("id", "targets").iter_rows()) == {"1": [0, 2], "2": [2], "3": []}
    assert found.rows["path"].to_list()[0] == "train2017/000000000001.jpg"
    assert found.class_table["frequency"].to_list() == ["r", "r", "c"]
    assert [str(n) for n in found.counts()] == found.class_table["image_count"].to_list()
    with pytest.raises(BadData, match="multi-label"):
        check_trainable(found)


# --- joined by id ---------------------------------------------------------------------------------------------------------


def test_the_order_of_records_changes_nothing(write):
    first = read(write(HERBARIUM))
    for seed in range(5):
        shuffled = copy.deepcopy(HERBARIUM)
        for records in shuffled.values():
            random.Random(seed).shuffle(records)
        again = read(write(shuffled))
        assert again.rows.equals(first.rows)
        assert again.classes == first.classes


def changed(**lists):
    return {**copy.deepcopy(HERBARIUM), **lists}


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"annotations": HERBARIUM["annotations"][1:]}, {"image-without-annotation": ("warning", 1), "unequal-numbers": ("note", 1)}),
        ({"images": HERBARIUM["images"][1:]}, {"annotation-without-image": ("warning", 1), "unequal-numbers": ("note", 1)}),
        (
            {"annotations": [*HERBARIUM["annotations"][:3], {"image_id": "00010__001", "category_id": 99}]},
            {"unknown-class": ("warning", 1)},
        ),
        ({"annotations": [*HERBARIUM["annotations"], HERBARIUM["annotations"][0]]}, {"unequal-numbers": ("note", 1)}),
        (
            {"annotations": [*HERBARIUM["annotations"], {"image_id": "00000__001", "category_id": 5}]},
            {"several-classes": ("error", 1), "unequal-numbers": ("note", 1)},
        ),
        ({"images": [*HERBARIUM["images"], HERBARIUM["images"][0]]}, {"image-twice": ("error", 1), "unequal-numbers": ("note", 1)}),
        ({"categories": [*HERBARIUM["categories"], HERBARIUM["categories"][0]]}, {"class-twice": ("warning", 1)}),
        (
            {"categories": [*HERBARIUM["categories"], {"category_id": 10, "scientificName": "Other"}]},
            {"class-twice": ("warning", 1), "class-with-two-names": ("error", 1)},
        ),
        ({"categories": [*HERBARIUM["categories"][:3], {"category_id": 5}]}, {"class-without-name": ("warning", 1)}),
        (
            {"annotations": [{**HERBARIUM["annotations"][0], "genus_id": 2}, *HERBARIUM["annotations"][1:]]},
            {"genus-unlike-class": ("warning", 1)},
        ),
    ],
)
def test_what_does_not_fit_is_counted_and_never_dropped(write, lists, expected):
    found = read(write(changed(**lists)))
    assert kinds(found) == {"gap-in-class-ids": ("note", 7), **expected}
    images = {one["image_id"] for one in lists.get("images", HERBARIUM["images"])}
    assert set(found.rows["id"]) == images


def test_of_records_with_one_id_the_first_counts(write):
    other = {"image_id": "00000__001", "file_name": "other.jpg"}
    paths = dict(read(write(changed(images=[*HERBARIUM["images"], other]))).rows.select("id", "path").iter_rows())
    assert paths["00000__001"] == "000/00/00000__001.jpg"


def test_a_bare_list_is_test_whatever_its_name(write, tmp_path):
    train = write(HERBARIUM)
    train.with_name("herbarium.json").write_text(json.dumps(HERBARIUM_TEST))
    assert read(train.parent).rows["split"].value_counts().sort("split").rows() == [("test", 1), ("train", 4)]


def test_ids_stay_text(write):
    text = changed(images=[{"image_id": "007", "file_name": "a.jpg"}], annotations=[{"image_id": "007", "category_id": 0}])
    assert table(read(write(text))) == {"007": "0"}
    mixed = changed(images=[{"image_id": "7", "file_name": "a.jpg"}], annotations=[{"image_id": 7, "category_id": 0}])
    found = read(write(mixed))
    assert table(found) == {"7": "0"}
    assert kinds(found)["mixed-ids"] == ("note", 1)
    words = changed(categories=[{"category_id": key, "name": key} for key in "ba"], annotations=[], genera=[])
    words["annotations"] = [{"image_id": one["image_id"], "category_id": "b"} for one in HERBARIUM["images"]]
    assert read(write(words)).class_table["class_id"].to_list() == ["a", "b"]


def test_empty_boxes_are_found(write):
    lvis = copy.deepcopy(LVIS)
    for place, box in ((0, [1.0, 2.0, 0.0, 4.0]), (1, [1.0, 2.0, 3.0]), (2, [1.0, None, 3.0, 4.0])):
        lvis["annotations"][place]["bbox"] = box
    found = next(finding for finding in read(write(lvis)).origin.findings if finding.kind == "empty-box")
    assert (found.count, found.ids) == (3, ("0", "1", "2"))
    assert "annotation 0: [1.0, 2.0, 0.0, 4.0]" in found.says


def test_a_conflict_keeps_the_set_from_training(write, tmp_path, write_image):
    file = write(changed(annotations=[*HERBARIUM["annotations"], {"image_id": "00000__001", "category_id": 5}]))
    with pytest.raises(BadData, match="1 images have annotations of several classes: 00000__001"):
        check_sound(read(file))
    labels = dict(read(file).rows.select("id", "label").iter_rows())
    assert labels["00000__001"] is None
    assert sum(label is not None for label in labels.values()) == len(labels) - 1


# --- broken and hostile ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.77, 0.999])
def test_a_file_that_was_cut_off_is_said_to_be(write, part):
    text = json.dumps(HERBARIUM)
    with pytest.raises(BadData, match=r"ends inside a record at byte .*download incomplete"):
        read(write(text[: int(part * len(text))]), format="coco")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": ' + "[" * 1_000_000, "nested too deeply"),
        ('{"images": [], "images": [], "annotations": []}', "duplicate key 'images'"),
        ('{"images": [{"id": 1, "file_name": "a"}], "annotations": [], "other": [1], "annotations": []}', "duplicate key 'annotations'"),
        ('{"images": {"id": 1}}', "'images' is an object, expected a list"),
        ('{"images": [{"id": 1.5, "file_name": "a.jpg"}]}', "list 'images'"),
        ('{"images": [{"id": 1, "file_name": 3}]}', r"list 'images': Expected `str \| null`, got `int` - at `\$\[0\].file_name`"),
        ('{"images": [{"id": 1}]}', "image record 0 has no id or no file_name"),
        ('{"images": [{"id": 1, "file_name": "../a.jpg"}]}', "leaves the root"),
        ('{"images": [{"id": 1, "file_name": "/a.jpg"}]}', "is absolute"),
        ('{"images": [{"id": 1, "file_name": "a.jpg"}]}', "no image has a label"),
        ('{"images": []}', "no images"),
        ('{"images": [{"id": NaN, "file_name": "a.jpg"}]}', "malformed"),
        ('{"images": [{"id": ' + "9" * 10_000 + ', "file_name": "a.jpg"}]}', "list 'images'"),
        (b'{"images": [{"id": 1, "file_name": "\xff.jpg"}]}', "not UTF-8 at byte 36"),
        ("", "is empty"),
        ("3", "no JSON"),
        ("<!doctype html><html>", "is a web page"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git-LFS pointer"),
    ],
)
def test_files_that_are_none_are_refused_in_one_line(write, text, said):
    with pytest.raises(BadData, match=said) as caught:
        read(write(text), format="coco")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_other_json_is_not_taken_for_coco(write):
    for text in ('{"0": 147}', '[["n01440764", "tench"]]', '{"name": "x", "version": "1"}'):
        with pytest.raises(BadData, match="not recognised"):
            read(write(text, "other.json"))


def test_images_that_are_not_where_the_user_says(write, tmp_path):
    with pytest.raises(BadData, match="none of its images is in"):
        read(write(HERBARIUM), root=tmp_path)
    with pytest.raises(BadData, match="which is no folder"):
        read(write(HERBARIUM), root=tmp_path / "nowhere")


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_a_manifest_or_one_line(write, data):
    whole = bytearray(json.dumps(data.draw(st.sampled_from([HERBARIUM, INATURALIST, LVIS, HERBARIUM_TEST]))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        piece = data.draw(st.sampled_from([b"", b"null", b"[", b"}", b'"', b"-1", b"1e400", b"\xff", b"\0", b"{}", b"[[]]", b'"../x"']))
        whole[place : place + data.draw(st.integers(0, 12))] = piece
    said = ""
    try:
        read(write(bytes(whole)), format="coco")
    except TailwiseError as error:
        said = str(error)
    assert "\n" not in said


# --- real files -----------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_published_lvis_file(real_data):
    found = read(real_data / "metadata" / "lvis" / "v0.5_val_100.trimmed.json.gz")
    letters = found.class_table["frequency"].value_counts()
    assert dict(letters.iter_rows()) == {"r": 454, "c": 461, "f": 315}
    assert found.class_table["class_id"].to_list() == [str(n) for n in range(1, 1_231)]
    assert (found.task, found.splits, found.rows.height) == ("multi-label", ("val",), 100)


@pytest.mark.real
def test_the_published_classes_of_lvis_have_the_groups_of_their_letters(real_data):
    v1 = pl.read_csv(real_data / "metadata" / "lvis" / "v1_categories.csv")
    count = pl.col("image_count")
    letter = pl.when(count > 100).then(pl.lit("f")).when(count > 10).then(pl.lit("c")).otherwise(pl.lit("r"))
    assert v1.filter(letter != pl.col("frequency")).is_empty()
    assert dict(v1["frequency"].value_counts().iter_rows()) == {"f": 405, "c": 461, "r": 337}
    assert (v1.height, v1["image_count"].sum(), v1["image_count"].max(), v1["image_count"].min()) == (1_203, 360_952, 1_977, 1)
    many, few = v1.filter(count > 100).height, v1.filter(count < 20).height
    assert (many, v1.height - many - few, few) == (405, 334, 464)


@pytest.mark.real
def test_the_published_names_of_inaturalist_2018(real_data, write):
    categories = json.loads(gzip.decompress((real_data / "metadata" / "inaturalist2018" / "categories.json.gz").read_bytes()))
    images = [{"id": one["id"], "file_name": f"train_val2018/{one['id']}.jpg"} for one in categories]
    annotations = [{"id": one["id"], "image_id": one["id"], "category_id": one["id"]} for one in categories]
    file = write({"images": images, "annotations": annotations, "categories": [{"id": one["id"], "name": "?"} for one in categories]})
    write(categories, "categories.json")
    found = read(file)
    assert found.counts() == (1,) * 8_142
    assert len(set(found.classes)) == 8_142
    assert "name-of-several-classes" not in kinds(found)
    published = {"Plantae": 2917, "Insecta": 2031, "Aves": 1258, "Actinopterygii": 369, "Fungi": 321, "Reptilia": 284, "Mollusca": 262}
    published |= {"Mammalia": 234, "Animalia": 178, "Amphibia": 144, "Arachnida": 114, "Chromista": 25, "Protozoa": 4, "Bacteria": 1}
    assert dict(found.class_table["supercategory"].value_counts().iter_rows()) == published


@pytest.mark.real
def test_a_published_list_with_paths_of_its_authors_machine(real_data, tmp_path, write_image):
    found = read(real_data / "metadata" / "places-lt" / "ncl_val.json.excerpt.json")
    assert (found.rows.height, found.splits, found.has_files) == (20, ("val",), False)
    write_image(tmp_path / "data_256" / found.rows["path"][0].split("/", 5)[-1])
    assert len(found.rows["path"].unique()) == 20
