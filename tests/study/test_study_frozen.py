"""Frozen features: what timm's own network gives, kept by content, computed once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import tailwise as tw
from photos import COUNTS, paint, pixels, random_weights
from tailwise.data.images import read_pixels
from tailwise.errors import BadData
from tailwise.models.names import find_weights, parse
from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study import extractor as frozen_module
from tailwise.study.extractor import absent, describe_extractor, extract
from tailwise.study.prepare import ordered, pixels_of
from tailwise.study.runs import run_key
from tailwise.study.setup import Setup, make_setup
from tailwise.study.words import DataWords, TrainingWords

CPU = torch.device("cpu")
LITE0 = "efficientnet-lite0"
SIZE = 32
SMALL = ("recipe.image_size=32", "recipe.epochs=2", "recipe.second.epochs=1")


@pytest.fixture(scope="module")
def lite0():
    return describe_extractor(LITE0, SIZE, CPU)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return paint(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def manifest(photos) -> tw.Manifest:
    return tw.read(photos).with_content()


@pytest.fixture(scope="module")
def computed(lite0, manifest, tmp_path_factory) -> tuple[np.ndarray, Path]:
    """Features of all photographs, and the store that holds them."""
    store = tmp_path_factory.mktemp("stores") / "store"
    return features(lite0, manifest, Store(store)), store


def features(frozen, manifest, store, progress=None) -> np.ndarray:
    contents = ordered(manifest.with_content())["content"].to_list()
    return extract(frozen, pixels_of(manifest, frozen.size), contents, store, CPU, progress)


def setup(source, store: Path, net: str | None = None, settings=SMALL, methods: str = "ce", **words) -> Setup:
    return make_setup(source, parse_rows(methods), DataWords(**words), TrainingWords("head", net, settings), Store(store))


def seen_by(monkeypatch) -> list[int]:
    """Count the images that go through the network."""
    seen: list[int] = []
    plain = frozen_module.forward

    def watched(module, normalise, pixels, rows, device):
        seen.append(len(rows))
        return plain(module, normalise, pixels, rows, device)

    monkeypatch.setattr(frozen_module, "forward", watched)
    return seen


@pytest.mark.reference
def test_features_are_those_of_timm_s_own_network(computed, manifest, photos):
    model = timm.create_model("tf_efficientnet_lite0")
    file = torch.load(find_weights(parse(LITE0)).path, weights_only=True)
    own = model.state_dict()
    assert [t.shape for t in file.values()] == [t.shape for t in own.values()]  # both in the order of their layers
    model.load_state_dict(dict(zip(own, file.values(), strict=True)))
    model.double().eval()
    images = np.stack([read_pixels(photos / path, SIZE) for path in ordered(manifest)["path"]])
    x = torch.from_numpy((images.astype(np.float64) / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model.blocks(model.bn1(model.conv_stem(x))).mean((2, 3)).numpy()
    found = computed[0]
    assert found.shape == (sum(COUNTS.values()), 320)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4 * float(np.abs(expected).max()))


def test_chunks_and_batches_give_the_same_rows_in_the_order_of_the_table(computed, lite0, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen_module, "CHUNK", 5)
    monkeypatch.setattr(frozen_module, "BATCH", 3)
    heard = []
    made = features(lite0, manifest, Store(tmp_path), lambda done, total: heard.append((done, total)))
    assert made == pytest.approx(computed[0], abs=1e-4 * float(np.abs(made).max()))
    assert len(list(tmp_path.glob("features/*/"))) > 3
    assert heard[-1] == (36, 36)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert {total for _, total in heard} == {36}


def test_a_second_call_computes_nothing_and_gives_the_same_bits(computed, lite0, manifest, monkeypatch):
    def fail(*_):
        raise AssertionError("the network was run again")

    monkeypatch.setattr(frozen_module, "forward", fail)
    monkeypatch.setattr(type(lite0), "module", fail)
    assert np.array_equal(features(lite0, manifest, Store(computed[1])), computed[0])


def test_a_damaged_chunk_is_found_and_computed_again(computed, lite0, manifest, tmp_path, monkeypatch):
    store = Store(shutil.copytree(computed[1], tmp_path / "store"))
    (file,) = store.root.glob("features/*/features.npy")
    data = bytearray(file.read_bytes())
    data[-2] ^= 64
    file.write_bytes(data)
    seen = seen_by(monkeypatch)
    assert np.array_equal(features(lite0, manifest, store), computed[0])
    assert sum(seen) == 36
    assert np.array_equal(features(lite0, manifest, store), computed[0])
    assert sum(seen) == 36  # mended for good


def test_of_several_chunks_only_the_damaged_one_is_computed_again(lite0, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen_module, "CHUNK", 5)
    first = features(lite0, manifest, Store(tmp_path))
    file = sorted(tmp_path.glob("features/*/features.npy"))[0]
    lost = len(np.load(file))
    file.unlink()
    seen = seen_by(monkeypatch)
    assert np.array_equal(features(lite0, manifest, Store(tmp_path)), first)
    assert sum(seen) == lost < 36


@pytest.mark.parametrize("name", ["ant/000-first.png", "cow/zzz-last.png"])
def test_one_more_image_leaves_most_chunks_as_they_are(lite0, manifest, photos, tmp_path, monkeypatch, name):
    monkeypatch.setattr(frozen_module, "CHUNK", 5)
    store = Store(tmp_path / "store")
    before = dict(zip(ordered(manifest)["id"], features(lite0, manifest, store), strict=True))
    grown = shutil.copytree(photos, tmp_path / "grown")
    Image.fromarray(pixels(3, 1)[0]).save(grown / name)
    seen = seen_by(monkeypatch)
    more = tw.read(grown).with_content()
    ahead = absent(lite0, ordered(more)["content"].to_list(), store)
    after = dict(zip(ordered(more)["id"], features(lite0, more, store), strict=True))
    assert 1 <= sum(seen) == ahead <= 15
    for id_, row in before.items():
        assert after[id_] == pytest.approx(row, abs=1e-4 * float(np.abs(row).max()))


def test_images_under_other_names_are_not_computed_again(computed, lite0, photos, tmp_path, monkeypatch):
    other = shutil.copytree(photos, tmp_path / "elsewhere")
    (other / "ant").rename(other / "wasp")
    for file in sorted((other / "bee").iterdir()):
        file.rename(file.with_stem(str(999 - int(file.stem))))
    renamed = tw.read(other).with_content()
    seen = seen_by(monkeypatch)
    made = dict(zip(ordered(renamed)["content"], features(lite0, renamed, Store(computed[1])), strict=True))
    assert seen == []
    plain = dict(zip(ordered(tw.read(photos).with_content())["content"], computed[0], strict=True))
    assert all(np.array_equal(made[content], row) for content, row in plain.items())


def as_arrays(images: np.ndarray, file: Path) -> tw.Manifest:
    np.savez(file, images=images, labels=np.arange(len(images)) % 2)
    return tw.read(file)


def test_grey_and_colour_arrays_and_files_agree(lite0, tmp_path):
    colour = pixels(0, 6)
    grey = colour[..., 0]
    folders = {}
    for name, images in (("colour", colour), ("grey", grey)):
        for i, image in enumerate(images):
            folder = tmp_path / name / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i}.png")
        folders[name] = tw.read(tmp_path / name)

    def made(manifest: tw.Manifest, number: int) -> np.ndarray:
        return features(lite0, manifest, Store(tmp_path / f"store{number}"))

    order = [0, 2, 4, 1, 3, 5]  # a folder's rows go by class
    of_colour = made(as_arrays(colour, tmp_path / "c.npz"), 0)
    of_grey = made(as_arrays(grey, tmp_path / "g.npz"), 1)
    scale = 1e-4 * float(np.abs(of_colour).max())
    assert made(folders["colour"], 2) == pytest.approx(of_colour[order], abs=scale)
    assert made(folders["grey"], 3) == pytest.approx(of_grey[order], abs=scale)
    assert made(as_arrays(np.repeat(grey[..., None], 3, -1), tmp_path / "r.npz"), 4) == pytest.approx(of_grey, abs=scale)
    assert np.abs(of_grey - of_colour).max() > 100 * scale


@pytest.mark.parametrize("all_data", [False, True])
def test_files_that_are_no_images_are_all_named_before_any_feature_is_computed(photos, tmp_path, all_data):
    broken = shutil.copytree(photos, tmp_path / "broken")
    (broken / "ant" / "text.png").write_text("no image")
    (broken / "cow" / "empty.png").write_bytes(b"")
    with pytest.raises(BadData, match="2 of 38 images cannot be read") as refused:
        make_setup(broken, parse_rows("ce"), DataWords(), TrainingWords("head"), Store(tmp_path / "s"), all_data=all_data)
    assert "text.png" in str(refused.value)
    assert "empty.png" in str(refused.value)
    assert "\n" not in str(refused.value)


# --- keys ---------------------------------------------------------------------------------------------------------------


def keys(made: Setup) -> tuple:
    return tuple((tuple((leg.line, leg.stop) for leg in made.plan(row, 0).legs), run_key(made, row, 0)) for row in made.rows)


def test_keys_are_known_before_features_are(photos, tmp_path):
    made = setup(photos, tmp_path, methods="ce,crt,tau-norm")
    assert not (tmp_path / "features").exists()
    ready = made.ready()
    assert ready.standardise is not None
    assert keys(ready) == keys(made)
    assert ready.ready() is ready


def test_another_size_network_weight_or_image_has_another_key(photos, tmp_path):
    base = setup(photos, tmp_path)
    a, b = (f"mobilenetv2_100@{random_weights(tmp_path / f'{s}.safetensors', s)}" for s in (0, 1))
    changed = shutil.copytree(photos, tmp_path / "changed")
    Image.fromarray(pixels(3, 1)[0]).save(changed / "ant" / "000.png")
    others = [
        base,
        setup(photos, tmp_path, settings=(*SMALL, "recipe.image_size=40")),
        setup(photos, tmp_path, a),
        setup(photos, tmp_path, b),
        setup(changed, tmp_path),
    ]
    assert len({made.plan(made.rows[0], 0).legs[0].line for made in others}) == len(others)
    assert len({keys(made) for made in others}) == len(others)


def test_another_place_of_photographs_and_weights_has_the_same_key(photos, tmp_path):
    weights = random_weights(tmp_path / "w.safetensors")
    copied = shutil.copy(weights, tmp_path / "copy.safetensors")
    elsewhere = shutil.copytree(photos, tmp_path / "elsewhere" / "photos")
    one = setup(photos, tmp_path / "a", f"mobilenetv2_100@{weights}")
    two = setup(elsewhere, tmp_path / "b", f"mobilenetv2_100@{copied}")
    assert keys(one) == keys(two)


def test_what_is_done_is_said_without_computing_features(photos, tmp_path, monkeypatch):
    def words(part: str) -> dict:
        return {"settings": SMALL, "out": tmp_path / part, "store": Store(tmp_path / "store")}

    study = tw.compare(tw.read(photos, split="60/20/20"), "ce,la", seeds=1, **words("study"))
    run = tw.train(photos, "ce", **words("run"))
    shutil.rmtree(tmp_path / "store")

    def fail(*_):
        raise AssertionError("features were computed again")

    monkeypatch.setattr(frozen_module, "forward", fail)
    assert tw.compare(tw.read(photos, split="60/20/20"), "ce,la", seeds=1, **words("study")).record == study.record
    assert tw.train(photos, "ce", **words("run")).record == run.record


# --- standardisation ----------------------------------------------------------------------------------------------------


def test_val_and_test_images_never_enter_the_standardisation(photos, tmp_path):
    def split_folder(name: str, seed: int) -> Path:
        folder = shutil.copytree(photos, tmp_path / name / "train").parent
        paint(folder / "val", {"ant": 5, "bee": 5, "cow": 5}, seed)
        paint(folder / "test", {"cow": 5, "ant": 5, "bee": 5}, seed)
        return folder

    one = setup(split_folder("one", 1), tmp_path / "s").ready()
    two = setup(split_folder("two", 2), tmp_path / "s").ready()
    assert one.standardise.mean == pytest.approx(two.standardise.mean, abs=1e-5)
    assert one.standardise.deviation == pytest.approx(two.standardise.deviation, abs=1e-5)
    rows = one.splits.rows
    train = rows["train"].packed[rows["train"].positions].astype(np.float64)
    assert train.mean(0) == pytest.approx(np.zeros(320), abs=1e-4)
    assert train.std(0) == pytest.approx(np.ones(320), abs=1e-3)
    val = rows["val"].packed[rows["val"].positions]
    assert np.abs(val.mean(0)).max() > 0.1  # its own mean is another one


def test_feature_vectors_are_standardised_by_their_training_rows_alone(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    np.savez(tmp_path / "f.npz", features=rng.normal(5, 3, (80, 4)).astype(np.float32), labels=labels)
    made = make_setup(tmp_path / "f.npz", parse_rows("ce"), DataWords(split="50/25/25"), TrainingWords("head"), Store(tmp_path / "s"))
    train = made.splits.rows["train"]
    rows = train.packed[train.positions].astype(np.float64)
    assert rows.mean(0) == pytest.approx(np.zeros(4), abs=1e-5)
    assert rows.std(0) == pytest.approx(np.ones(4), abs=1e-5)
    everything = made.splits.rows["train"].packed.astype(np.float64)
    assert np.abs(everything.mean(0)).max() > 1e-3


def test_the_code_that_prepares_pixels_is_in_the_key(lite0, monkeypatch):
    from dataclasses import replace

    from tailwise import specification

    before, sources = lite0.key, dict(specification._package_sources())
    changed = sources["tailwise.study.extractor"].replace("BATCH = 8", "BATCH = 9")
    monkeypatch.setattr(specification, "_package_sources", lambda: {**sources, "tailwise.study.extractor": changed})
    assert replace(lite0).key != before
