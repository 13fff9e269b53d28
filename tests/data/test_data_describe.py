"""What is said of a set before anything trains."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import statistics
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tailwise.data import Manifest, from_arrays, read, read_folder, split, thin
from tailwise.data import headers as headers_module
from tailwise.data.advice import DATA, name_data
from tailwise.data.describe import describe
from tailwise.data.headers import Spread, read_headers
from tailwise.data.origin import Finding, Origin
from tailwise.errors import BadData, BadValue

TRASHNET = Path(__file__).parents[2] / "../shared/data/trashnet/trashnet128.zip"


def topics(manifest: Manifest) -> set[str]:
    return {advice.topic for advice in describe(manifest).advice}


def said(manifest: Manifest, topic: str) -> str:
    return next(advice.says for advice in describe(manifest).advice if advice.topic == topic)


def in_splits(train: list[int], val: list[int], test: list[int], size: int = 32) -> Manifest:
    """A set in memory with so many images a class and split."""
    labels, splits = [], []
    for name, counts in (("train", train), ("val", val), ("test", test)):
        for label, n in enumerate(counts):
            labels += [label] * n
            splits += [name] * n
    images = np.zeros((len(labels), size, size, 3), np.uint8)
    return from_arrays(labels, images, classes=[f"c{i}" for i in range(len(train))], split=splits, name="made")


def test_counts_splits_and_ratio_by_hand():
    found = describe(in_splits([200, 60, 20, 7, 0], [10] * 5, [12, 12, 12, 12, 0]))
    assert found.splits == {"train": 287, "val": 50, "test": 48}
    assert found.default_split is None
    assert (found.images, found.generated, found.kind) == (385, 0, "images")
    assert found.imbalance_ratio == 200 / 7
    assert found.empty_classes == ("c4",)
    assert [(c.train, c.val, c.test) for c in found.classes] == [(200, 10, 12), (60, 10, 12), (20, 10, 12), (7, 10, 12), (0, 10, 0)]
    assert [c.name for c in found.largest] == ["c0", "c1", "c2", "c3"]
    assert [c.name for c in found.smallest] == ["c3", "c2", "c1", "c0"]


def test_unevenness_in_two_numbers():
    found = describe(in_splits([200, 60, 20, 7, 0], [1] * 5, [1] * 5))
    assert found.gini == pytest.approx(sum(abs(a - b) for a in (200, 60, 20, 7, 0) for b in (200, 60, 20, 7, 0)) / (2 * 5 * 287))
    assert found.shares == (200 / 287, 200 / 287)
    assert describe(in_splits(list(range(1, 201)), [1] * 200, [1] * 200)).shares[0] == pytest.approx((200 + 199) / (200 * 201 / 2))


def test_levels_of_the_classes_have_counts_of_their_own():
    base = in_splits([200, 60, 20, 7, 0], [1] * 5, [1] * 5)
    known = pl.DataFrame({"class_id": list("abcde"), "genus": ["G", "G", "H", None, "I"], "family": ["F", "F", "F", None, "E"]})
    family, genus = describe(base.replace(class_table=known)).levels
    assert (family.name, family.groups, family.largest, family.smallest) == ("family", 2, (("F", 280),), (("F", 280),))
    assert (genus.name, genus.groups, genus.imbalance_ratio, genus.unknown) == ("genus", 3, 13.0, 1)
    assert (genus.largest, genus.smallest) == ((("G", 260), ("H", 20)), (("H", 20), ("G", 260)))


def test_domains_have_counts_a_class_and_say_which_are_empty():
    base = in_splits([3, 2], [0, 0], [0, 1])
    rows = base.rows.with_columns(domain=pl.Series(["art", "art", "photo", "art", "art", "photo"]))
    art, photo = describe(base.replace(rows=rows)).domains
    assert (art.name, art.train, art.largest, art.smallest, art.empty) == ("art", 4, 2, 2, ())
    assert (photo.name, photo.train, photo.largest, photo.smallest, photo.empty) == ("photo", 1, 1, 1, ("c1",))


def test_findings_come_gravest_first_and_are_the_readers_unless_others_are_given():
    base = in_splits([3, 2], [1, 1], [1, 1])
    note, error = Finding("gap", "note", "a gap"), Finding("clash", "error", "a clash")
    assert describe(base.replace(origin=Origin(findings=(note, error)))).findings == (error, note)
    assert describe(base.replace(origin=Origin(findings=(note,))), findings=[error]).findings == (error,)


def test_groups_are_those_of_tables_and_those_by_counts():
    found = describe(in_splits([101, 100, 20, 19, 0], [9] * 5, [9] * 5))
    assert {name: (size.classes, size.images) for name, size in found.by_counts.groups.items()} == {
        "many": (1, 101),
        "medium": (2, 120),
        "few": (2, 19),
    }
    assert found.groups == found.by_counts
    by_thirds = describe(in_splits([101, 100, 20, 19, 0], [9] * 5, [9] * 5), "thirds").groups
    assert {name: (size.classes, size.images) for name, size in by_thirds.groups.items()} == {
        "many": (2, 201),
        "medium": (2, 39),
        "few": (1, 0),
    }
    assert describe(in_splits([500, 400, 300], [9] * 3, [9] * 3)).groups.scheme == "thirds"
    with pytest.raises(BadValue, match="halves"):
        describe(in_splits([3, 3], [1, 1], [1, 1]), "halves")


def test_a_set_without_splits_is_not_split_and_is_told_what_would_be(make_set):
    manifest = make_set([100, 40, 5, 3])
    found = describe(manifest)
    assert found.splits == {"train": 148}
    assert [c.train for c in found.classes] == [100, 40, 5, 3]
    assert found.default_split == dict(split(manifest).rows["split"].value_counts().iter_rows())
    assert found.test_images == (20, 8, 1, 0)
    assert manifest.splits == ("train",)


def test_the_curve_holds_every_class_once_and_falls(make_set):
    counts = np.random.default_rng(0).integers(1, 90, 53)
    curve = describe(make_set(counts)).curve
    assert len(curve) == 20
    assert (curve[0].first, curve[-1].last) == (1, 53)
    assert all(after.first == before.last + 1 for before, after in itertools.pairwise(curve))
    assert {part.last - part.first + 1 for part in curve} == {2, 3}
    falling = sorted(counts.tolist(), reverse=True)
    for part in curve:
        inside = falling[part.first - 1 : part.last]
        assert (part.largest, part.smallest) == (inside[0], inside[-1])
        assert part.mean == pytest.approx(statistics.fmean(inside))


def test_generated_images_are_counted_apart():
    manifest = in_splits([6, 3], [2, 2], [9, 9])
    sources = pl.Series("source", ["generated" if row in (0, 6) else "real" for row in range(manifest.rows.height)])
    found = describe(manifest.replace(rows=manifest.rows.with_columns(sources)))
    assert found.generated == 2
    assert [c.train for c in found.classes] == [5, 2]
    assert found.splits["train"] == 9


def test_the_order_of_rows_changes_nothing(make_set, tmp_path, write_image):
    for number, name in enumerate(["a/1.png", "a/2.png", "b/1.png"]):
        write_image(tmp_path / "set" / name, size=(10 + number, 5))
    manifest = read_folder(tmp_path / "set")
    assert describe(manifest.replace(rows=manifest.rows.reverse())) == describe(manifest)
    assert describe(make_set([5, 3, 1], order=[8, 0, 3, 4, 2, 1, 7, 6, 5])) == describe(make_set([5, 3, 1]))


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Images of every kind: 3 colour JPEG of 40 x 30, and one each of other formats, modes and sizes."""
    (tmp_path / "zoo/a").mkdir(parents=True)
    (tmp_path / "zoo/b").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30)).save(tmp_path / f"zoo/a/{number}.jpg")
    Image.new("L", (20, 90)).save(tmp_path / "zoo/b/grey.png")
    Image.new("P", (40, 31)).save(tmp_path / "zoo/b/palette.gif")
    Image.new("RGBA", (41, 30)).save(tmp_path / "zoo/b/alpha.webp")
    Image.new("CMYK", (60, 30)).save(tmp_path / "zoo/b/print.tiff")
    Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(tmp_path / "zoo/b/deep.png")
    Image.new("RGB", (39, 30)).save(tmp_path / "zoo/b/plain.bmp")
    Image.new("L", (40, 30)).save(tmp_path / "zoo/b/plain.jpg", format="PPM")  # an ending says nothing
    return tmp_path / "zoo"


