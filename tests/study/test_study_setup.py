"""What words become before anything is trained: the network, its size, the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from photos import paint
from tailwise.catalogue import load, parse_rows
from tailwise.errors import BadData
from tailwise.store import Store
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


def test_what_is_not_ready_is_made_ready_and_never_trained_on_zeros(tmp_path):
    photos = paint(tmp_path / "photos")
    settings = ("recipe.image_size=32", "recipe.epochs=2")
    logits = []
    for name, ready in (("a", False), ("b", True)):
        made = make_setup(photos, parse_rows("ce"), DataWords(), TrainingWords("head", None, settings), Store(tmp_path / name))
        run = execute(made.ready() if ready else made, made.rows[0], 0, tmp_path / f"run-{name}", RunSettings(made.store))
        logits.append(run.predictions.split("test").logits)
    assert np.array_equal(*logits)


def test_an_image_changed_in_a_built_folder_is_refused_before_anything_is_computed(tmp_path):
    import tailwise as tw

    tw.build(paint(tmp_path / "photos"), tmp_path / "built")
    setup(tmp_path / "built", tmp_path, "head", None, "recipe.image_size=32")
    Image.new("RGB", (24, 24)).save(next((tmp_path / "built" / "train").rglob("*.png")))
    with pytest.raises(BadData, match="1 images have changed"):
        setup(tmp_path / "built", tmp_path, "head", None, "recipe.image_size=32")
