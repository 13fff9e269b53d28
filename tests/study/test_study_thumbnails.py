"""Thumbnails: small images of measured classes lie with a study and a run, and the page shows them; without them it does without."""

from __future__ import annotations

import io
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

import tailwise as tw
from photos import paint
from tailwise.store import Store
from tailwise.study import thumbnails
from tailwise.study.publish import report_of_runs
from tailwise.study.thumbnails import THUMBNAILS, read_thumbnails

QUICK = ["recipe.epochs=1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("thumbnails")


@pytest.fixture(scope="module")
def study(place):
    data = tw.read("digits", split="50/10/40", tail="exponential:50")
    return tw.compare(data, "ce,ride(experts=2)", seeds=1, recipe="demo", settings=QUICK, out=place / "s", store=Store(place / "store"))


def test_each_class_has_as_many_and_they_are_the_images(study):
    found = read_thumbnails(study.runs["ce"])
    test = study.runs["ce"][0].predictions.split("test")
    label_of = dict(zip(test.ids, test.labels.tolist(), strict=True))
    assert np.bincount([label_of[id_] for id_ in found]).tolist() == [4] * 10
    digits = tw.read("digits")
    for id_, jpeg in list(found.items())[:3]:
        row = digits.rows.filter(digits.rows["id"] == id_).row(0, named=True)
        original = Image.fromarray(digits.arrays[row["container"]][row["row"]].squeeze()).resize((64, 64), Image.Resampling.BILINEAR)
        shown = np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"), float)
        assert np.abs(shown - np.asarray(original, float)).mean() < 12


def test_the_page_shows_a_confused_image(study):
    page = (study.folder / "index.html").read_text(encoding="utf-8")
    assert page.count('<img class="thumb" src="data:image/jpeg;base64,') > 4
    assert "<img" in page
    found = report_of_runs(study.runs, study.measured(), study.summary())._content(False)
    pair = found.confusions("ce")[0]
    truth, answer = found.examples("ce", pair)
    answers = study.measured()[0].evaluations[0].answers
    ids = {jpeg: id_ for id_, jpeg in found.thumbnails.items()}
    place = answers.ids.index(ids[truth])
    assert answers.labels[place] == pair.truth
    assert answers.labels[answers.ids.index(ids[answer])] == pair.answer
    kept = [i for i, id_ in enumerate(answers.ids) if id_ in found.thumbnails and answers.labels[i] == pair.truth]
    if any(answers.predicted[i] == pair.answer for i in kept):
        assert answers.predicted[place] == pair.answer


def test_a_run_alone_has_its_own(place):
    data = paint(place / "photos")
    run = tw.train(data, "ce", recipe="quick", settings=[*QUICK, "recipe.image_size=16"], out=place / "r", store=Store(place / "store"))
    assert THUMBNAILS in run.record["files"]
    assert Image.open(io.BytesIO(next(iter(read_thumbnails([run]).values())))).size == (64, 64)


def test_many_classes_have_fewer_each(monkeypatch, place):
    monkeypatch.setattr(thumbnails, "MOST", 12)
    data = tw.read("digits", split="50/10/40", tail="exponential:50")
    run = tw.train(data, "ce", recipe="demo", settings=QUICK, out=place / "few", store=Store(place / "store"))
    assert len(read_thumbnails([run])) == 10


def test_feature_vectors_have_none(place):
    features = tw.read(_npz(place / "f.npz"))
    run = tw.train(features, "ce", settings=["recipe.epochs=1"], out=place / "features", store=Store(place / "store"))
    assert THUMBNAILS not in run.record["files"]
    assert read_thumbnails([run]) == {}


def _npz(path):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    np.savez(path, features=rng.normal(size=(60, 5)).astype("f4") + labels[:, None], labels=labels)
    return path


def test_a_damaged_file_costs_the_pictures_alone(study, tmp_path, caplog):

    shutil.copytree(study.folder, tmp_path / "s")
    (tmp_path / "s" / THUMBNAILS).write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING, "tailwise"):
        tw.report(tmp_path / "s", out=tmp_path / "r")
    assert "shows no thumbnails" in caplog.text
    assert '<img class="thumb"' not in (tmp_path / "r/index.html").read_text(encoding="utf-8")


def test_experts_are_stored_with_a_run_that_has_some(study):
    test = study.runs["ride(experts=2)"][0].predictions.split("test")
    assert test.experts.shape == (719, 2, 10)
    np.testing.assert_allclose(test.experts.mean(1), test.logits, atol=1e-5)
    assert study.runs["ce"][0].predictions.split("test").experts is None
    assert "ride(experts=2), expert 2" in study.summary().to_markdown()


def test_runs_and_studies_show_themselves_in_a_notebook(study):
    for found in (study, study.runs["ce"][0]):
        page = found._repr_html_()
        assert "<table>" in page
        assert "ce" in page
    assert {"frequency", "accuracy", "groups"} <= set(study.figures())
    assert study.figures()["groups"].to_dict()["$schema"].endswith(".json")