def test_headers_say_sizes_formats_and_kinds(zoo):
    found = describe(read_folder(zoo)).files
    assert (found.files, found.read, found.unreadable) == (10, 10, ())
    assert found.width == Spread(20, 40, 60)
    assert found.height == Spread(30, 30, 90)
    assert found.common_size == (40, 30)
    assert found.other_sizes == pytest.approx(5 / 10)
    assert dict(found.formats) == {"JPEG": 3, "PNG": 2, "GIF": 1, "WebP": 1, "TIFF": 1, "BMP": 1, "PNM": 1}
    assert dict(found.kinds) == {"colour": 4, "grey": 2, "palette": 1, "colour with alpha": 1, "CMYK": 1, "16-bit grey": 1}
    assert list(found.formats)[:2] == ["JPEG", "PNG"]


def test_sizes_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_headers(tmp_path, ["turned.jpg"]).common_size == (30, 40)


def test_of_many_files_a_sample_at_even_steps_is_read_and_said(zoo, monkeypatch):
    monkeypatch.setattr(headers_module, "READ_ALL", 9)
    monkeypatch.setattr(headers_module, "SAMPLE", 4)
    paths = sorted(str(path.relative_to(zoo)) for path in zoo.rglob("*.*"))
    seen = []
    monkeypatch.setattr(headers_module, "read_header", lambda file: seen.append(Path(file)) or (1, 1, "L"))
    found = read_headers(zoo, paths[4:] + paths[:4])
    assert (found.files, found.read) == (10, 4)
    assert sorted(str(file.relative_to(zoo)) for file in seen) == [paths[0], paths[3], paths[6], paths[9]]


