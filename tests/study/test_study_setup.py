"""What words become before anything is trained: the network, its size, the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import tailwise as tw
from photos import paint
from tailwise.data import Manifest, images
from tailwise.errors import BadData
from tailwise.registry import load, parse_rows
from tailwise.store import Store
from tailwise.study.compare import compare, study_key
from tailwise.study.runs import execute
from tailwise.study.setup import choose_network, make_setup
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import RunSettings

CPU = torch.device("cpu")


def setup(source, tmp_path, recipe: str, net: str | None = None, *settings: str):
    return make_setup(source, parse_rows("ce"), DataWords(), TrainingWords(recipe, net, settings), Store(tmp_path / "store"))


def test_a_network_without_weights_leaves_the_images_their_size():
    name, recipe, extractor = choose_network("resnet18", load("recipe", "demo"), "images", CPU)
    assert (name, recipe.image_size, extractor) == ("resnet18", None, None)


def test_pre_trained_weights_bring_their_size_and_normalisation():
    made = load("recipe", "finetune")
    _, recipe, _ = choose_network(None, made, "images", CPU)
    assert recipe.image_size == made.image_size  # what the recipe says goes first
    assert recipe.normalise.mean == recipe.second.normalise.mean == (0.5, 0.5, 0.5)


def test_a_size_that_a_network_cannot_take_is_one_line(tmp_path):
    photos = paint(tmp_path / "photos")
    with pytest.raises(BadData, match="cannot take images of 8 x 8 pixels"):
        setup(photos, tmp_path, "quick", "densenet121", "recipe.image_size=8")


def test_feature_vectors_are_not_fine_tuned(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", features=rng.normal(size=(40, 4)).astype(np.float32), labels=np.arange(40) % 2)
    with pytest.raises(BadData, match="the data are feature vectors; use --recipe head"):
        setup(tmp_path / "f.npz", tmp_path, "finetune")


def test_a_batch_that_is_asked_for_stays(tmp_path):
    photos = paint(tmp_path / "photos")
    assert setup(photos, tmp_path, "head", None, "recipe.image_size=32").recipe.batch_size == 8
    assert setup(photos, tmp_path, "head", None, "recipe.image_size=32", "recipe.batch_size=128").recipe.batch_size == 128


@pytest.mark.parametrize("recipe", ["head", "quick"])
def test_what_is_not_ready_is_made_ready_and_never_trained_on_zeros(tmp_path, recipe):
    photos = paint(tmp_path / "photos")
    settings = ("recipe.image_size=32", "recipe.epochs=2", *(["recipe.net=resnet8"] if recipe == "quick" else []))
    logits = []
    for name, ready in (("a", False), ("b", True)):
        made = make_setup(photos, parse_rows("ce"), DataWords(), TrainingWords(recipe, None, settings), Store(tmp_path / name))
        run = execute(made.ready() if ready else made, made.rows[0], 0, tmp_path / f"run-{name}", RunSettings(made.store))
        logits.append(run.predictions.split("test").logits)
    assert np.array_equal(*logits)
    assert np.ptp(logits[0], axis=0).min() > 0  # zeros would have one answer for all


# --- before images are decoded ------------------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """Every file whose pixels are decoded from now on."""
    opened, decode = [], images._pixels
    monkeypatch.setattr(images, "_pixels", lambda path, *how: opened.append(Path(path)) or decode(path, *how))
    return opened


QUICK = ("quick", "resnet8", "recipe.epochs=1")


def test_a_setup_with_its_keys_decodes_nothing_and_ready_does_it_once(tmp_path, decoded):
    photos = paint(tmp_path / "photos")
    first = setup(photos, tmp_path, *QUICK)
    key = study_key(first, range(2))
    assert decoded == []
    ready = first.ready()
    assert set(decoded) == set(photos.rglob("*.png"))
    assert ready.ready() is ready
    decoded.clear()
    again = setup(photos, tmp_path, *QUICK)
    assert study_key(again, range(2)) == study_key(again.ready(), range(2)) == key == study_key(ready, range(2))
    assert decoded == []


def sources(folder: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """Images by kind, each with what the recipe says of their size."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    np.savez(folder / "grey.npz", images=rng.integers(0, 256, (60, 9, 7), dtype=np.uint8), labels=labels)
    np.savez(folder / "colour.npz", images=rng.integers(0, 256, (60, 9, 9, 3), dtype=np.uint8), labels=labels)
    for i, label in enumerate(labels):
        for kind in ("tall", "grey", "odd"):
            (folder / kind / f"c{label}").mkdir(parents=True, exist_ok=True)
        tall = Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
        tall.save(folder / "tall" / f"c{label}" / f"{i}.png")
        tall.convert("L").save(folder / "grey" / f"c{label}" / f"{i}.png")
        (tall if i else tall.convert("P")).crop((0, 0, 8 + i % 3, 9)).save(folder / "odd" / f"c{label}" / f"{i}.png")
    resized = ("recipe.image_size=8",)
    return {
        "grey arrays": (folder / "grey.npz", ()),
        "grey arrays, resized": (folder / "grey.npz", resized),
        "colour arrays": (folder / "colour.npz", ()),
        "files": (folder / "tall", ()),
        "grey files": (folder / "grey", ()),
        "grey files, resized": (folder / "grey", resized),
        "files of several sizes, resized": (folder / "odd", resized),
    }


