"""What checks find in folders with planted faults, and what they leave alone."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageEnhance

from tailwise.checks.measures import inspect, of_pixels
from tailwise.checks.run import check, checks, look, repair
from tailwise.data import Manifest, from_arrays, read
from tailwise.errors import BadData

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))


def scene(seed: int, size: int = 64) -> Image.Image:
    """A smooth coloured picture, another for every seed."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path):
    """Two classes in three splits, twelve pictures in all, nothing wrong with them."""
    root = tmp_path / "photos"
    for place, name in enumerate(f"{s}/{c}/{n}.png" for s in ("train", "val", "test") for c in ("ant", "bee") for n in range(2)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        scene(place).save(root / name)
    return root


def found(photos: Path, **words) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.ids for finding in check(read(photos), **words).findings}


def test_nothing_is_found_where_nothing_is_wrong(photos):
    result = check(read(photos))
    assert (result.findings, result.score, result.has_errors, result.left_out) == ((), 1.0, False, {})


def test_files_that_are_none_are_told_apart(photos):
    train = photos / "train" / "ant"
    (train / "empty.png").write_bytes(b"")
    (train / "page.jpg").write_text("<html>no picture</html>" * 9)
    whole = (train / "0.png").read_bytes()
    (train / "cut.png").write_bytes(whole[: len(whole) // 2])
    (train / "gone.png").symlink_to(train / "nowhere.png")
    result = check(read(photos))
    kinds = [(finding.kind, finding.ids) for finding in result.findings]
    assert ("truncated", ("train/ant/cut.png",)) in kinds
    assert ("missing", ("train/ant/gone.png",)) in kinds
    assert {ids for kind, ids in kinds if kind == "unreadable"} == {("train/ant/empty.png",), ("train/ant/page.jpg",)}
    assert result.has_errors
    assert result.score == pytest.approx(12 / 16)
    assert (
        repair(read(photos), result).rows["id"].sort().to_list()
        == read(photos).rows.filter(pl.col("id").str.contains(r"/\d\.png"))["id"].sort().to_list()
    )


def test_black_and_flat_images_are_found_and_dark_ones_are_not(photos):
    train = photos / "train" / "bee"
    noise = np.random.default_rng(0).integers(0, 9, (64, 64), dtype=np.uint8)
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(train / "black.png")
    Image.fromarray(noise).save(train / "noise.png")
    Image.fromarray(np.full((64, 64), 90, np.uint8)).save(train / "grey.png")
    Image.fromarray((noise // 3 + 90).astype(np.uint8) + np.eye(64, dtype=np.uint8) * 20).save(train / "faint.png")
    ImageEnhance.Brightness(scene(50)).enhance(0.15).save(train / "night.png")
    kinds = found(photos)
    assert kinds["black"] == ("train/bee/black.png", "train/bee/noise.png")
    assert kinds["blank"] == ("train/bee/grey.png",)
    assert kinds["near-blank"] == ("train/bee/faint.png",)
    assert not any("train/bee/night.png" in ids for ids in kinds.values())


def test_equal_bytes_are_a_leak_a_conflict_or_a_waste(photos):
    shutil.copy(photos / "test" / "ant" / "0.png", photos / "train" / "ant" / "leak.png")
    shutil.copy(photos / "train" / "ant" / "0.png", photos / "train" / "bee" / "torn.png")
    shutil.copy(photos / "train" / "bee" / "1.png", photos / "train" / "bee" / "twice.png")
    result = check(read(photos))
    by_kind = {finding.kind: finding for finding in result.findings}
    leak, torn, twice = (by_kind[f"duplicate{end}"] for end in ("-across-splits", "-across-classes", ""))
    assert (leak.severity, leak.ids, leak.others) == ("error", ("train/ant/leak.png",), ("test/ant/0.png",))
    assert (torn.severity, torn.ids, torn.others) == ("error", ("train/bee/torn.png",), ("train/ant/0.png",))
    assert (twice.severity, twice.ids, twice.others) == ("warning", ("train/bee/twice.png",), ("train/bee/1.png",))
    kept = set(repair(read(photos), result).rows["id"])
    assert set(read(photos).rows["id"]) - kept == {
        *("train/ant/leak.png", "train/ant/0.png", "train/bee/torn.png", "train/bee/twice.png"),
    }


def test_copies_in_other_bytes_are_found_and_other_pictures_are_not(photos):
    base, other = scene(80, 200), scene(81, 200)
    base.save(photos / "train" / "ant" / "large.png")
    base.resize((64, 64), Image.Resampling.BILINEAR).save(photos / "test" / "ant" / "small.png")
    base.save(photos / "train" / "bee" / "low.jpg", quality=85)
    other.save(photos / "train" / "bee" / "other.png")
    ImageEnhance.Brightness(other).enhance(1.05).save(photos / "train" / "bee" / "bright.png")
    result = check(read(photos))
    by_kind = {finding.kind.removeprefix("near-duplicate"): finding for finding in result.findings if "near" in finding.kind}
    assert set(by_kind) == {"-across-splits", "-across-classes", ""}
    for kind in ("-across-splits", "-across-classes"):
        assert set(by_kind[kind].ids) == {"train/ant/large.png", "train/bee/low.jpg"}
        assert set(by_kind[kind].others) == {"test/ant/small.png"}
    assert (by_kind[""].ids, by_kind[""].others) == (("train/bee/other.png",), ("train/bee/bright.png",))
    assert by_kind[""].scores[0] > 0.99
    assert [by_kind[kind].severity for kind in ("-across-splits", "-across-classes", "")] == ["warning", "warning", "note"]
    assert not result.left_out


def test_odd_sizes_and_kinds(photos):
    train = photos / "train" / "ant"
    for n in range(20):
        scene(100 + n).save(train / f"more{n}.png")
    scene(60).resize((7, 64)).save(train / "narrow.png")
    scene(60).resize((8, 64)).save(train / "just-wide-enough.png")
    scene(61).convert("L").save(train / "grey.png")
    scene(62).save(train / "named.jpg", "PNG")
    scene(63).save(train / "moving.gif", save_all=True, append_images=[scene(64)])
    kinds = found(photos)
    assert kinds["tiny"] == ("train/ant/narrow.png",)
    assert kinds["odd-size"] == ("train/ant/narrow.png", "train/ant/just-wide-enough.png")
    odd = {id_ for finding in check(read(photos)).findings if finding.kind == "odd-kind" for id_ in finding.ids}
    assert odd == {"train/ant/grey.png", "train/ant/moving.gif"}
    assert kinds["other-ending"] == ("train/ant/named.jpg",)
    assert kinds["several-pictures"] == ("train/ant/moving.gif",)


def test_classes_that_a_split_lacks(photos):
    for name, split in (("cow", "test"), ("doe", "train")):
        (photos / split / name).mkdir(parents=True)
        scene(70 if name == "cow" else 71).save(photos / split / name / "0.png")
    (photos / "train" / "elk").mkdir()
    by_kind = {finding.kind: finding for finding in check(read(photos)).findings}
    assert {kind: (found.severity, found.ids) for kind, found in by_kind.items()} == {
        "class-without-training-images": ("error", ("cow",)),
        "class-without-images": ("warning", ("elk",)),
        "class-without-test-images": ("warning", ("doe",)),
        "class-without-val-images": ("note", ("doe",)),
    }


def test_a_second_look_decodes_nothing(photos, monkeypatch):
    first = inspect(read(photos))
    monkeypatch.setattr("tailwise.checks.measures.read_pixels", lambda *_: pytest.fail("an image was decoded again"))
    again = inspect(read(photos))
    assert again.images.equals(first.images)
    np.testing.assert_array_equal(again.thumbnails, first.thumbnails)


def test_measures_of_pixels_by_hand():
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))
    measured, small = of_pixels(ramp)
    assert (measured.darkest, measured.brightest, measured.width, measured.height, measured.kind) == (0, 252, 64, 32, "grey")
    assert (measured.mean, measured.deviation) == (pytest.approx(ramp.mean()), pytest.approx(ramp.std()))
    assert measured.hash == 2**64 - 1  # brighter from left to right everywhere
    assert of_pixels(ramp[:, ::-1])[0].hash == 0
    assert small.reshape(16, 16)[0].tolist() == ramp[0].reshape(16, 4).mean(axis=1).round().astype(int).tolist()


def test_arrays_are_looked_at_too_and_features_are_not():
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    images[5], images[4] = images[0], 0
    kinds = {finding.kind: finding.count for finding in check(from_arrays([0, 0, 1, 1, 1, 0], images)).findings}
    assert kinds == {"black": 1, "duplicate": 1}
    with pytest.raises(BadData, match="holds feature vectors"):
        check(from_arrays([0, 1], features=np.zeros((2, 3), np.float32)))


def test_a_list_without_images_is_looked_at_as_a_table():
    rows = pl.DataFrame({"id": ["a", "b"], "path": ["a.png", "b.png"], "label": [0, 1], "split": ["train", "test"]})
    result = check(Manifest(rows, ("ant", "bee")))
    assert result.looked_at == "table"
    assert {finding.kind for finding in result.findings} == {"class-without-training-images", "class-without-test-images"}


def test_a_quick_look_decodes_nothing_but_small_files(photos, monkeypatch):
    shutil.copy(photos / "test" / "ant" / "0.png", photos / "train" / "ant" / "leak.png")
    monkeypatch.setattr("tailwise.checks.measures.read_pixels", lambda *_: pytest.fail("an image was decoded"))
    assert [finding.kind for finding in look(read(photos))] == ["duplicate-across-splits"]


MINE = """
from tailwise.checks.check import Check, finding_of
import polars as pl

def find(found):
    return finding_of("mine", "warning", found.images.filter(pl.col("mean") > {least}), "{{n}} {{of}} bright: {{named}}.", "mean")

CHECK = Check("bright images", "pixels", find)
"""


def test_a_check_of_ones_own(photos, tmp_path):
    file = tmp_path / "too_bright.py"
    file.write_text(MINE.format(least=-1))
    assert len(found(photos, files=[file])["mine"]) == 12
    assert "too-bright" in checks([file])
    file.write_text(MINE.format(least=300))
    assert found(photos, files=[file]) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CHECK = 3", "defines no check"),
        ("import nowhere", "cannot be loaded"),
        ("def f(:", "is no Python module"),
        (MINE.format(least="'a'").replace('pl.col("mean")', "pl.col('nothing')"), "check 'mine' fails"),
    ],
)
def test_a_broken_check_of_ones_own_is_one_line(photos, tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(BadData, match=said) as caught:
        check(read(photos), files=[tmp_path / "mine.py"])
    assert "\n" not in str(caught.value)


@pytest.mark.real
def test_real_photographs_hold_three_pictures_twice(tmp_path):
    archive = SHARED / "trashnet" / "trashnet128.zip"
    assert archive.is_file(), f"{archive} is absent: checks were not run on real photographs"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "trash")
    result = check(read(tmp_path / "trash"))
    assert {finding.kind: finding.count for finding in result.findings} == {"duplicate-across-splits": 2, "duplicate-across-classes": 3}
    assert check(repair(read(tmp_path / "trash"), result)).findings == ()