def test_files_that_broke_since_are_named_and_the_rest_is_described(zoo):
    manifest = read_folder(zoo)
    (zoo / "a/0.jpg").write_text("no image")
    (zoo / "a/1.jpg").unlink()
    found = describe(manifest)
    assert len(found.files.unreadable) == 2
    assert sum(found.files.kinds.values()) == 8
    assert found.files.other_sizes == pytest.approx(5 / 8)  # of those that were read: one JPEG, 16-bit and PPM are 40 x 30
    assert "2 of 10 files cannot be read" in said(manifest, "unreadable-files")
    shutil.rmtree(zoo)
    with pytest.raises(BadData, match="none of 10 files is an image") as caught:
        describe(manifest)
    assert "\n" not in str(caught.value)


def test_arrays_have_shape_and_dtype():
    found = describe(read("digits"))
    assert found.files is None
    assert {name: (array.shape, array.dtype) for name, array in found.arrays.items()} == {"images": ((1797, 8, 8, 1), "uint8")}
    features = from_arrays([0, 1] * 30, features=np.zeros((60, 5)), name="f")
    assert describe(features).kind == "features"
    assert describe(features).arrays["features"].dtype == "float32"
    assert not {"tiny-images", "small-images", "detailed-images"} & topics(features)


@pytest.mark.real
def test_trashnet_is_what_its_page_says(tmp_path):
    with zipfile.ZipFile(TRASHNET) as archive:
        archive.extractall(tmp_path / "trashnet")
    found = describe(read_folder(tmp_path / "trashnet"))
    assert found.splits == {"train": 1768, "val": 328, "test": 431}
    assert [(c.name, c.train) for c in found.by_size] == [
        ("paper", 403),
        ("glass", 354),
        ("plastic", 347),
        ("cardboard", 287),
        ("metal", 286),
        ("trash", 91),
    ]
    assert found.imbalance_ratio == pytest.approx(4.4, abs=0.05)
    assert (found.files.common_size, found.files.other_sizes, dict(found.files.formats)) == ((128, 96), 0.0, {"JPEG": 2527})
    assert {advice.topic for advice in found.advice} == set()