def test_what_headers_say_is_what_pixels_are(tmp_path):
    for kind, (source, size) in sources(tmp_path).items():
        made = make_setup(source, parse_rows("ce"), DataWords(), TrainingWords("demo", "resnet8", size), Store(tmp_path / kind))
        ready = made.ready()
        before, after = (s.splits.rows["train"].gather(np.arange(5)) for s in (made, ready))
        assert (before.shape, before.dtype) == (after.shape, after.dtype), kind
        assert not before.any(), kind
        assert after.any(), kind
        assert {n: made.splits.identity(n) for n in made.splits.rows} == {n: ready.splits.identity(n) for n in ready.splits.rows}, kind


def test_several_sizes_without_one_to_bring_them_to_are_refused_before_anything_is_decoded(tmp_path, decoded):
    with pytest.raises(BadData, match="have several sizes"):
        setup(sources(tmp_path)["files of several sizes, resized"][0], tmp_path, "demo", "resnet8")
    assert decoded == []


def test_a_file_that_is_no_image_is_refused_before_the_plan(tmp_path):
    manifest = tw.read(paint(tmp_path / "photos"))
    (tmp_path / "photos" / "ant" / "000.png").write_bytes(b"no image")
    with pytest.raises(BadData, match=r"1 of 36 images cannot be read.*000\.png"):
        setup(manifest, tmp_path, *QUICK)


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_an_image_that_only_decoding_finds_damaged_leaves_nothing_half_made(tmp_path, verb):
    photos = paint(tmp_path / "photos")
    damaged = photos / "bee" / "003.png"
    damaged.write_bytes(damaged.read_bytes()[:-400])  # the header is whole
    made = setup(photos, tmp_path, *QUICK)
    store, out = made.store, tmp_path / "out"
    begin = {
        "train": lambda: execute(made, made.rows[0], 0, out, RunSettings(store)),
        "compare": lambda: compare(made, [0], out, RunSettings(store)),
    }
    with pytest.raises(BadData, match=r"003\.png: a damaged image"):
        begin[verb]()
    assert not out.exists()
    assert not any((store.root / kind).exists() and list((store.root / kind).iterdir()) for kind in ("pixels", "states"))


def test_images_in_files_and_in_arrays_at_once_are_refused(tmp_path):
    """They would be laid into one array, and those of the other kind left as whatever the memory held."""
    photos = paint(tmp_path / "photos")
    files = [str(path.relative_to(photos)) for path in sorted(photos.rglob("*.png"))]
    rows = pl.DataFrame(
        {
            "id": [str(i) for i in range(72)],
            "path": [*files, *[None] * 36],
            "container": [*[None] * 36, *["more"] * 36],
            "row": [*[None] * 36, *range(36)],
            "label": [0, 1] * 36,
            "split": ["train"] * 36 + ["val"] * 36,
        }
    )
    more = {"more": np.zeros((36, 24, 24, 3), np.uint8)}
    with pytest.raises(BadData, match="has images in files and others in arrays"):
        setup(Manifest(rows, ("u", "v"), photos, more), tmp_path, *QUICK)
    shapes = {"more": np.zeros((36, 24, 24, 3), np.uint8), "less": np.zeros((36, 20, 24), np.uint8)}
    containers = pl.Series("container", ["less"] * 36 + ["more"] * 36)
    arrays = rows.with_columns(containers, path=pl.lit(None, pl.String), row=pl.Series([*range(36)] * 2))
    with pytest.raises(BadData, match="rows of several shapes"):
        setup(Manifest(arrays, ("u", "v"), None, shapes), tmp_path, *QUICK)


def test_an_image_changed_in_a_built_folder_is_refused_before_anything_is_computed(tmp_path):
    tw.build(paint(tmp_path / "photos"), tmp_path / "built")
    setup(tmp_path / "built", tmp_path, "head", None, "recipe.image_size=32")
    Image.new("RGB", (24, 24)).save(next((tmp_path / "built" / "train").rglob("*.png")))
    with pytest.raises(BadData, match="1 images have changed"):
        setup(tmp_path / "built", tmp_path, "head", None, "recipe.image_size=32")
