"""Images in, classes out: a run's folder says of its own test images what it said when it was measured."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

import tailwise as tw
from photos import paint, random_weights
from tailwise.errors import BadData, BadValue, Clash
from tailwise.posthoc import fit_temperature
from tailwise.registry import parse_row
from tailwise.store import Store
from tailwise.study.predict import RunModel, find_images, predict
from tailwise.study.runs import Run
from tailwise.study.under_prior import under_prior

CPU = torch.device("cpu")
METHODS = ("ce", "la", "tau-norm", "ncm", "ldam-drw", "lws", "crt", "ce+ema")
COUNTS = {"ant": 18, "bee": 12, "cow": 6}
EPOCHS = ("recipe.epochs=2", "recipe.second.epochs=1")
FROZEN = {"recipe": "head", "settings": (*EPOCHS, "recipe.image_size=32")}
TRAINED = {"recipe": "quick", "net": "resnet8", "settings": EPOCHS}

MINE = """
from dataclasses import dataclass, replace
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import Card, Method, Net, Stage, knob, method
from tailwise.models.heads import NormalisedHead
from tailwise.posthoc.logit_adjustment import LogitAdjustment
from tailwise.counts import SHOWN

@method(Card(title="Mine", family="baseline", formula="CE"))
@dataclass(frozen=True)
class Mine(Method):
    tau: float = knob(2.0, low=0.0, help="strength")
    def stages(self, about):
        yield Stage(criterion=CrossEntropyLoss())
    def posthoc(self, about):
        return LogitAdjustment(SHOWN, self.tau)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return paint(tmp_path_factory.mktemp("data") / "photos", COUNTS)


@pytest.fixture(scope="module")
def studies(photos, tmp_path_factory) -> dict[str, dict[str, Run]]:
    """Runs of all methods on frozen features and on images; the store that they were trained with is gone."""
    place = tmp_path_factory.mktemp("studies")
    data = tw.read(photos, split="50/20/30")
    made = {}
    for kind, words in (("frozen", FROZEN), ("images", TRAINED)):
        study = tw.compare(data, ",".join(METHODS), seeds=1, out=place / kind, store=Store(place / "store"), **words)
        made[kind] = {text: runs[0] for text, runs in study.runs.items()}
    shutil.rmtree(place / "store")
    return made


@pytest.fixture(autouse=True)
def no_store(tmp_path, monkeypatch):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))


def copied(run: Run, place: Path) -> Run:
    """A run of a study on frozen features, with the study's network, where a test may damage it."""
    study = run.folder.parents[1]
    shutil.copytree(run.folder, place / "runs" / "one")
    if (study / "extractor.safetensors").exists():
        shutil.copy(study / "extractor.safetensors", place)
    return Run.load(place / "runs" / "one")


# --- the same answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["frozen", "images"])
def test_logits_of_the_test_images_are_the_run_s_own(studies, photos, kind, method, tmp_path):
    run = studies[kind][method]
    for split in ("val", "test"):
        said = run.predictions.split(split)
        found = RunModel(run, None, CPU).logits([photos / id_ for id_ in said.ids])
        assert found == pytest.approx(said.logits, abs=1e-4 * max(1.0, float(np.abs(said.logits).max())))
    assert not (tmp_path / "store" / "features").exists()


def test_post_hoc_steps_change_what_is_answered(studies, photos):
    """The check above would be empty if correcting did nothing."""
    for method in ("la", "tau-norm", "ncm"):
        said = studies["frozen"][method].predictions.split("test")
        assert np.abs(said.logits - said.network_logits).max() > 1e-2


def test_views_are_what_the_network_says_of_the_mirror_images(studies, photos, tmp_path):
    run = studies["images"]["la"]
    test = run.predictions.split("test")
    mirrored = [tmp_path / f"{number}.png" for number in range(test.images)]
    for id_, file in zip(test.ids, mirrored, strict=True):
        ImageOps.mirror(Image.open(photos / id_)).save(file)
    found = RunModel(studies["images"]["ce"], None, CPU).logits(mirrored)
    assert test.views.shape == (test.images, 1, 3)
    assert np.abs(test.views[:, 0] - test.network_logits).max() > 1e-3
    np.testing.assert_allclose(test.views[:, 0], found, atol=1e-4 * np.abs(found).max())
    assert studies["frozen"]["la"].predictions.split("test").views is None


