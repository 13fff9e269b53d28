"""`compare --features FOLDER`: what `tailwise features` wrote, in the place of DATA."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tailwise.cli import run


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name, images, colour in (("ant", 14, 40), ("bee", 9, 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(images):
            pixels = (rng.integers(0, 40, (40, 40, 3)) + colour).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return "photos"


def said(capsys, *words: str) -> str:
    code = run(list(words))
    out = capsys.readouterr()
    assert code == 0, out.err
    return out.out


def refused(capsys, *words: str) -> str:
    assert run(list(words)) == 2
    return " ".join(capsys.readouterr().err.split())


def test_features_of_images_are_compared_on(photos, capsys):
    folder = json.loads(said(capsys, "features", photos, "--size", "32", "--json"))["folder"]
    words = ["--methods", "ce,tau-norm", "--seeds", "1", "--set", "recipe.epochs=2", "--split", "60/40", "--json"]
    by_flag = json.loads(said(capsys, "compare", "--features", folder, "--out", "flag", *words))
    by_name = json.loads(said(capsys, "compare", folder, "--out", "name", *words))
    accuracies = [[row["cells"]["macro"]["mean"] for row in made["summary"]["rows"]] for made in (by_flag, by_name)]
    assert accuracies[0] == accuracies[1]
    assert len(accuracies[0]) == 2


def test_images_are_no_features(photos, capsys):
    text = refused(capsys, "compare", "--features", photos, "--methods", "ce")
    assert text == "tailwise: --features photos holds images; `tailwise features photos` makes features of them, which it takes"


@pytest.mark.parametrize("words", [[], ["digits", "--features", "photos"]])
def test_what_is_compared_on_is_said_once(photos, capsys, words):
    text = refused(capsys, "compare", *words)
    assert text == "tailwise: compare takes DATA, or --features FOLDER in its place; give one of them"