@pytest.mark.parametrize(
    ("counts", "expected", "absent"),
    [
        # train, val, test, side
        (([300, 120], [30, 30], [50, 50], 32), {"small-images"}, {"balanced", "few-test-images", "little-val", "very-small-classes"}),
        (([300, 151], [30, 30], [50, 50], 50), {"balanced"}, {"small-images", "detailed-images", "tiny-images"}),
        (([300, 150], [30, 30], [50, 50], 50), set(), {"balanced"}),  # a ratio of exactly 2
        (([300, 5], [30, 30], [50, 50], 64), {"many-rare-classes"}, {"very-small-classes", "detailed-images"}),
        (([20, 5], [4, 4], [10, 10], 320), {"detailed-images"}, {"small-images"}),
        (([20, 5], [4, 4], [10, 10], 319), set(), {"detailed-images"}),
        (([300, 4], [30, 30], [50, 50], 16), {"very-small-classes", "tiny-images"}, {"small-images", "many-rare-classes"}),
        (([300, 20], [30, 30], [50, 10], 41), set(), {"few-test-images", "many-rare-classes", "small-images"}),
        (([300, 20], [30, 30], [50, 9], 40), {"few-test-images", "small-images"}, {"classes-without-test-images"}),
        (([300, 20], [30, 30], [50, 0], 50), {"classes-without-test-images"}, {"few-test-images"}),
        (([300, 20], [2, 1], [50, 50], 50), {"little-val"}, {"classes-without-val-images"}),
        (([300, 20], [2, 2], [50, 50], 50), set(), {"little-val"}),
        (([300, 20], [9, 0], [50, 50], 50), {"classes-without-val-images"}, {"little-val"}),
        (([300, 20], [0, 0], [50, 50], 50), {"little-val"}, {"classes-without-val-images"}),
        (([300, 0], [9, 0], [50, 50], 50), {"classes-without-images"}, {"very-small-classes", "classes-without-val-images"}),
    ],
)
def test_advice_begins_and_ends_at_its_thresholds(counts, expected, absent):
    found = topics(in_splits(*counts))
    assert expected <= found
    assert not absent & found


def test_classes_that_have_no_say_on_val_are_counted_and_named():
    found = said(in_splits([300, 20, 7], [9, 0, 0], [50, 50, 50]), "classes-without-val-images")
    assert found == "2 of 3 classes have no val images: c1, c2."


def test_advice_names_numbers_reasons_and_commands(make_set):
    manifest = make_set([150, 40, 3, 1])
    advice = {found.topic: found for found in describe(manifest).advice}
    assert advice["very-small-classes"].says == "2 of 4 classes have fewer than 5 images: class 3, class 2."
    assert "stay" in advice["very-small-classes"].because or "leaves them whole in train" in advice["very-small-classes"].because
    assert advice["few-test-images"].says == "1 of 4 classes has fewer than 10 test images, the fewest 8 after the default split."
    assert "18 points" in advice["few-test-images"].because  # 100 * sqrt(0.5 * 0.5 / 8) = 17.7
    for found in advice.values():
        assert found.says.endswith(".")
        assert found.because.endswith(".")
        assert found.command is None or DATA in found.command.split()


def test_mixed_grey_and_large_files_are_said(zoo, tmp_path, write_image):
    assert said(read_folder(zoo), "grey-and-colour") == "3 of 10 files are grey, the others coloured."
    for name in ("a/1.png", "b/1.png"):
        write_image(tmp_path / "large" / name, size=(2000, 1000), mode="L")
    assert "2,000 x 1,000" in said(read_folder(tmp_path / "large"), "large-files")
    assert "grey-and-colour" not in topics(read_folder(tmp_path / "large"))


def test_commands_fit_the_set():
    assert describe(read("digits")).commands == (
        "tailwise compare DATA --dry-run",
        "tailwise compare DATA",
    )
    assert describe(from_arrays([0, 1] * 4, features=np.zeros((8, 2)))).commands[1] == "tailwise compare DATA --split 50/10/40"
    empty = describe(in_splits([300, 0, 5], [9] * 3, [9] * 3))
    assert all("--empty-classes drop" in command for command in empty.commands)
    assert name_data("tailwise compare DATA --seeds 5", "'my DATA'") == "tailwise compare 'my DATA' --seeds 5"


def test_the_record_is_plain_json_and_frozen(zoo):
    for manifest in (read_folder(zoo), thin(split(read("digits")), "exponential:50")):
        found = describe(manifest)
        plain = found.to_dict()
        assert json.loads(json.dumps(plain, allow_nan=False)) == json.loads(json.dumps(plain))
        assert plain["schema"] == "tailwise.exploration/2"
        assert plain["largest"][0]["train"] == max(row["train"] for row in plain["classes"])
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.name = "other"


def test_it_reads_well_in_a_notebook_and_names_from_outside_stay_text(make_set):
    found = describe(make_set([9, 3], ["<b>cat</b>", "a | b"]))
    assert repr(found).startswith("Description of 'small': 12 images, 2 classes, imbalance ratio 3; train 12; advice: very-small-classes")
    page = found._repr_markdown_()
    assert "| many | 1 | 9 |" in page
    assert "a \\| b" in page
    assert "`tailwise compare DATA --folds 5`" in page