def test_a_run_that_sees_mirror_images_too_does_so_with_new_images(studies, photos, tmp_path):
    run = tw.adjust_run(studies["images"]["ldam-drw"], posthoc="views", out=tmp_path / "r")
    assert run.record["method"] == "ldam-drw, mirrored too"
    test = run.predictions.split("test")
    np.testing.assert_allclose(test.logits, (test.network_logits + test.views[:, 0]) / 2, atol=1e-5)
    found = RunModel(run, None, CPU).logits([photos / id_ for id_ in test.ids])
    np.testing.assert_allclose(found, test.logits, atol=1e-4 * max(1, np.abs(found).max()))
    check = tw.export(run, tmp_path / "m", format="torch").record["checks"]["torch"]
    assert check["rows_stored"] == 4
    assert check["stored_gap"] < 1e-4 * max(check["largest_logit"], 1)
    with pytest.raises(Clash, match="cannot be left under another prior"):
        tw.adjust_run(run, test_prior="uniform")
    with pytest.raises(Clash, match="needs the logits of further views"):
        tw.adjust_run(studies["frozen"]["ce"], posthoc="views")


def test_answers_are_the_calibrated_softmax_of_those_logits_best_first(studies, photos):
    run = known(studies["images"]["la"], (1, 1, 1))
    said, val = run.predictions.split("test"), run.predictions.split("val")
    answers = predict(run, [photos / id_ for id_ in said.ids], top=2)
    fitted = fit_temperature(val.logits, val.labels, (1, 1, 1))
    logits = said.logits.astype(np.float64) / fitted.temperature
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for answer, id_, row in zip(answers, said.ids, shares, strict=True):
        assert answer.image == photos / id_
        order = sorted(range(3), key=lambda c: -row[c])[:2]
        assert answer.classes == tuple(said_class(run, c) for c in order)
        assert answer.scores == pytest.approx([row[c] for c in order], abs=1e-4)
        assert answer.scoring.scores == f"probability under a uniform prior, {fitted.sentence}"
        assert answer.scoring.val_images == val.images


def known(run: Run, left: object) -> Run:
    """The run with the prior that is left in its logits."""
    shares = None if left is None else (np.array(left) / sum(left)).tolist()
    return replace(run, record={**run.record, "prior_left": shares})


@pytest.mark.parametrize("kind", ["frozen", "images"])
@pytest.mark.parametrize(("method", "left"), [("ce", (9, 6, 3)), ("la", (1, 1, 1))])
@pytest.mark.parametrize("words", ["train", "reversed", "farm.json"])
def test_answers_under_another_prior_are_those_of_the_shifted_predictions(studies, photos, tmp_path, kind, method, left, words):
    (tmp_path / "farm.json").write_text('{"cow": 0, "ant": 1, "bee": 4}')
    prior = str(tmp_path / words) if words.endswith("json") else words
    run = known(studies[kind][method], left)
    shifted, shift = under_prior(run.predictions, run.record, prior)
    said = shifted.split("test")
    answers = tw.predict(run, [photos / id_ for id_ in said.ids], top=3, test_prior=prior)
    shares = np.exp(said.logits - said.logits.max(1, keepdims=True).astype(np.float64))
    shares /= shares.sum(1, keepdims=True)
    for answer, row in zip(answers, shares, strict=True):
        found = dict(zip(answer.classes, answer.scores, strict=True))
        assert [found[said_class(run, c)] for c in range(3)] == pytest.approx(row.tolist(), abs=1e-3)
        assert answer.scoring == shift
        assert words != "farm.json" or (answer.classes[-1], answer.scores[-1]) == ("cow", 0.0)


