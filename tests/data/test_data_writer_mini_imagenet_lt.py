"""Writing mini-ImageNet-LT's own files: byte for byte what was published, and what any other set becomes."""

from __future__ import annotations

import gzip
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data.manifest import Manifest
from tailwise.data.sources import read
from tailwise.data.writers.mini_imagenet_lt import lists, paths
from tailwise.errors import BadData

PUBLISHED = ("train.csv", "val.csv", "test.csv", "gentrain.csv", "alltrain.csv", "cls_label.json")


def placed(manifest):
    """What a set is once its images are where the writer says."""
    nowhere = (pl.lit(None).alias("container"), pl.lit(None).alias("row"))
    return manifest.replace(rows=manifest.rows.with_columns(paths(manifest), *nowhere), arrays={})


def shuffled(manifest, seed=0):
    order = np.random.default_rng(seed).permutation(manifest.rows.height)
    return manifest.replace(rows=manifest.rows[order.tolist()])


def files(*rows, classes=("cat", "dog")):
    """A set of files: (id, path, label, split, source)."""
    table = pl.DataFrame(rows, schema=["id", "path", "label", "split", "source"], orient="row")
    return Manifest(table, classes, name="mine")


@pytest.fixture
def small():
    return files(
        ("c", "dog/1.jpg", 1, "train", "real"),
        ("a", "cat/1.jpg", 0, "train", "real"),
        ("g2", "made/y.png", 1, "train", "generated"),
        ("b", "cat/2.jpg", 0, "val", "real"),
        ("g1", "made/x", 1, "train", "generated"),
        ("g3", "made/z.jpg", 0, "train", "generated"),
        ("d", "dog/2,3.jpg", 1, "test", "real"),
        ("e", "dog/con", 1, "train", "real"),
    )


@pytest.mark.parametrize("seed", [None, 1])
def test_the_published_files_come_back_byte_for_byte(real_data, seed):
    folder = real_data / "mini-imagenet-lt"
    found = read(folder)
    assert paths(found).equals(found.rows["path"])
    written = lists(placed(found if seed is None else shuffled(found, seed)))
    assert sorted(written) == sorted(PUBLISHED)
    for name, content in written.items():
        original = folder / name if name.endswith("json") else folder / f"{name}.gz"
        expected = original.read_bytes() if name.endswith("json") else gzip.decompress(original.read_bytes())
        assert content == expected, name


def test_what_is_written_reads_back_as_it_was(real_data, tmp_path):
    found = read(real_data / "mini-imagenet-lt")
    for name, content in lists(placed(found)).items():
        (tmp_path / name).write_bytes(content)
    again = read(tmp_path)
    assert (again.counts(), again.counts("val"), again.counts("test")) == (found.counts(), found.counts("val"), found.counts("test"))
    assert again.rows.equals(found.rows)
    assert [finding.kind for finding in again.origin.findings] == ["generated-left-out"]


def test_where_images_go(small):
    assert dict(zip(small.rows["id"], paths(small), strict=True)) == {
        "a": "data/images/1.jpg",
        "b": "data/images/2.jpg",
        "c": "data/images/1-2.jpg",
        "d": "data/images/2,3.jpg",
        "e": "data/images/_con",
        "g3": "data/genimages/0.jpg",  # sorted by label, then id
        "g1": "data/genimages/1.jpg",
        "g2": "data/genimages/2.png",
    }


def test_the_lists_of_a_small_set(small):
    assert lists(placed(small)) == {
        "train.csv": b"img,label\r\ndata/images/1.jpg,0\r\ndata/images/1-2.jpg,1\r\ndata/images/_con,1\r\n",
        "val.csv": b"img,label\r\ndata/images/2.jpg,0\r\n",
        "test.csv": b'img,label\r\n"data/images/2,3.jpg",1\r\n',
        "gentrain.csv": b"data/genimages/0.jpg,0\r\ndata/genimages/1.jpg,1\r\ndata/genimages/2.png,1\r\n",
        "alltrain.csv": b"img,label\r\ndata/images/1.jpg,0\r\ndata/images/1-2.jpg,1\r\ndata/images/_con,1\r\n"
        b"data/genimages/0.jpg,0\r\ndata/genimages/1.jpg,1\r\ndata/genimages/2.png,1\r\n",
        "cls_label.json": b'{"0": 1, "1": 2}',
    }


def test_what_weighs_nothing_is_no_part_of_alltrain(small):
    weights = pl.when(pl.col("id") == "g1").then(0.0).otherwise(0.5).alias("weight")
    found = lists(placed(small.replace(rows=small.rows.with_columns(weights))))
    assert b"genimages/1.jpg" in found["gentrain.csv"]
    assert found["alltrain.csv"].count(b"genimages/") == 2
    assert b"genimages/1.jpg" not in found["alltrain.csv"]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_rows_is_no_matter(small, seed):
    other = shuffled(small, seed)
    assert lists(placed(other)) == lists(placed(small))
    assert dict(zip(other.rows["id"], paths(other), strict=True)) == dict(zip(small.rows["id"], paths(small), strict=True))


def test_a_set_without_generated_images_or_splits(make_set):
    found = make_set([2, 0, 1])
    assert paths(found).to_list() == ["data/images/image-0.png", "data/images/image-1.png", "data/images/image-2.png"]
    written = lists(placed(found))
    assert sorted(written) == ["cls_label.json", "train.csv"]
    assert json.loads(written["cls_label.json"]) == {"0": 2, "1": 0, "2": 1}
    assert written["cls_label.json"] == b'{"0": 2, "1": 0, "2": 1}'


def test_generated_images_of_arrays_are_png(make_set):
    found = make_set([2, 1])
    found = found.replace(rows=found.rows.with_columns(pl.Series("source", ["real", "generated", "generated"])))
    assert paths(found).to_list() == ["data/images/image-0.png", "data/genimages/0.png", "data/genimages/1.png"]


def test_rows_that_these_lists_cannot_hold_are_refused(small):
    unlabelled = small.replace(rows=small.rows.with_columns(pl.when(pl.col("id") != "b").then(pl.col("label")).alias("label")))
    stray = small.replace(rows=small.rows.with_columns(pl.when(pl.col("id") == "g2").then(pl.lit("val")).otherwise("split").alias("split")))
    for wrong, what in ((unlabelled, "1 images without a label"), (stray, "1 generated images in val or test")):
        with pytest.raises(BadData, match=what) as caught:
            lists(placed(wrong))
        assert "\n" not in str(caught.value)


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=8).filter(
                lambda name: name.strip() not in ("", ".", "..")
            ),
            st.integers(0, 1),
            st.sampled_from(["train", "val", "test"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_set_reads_back(tmp_path, rows):
    table = [
        (f"{n}", f"{n}/{name}", label, "train" if made or not n else split, "generated" if made and n else "real")
        for n, (name, label, split, made) in enumerate(rows)
    ]
    found = placed(files(*table))
    for name in PUBLISHED:
        (tmp_path / name).unlink(missing_ok=True)
    for name, content in lists(found).items():
        (tmp_path / name).write_bytes(content)
    assert found.rows["path"].is_unique().all()
    again = read(tmp_path)
    columns = ["path", "label", "split"]
    assert again.origin.format == "mini-imagenet-lt"
    assert again.rows.select(columns).sort("path").equals(found.rows.select(columns).sort("path"))
    assert again.counts() == found.counts()
    assert not [finding for finding in again.origin.findings if finding.severity == "error"]