def test_without_a_test_prior_every_answer_is_that_of_the_run(studies, photos):
    for method, left in (("ce", (9, 6, 3)), ("ncm", None), ("tau-norm", None)):
        run = known(studies["images"][method], left)
        said = run.predictions.split("test")
        answers = predict(run, [photos / id_ for id_ in said.ids], top=1)
        assert [answer.classes[0] for answer in answers] == [said_class(run, c) for c in said.logits.argmax(1)]
        assert "fitted on val" in answers[0].scoring.scores


def said_class(run: Run, label: int) -> str:
    return run.predictions.classes[label]


def test_more_images_than_a_batch_come_in_order(studies, photos, monkeypatch):
    run = studies["images"]["ce"]
    whole = predict(run, [photos])
    assert [a.image for a in whole] == sorted(photos.rglob("*.png"))
    monkeypatch.setattr("tailwise.study.predict.BATCH", 5)
    heard = []
    parts = predict(run, [photos], progress=lambda done, total: heard.append((done, total)))
    assert [a.classes for a in parts] == [a.classes for a in whole]
    assert heard[0] == (5, 36)
    assert heard[-1] == (36, 36)


def test_folders_and_files_in_the_order_in_which_they_are_given(studies, photos, tmp_path):
    run = studies["images"]["ce"]
    loose = tmp_path / "loose.PNG"
    shutil.copy(photos / "cow" / "000.png", loose)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    shutil.copy(loose, tmp_path / "deep" / "er" / "x.png")
    (tmp_path / "deep" / "notes.txt").write_text("no image")
    answers = tw.predict(run.folder, [loose, photos / "bee", tmp_path / "deep"], top=10)
    assert [a.image for a in answers] == [loose, *sorted((photos / "bee").iterdir()), tmp_path / "deep" / "er" / "x.png"]
    assert answers[0].classes == answers[-1].classes
    assert all(len(a.classes) == len(a.scores) == 3 for a in answers)
    assert all(sum(a.scores) == pytest.approx(1.0) for a in answers)
    assert tw.predict(run, photos / "ant" / "000.png", top=1)[0].classes == predict(run, [photos / "ant" / "000.png"])[0].classes[:1]


def test_a_run_alone_carries_its_frozen_network_wherever_it_goes(photos, tmp_path):
    run = tw.train(tw.read(photos, split="50/20/30"), "tau-norm", out=tmp_path / "a", store=Store(tmp_path / "s"), **FROZEN)
    said = run.predictions.split("test")
    shutil.rmtree(tmp_path / "s")
    moved = shutil.move(run.folder, tmp_path / "elsewhere")
    found = RunModel(Run.load(moved), None, CPU).logits([photos / id_ for id_ in said.ids])
    assert found == pytest.approx(said.logits, abs=1e-3)


def test_a_frozen_network_from_a_file_is_in_the_run_and_its_file_may_go(photos, tmp_path):
    file = random_weights(tmp_path / "w.safetensors")
    words = {**FROZEN, "net": f"mobilenetv2_100@{file}", "out": tmp_path / "a", "store": Store(tmp_path / "s")}
    run = tw.train(tw.read(photos, split="50/20/30"), "ce", **words)
    file.unlink()
    said = run.predictions.split("test")
    found = RunModel(run, None, CPU).logits([photos / id_ for id_ in said.ids])
    assert found == pytest.approx(said.logits, abs=1e-4 * max(1.0, float(np.abs(said.logits).max())))


def test_a_run_on_grey_images_sees_photographs_as_grey(tmp_path):
    folder = tmp_path / "grey"
    for file in paint(tmp_path / "colour", COUNTS).rglob("*.png"):
        target = folder / file.relative_to(tmp_path / "colour")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).convert("L").save(target)
    run = tw.train(tw.read(folder, split="50/20/30"), "ce", out=tmp_path / "a", store=Store(tmp_path / "s"), **TRAINED)
    assert run.record["data"]["shape"] == [32, 32, 1]
    said = run.predictions.split("test")
    for source in (folder, tmp_path / "colour"):
        assert RunModel(run, None, CPU).logits([source / id_ for id_ in said.ids]) == pytest.approx(said.logits, abs=1e-4)


# --- a method of one's own ----------------------------------------------------------------------------------------------


def test_a_user_s_own_file_is_asked_for_and_gives_the_run_s_logits(photos, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    data = tw.read(photos, split="50/20/30")
    row = f"{tmp_path / 'mine.py'}(tau=0.5)"
    run = tw.train(data, row, out=tmp_path / "a", store=Store(tmp_path / "s"), **TRAINED)
    said = run.predictions.split("test")
    files = [photos / id_ for id_ in said.ids]
    with pytest.raises(BadData, match=r"--method ./FILE\.py"):
        predict(run, files)
    found = RunModel(run, parse_row(row), CPU).logits(files)
    assert found == pytest.approx(said.logits, abs=1e-4)
    refused(run, files, r"mine\(tau=0\.5\)", method=str(tmp_path / "mine.py"))


def test_a_user_s_file_with_a_name_and_a_class_of_ours_is_asked_for(photos, tmp_path):
    """Only that the row is typed as a path tells the two apart."""
    (tmp_path / "ce.py").write_text(MINE.replace("class Mine", "class CE"))
    run = tw.train(tw.read(photos, split="50/20/30"), str(tmp_path / "ce.py"), out=tmp_path / "a", store=Store(tmp_path / "s"), **TRAINED)
    with pytest.raises(BadData, match=r"--method ./FILE\.py"):
        predict(run, [photos])
    assert len(tw.predict(run, photos, method=str(tmp_path / "ce.py"))) == sum(COUNTS.values())


def test_a_network_that_depends_on_the_length_of_training_is_that_of_the_run(photos, tmp_path):
    """What a method sees of a recipe is its epochs; those of the run count, not those of the recipe's file."""
    by_epochs = "yield Stage(net=Net(head=NormalisedHead() if about.epochs == 2 else None), criterion=CrossEntropyLoss())"
    (tmp_path / "mine.py").write_text(MINE.replace("yield Stage(criterion=CrossEntropyLoss())", by_epochs))
    row = str(tmp_path / "mine.py")
    run = tw.train(tw.read(photos, split="50/20/30"), row, out=tmp_path / "a", store=Store(tmp_path / "s"), **TRAINED)
    said = run.predictions.split("test")
    found = RunModel(run, parse_row(row), CPU).logits([photos / id_ for id_ in said.ids])
    assert found == pytest.approx(said.logits, abs=1e-4)


def test_modifiers_of_a_run_are_known_from_its_record(photos, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    file = str(tmp_path / "mine.py")
    words = {"modifiers": ["ema(decay=0.5)"], "out": tmp_path / "a", "store": Store(tmp_path / "s"), **TRAINED}
    run = tw.train(tw.read(photos, split="50/20/30"), file, **words)
    said = run.predictions.split("test")
    files = [photos / id_ for id_ in said.ids]
    for row in (file, f"{file}+ema(decay=0.5)"):
        assert RunModel(run, parse_row(row), CPU).logits(files) == pytest.approx(said.logits, abs=1e-4)
    refused(run, files, "was trained with", method=f"{file}+ema(decay=0.9)")


def test_a_user_s_file_that_is_called_like_ours_is_not_taken_for_ours(photos, tmp_path):
    (tmp_path / "la.py").write_text(MINE)
    run = tw.train(tw.read(photos, split="50/20/30"), str(tmp_path / "la.py"), out=tmp_path / "a", store=Store(tmp_path / "s"), **TRAINED)
    with pytest.raises(BadData, match="--method"):
        predict(run, [photos])
    assert predict(run, [photos], method=parse_row(str(tmp_path / "la.py")))


@pytest.mark.parametrize("other", ["la", "crt", "ce+ema", "la(tau=2)"])
def test_another_method_than_the_run_s_is_refused(studies, photos, other):
    with pytest.raises(BadValue, match="ce") as refused:
        predict(studies["images"]["ce"], [photos], method=parse_row(other))
    assert "\n" not in str(refused.value)


# --- what is refused ----------------------------------------------------------------------------------------------------


def refused(run: Run | Path, images: object, match: str, **words: object) -> None:
    with pytest.raises((BadData, BadValue, Clash), match=match) as error:
        tw.predict(run, images, **words)
    assert "\n" not in str(error.value)


def test_images_that_cannot_be_used_are_named(studies, photos, tmp_path):
    run = studies["images"]["ce"]
    refused(run, tmp_path / "nosuch.png", "nosuch.png: no such file or folder")
    (tmp_path / "empty").mkdir()
    refused(run, tmp_path / "empty", "no images in this folder")
    (tmp_path / "text.png").write_text("no image at all")
    refused(run, [photos / "ant", tmp_path / "text.png"], "1 of 19 images cannot be read: .*text.png")
    whole = (photos / "ant" / "000.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    refused(run, tmp_path / "cut.png", "cut.png: a damaged image")
    refused(run, [], "no images are given")
    refused(run, photos, "from 1, got 0", top=0)


def test_a_prior_that_cannot_be_is_refused_before_anything_is_read(studies, photos):
    refused(known(studies["images"]["ncm"], None), photos, "ncm: its scores are no log probabilities", test_prior="uniform")
    run = known(studies["images"]["ce"], (9, 6, 3))
    refused(run, photos, "Did you mean 'uniform'", test_prior="unifrm")
    refused(run, photos, "of 2 classes where there are 3", test_prior=[1, 2])


def test_folders_that_are_no_runs_and_runs_on_features_are_refused(photos, tmp_path):
    refused(tmp_path / "nosuch", photos, "run.json is not there")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", features=rng.normal(size=(40, 4)).astype(np.float32), labels=np.arange(40) % 2)
    run = tw.train(tmp_path / "f.npz", "ce", settings=EPOCHS, out=tmp_path / "a", store=Store(tmp_path / "s"))
    refused(run, photos, "feature vectors, not on images")


@pytest.mark.parametrize("name", ["weights.safetensors", "extractor.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "rubbish", "empty", "other tensors", "a folder", "other shapes"])
def test_missing_and_damaged_weights_are_named_in_one_line(studies, photos, tmp_path, name, damage):
    if (name, damage) == ("extractor.safetensors", "flipped"):
        pytest.skip("one file serves all runs of a study, and no record has its hash")
    run = copied(studies["frozen"]["ce"], tmp_path)
    file = (run.folder if name.startswith("weights") else tmp_path) / name
    if damage in ("missing", "a folder"):
        file.unlink()
    if damage == "a folder":
        file.mkdir()
    elif damage == "flipped":
        data = bytearray(file.read_bytes())
        data[-5] ^= 1
        file.write_bytes(bytes(data))
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage in ("rubbish", "empty"):
        file.write_bytes(b"no tensors" * 5 if damage == "rubbish" else b"")
    elif damage == "other tensors":
        save_file({"x": torch.zeros(3)}, file)
    elif damage == "other shapes":
        save_file({key: tensor.flatten()[:1].clone() for key, tensor in load_file(file).items()}, file)
    refused(run, photos / "ant" / "000.png", name)


def test_runs_with_damaged_predictions_are_refused(studies, photos, tmp_path):
    run = copied(studies["frozen"]["tau-norm"], tmp_path)
    (run.folder / "predictions" / "head.safetensors").write_bytes(b"rubbish")
    refused(run, photos / "ant" / "000.png", "head.safetensors")


def test_hidden_files_and_links_that_lead_back_are_left_alone(photos, tmp_path):
    place = tmp_path / "new"
    shutil.copytree(photos, place)
    number = len(find_images([place]))
    (place / "._000.png").write_bytes(b"what a Mac leaves")
    (place / "ant" / "back").symlink_to(place)
    assert len(find_images([place])) == number == len(list(photos.rglob("*.png")))
