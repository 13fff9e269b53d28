"""Corrections after the fact: the same to the bit as a method that was trained so, as a run on disk, in reports, in one line where not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import tailwise as tw
from tailwise.cli import run as command
from tailwise.errors import BadData, BadValue, Clash, OutputExists, UnknownName
from tailwise.posthoc import estimate_prior
from tailwise.store import Store
from tailwise.study.runs import Run

ROWS = "ce,la,tau-norm,ncm,ldam,la(base=ldam),balanced-softmax,la(base=balanced-softmax),ce+ema,la+ema"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    place = tmp_path_factory.mktemp("study")
    data = tw.read("digits", split="50/10/40", tail="exponential:50")
    quick = ["recipe.epochs=20"]
    return tw.compare(data, ROWS, seeds=1, recipe="demo", settings=quick, out=place / "s", store=Store(place / "store"))


@pytest.mark.limit
@pytest.mark.parametrize(
    ("of", "posthoc", "equals"),
    [
        ("ce", "la", "la"),
        ("ce", "tau-norm", "tau-norm"),
        ("ce", "ncm", "ncm"),
        ("ncm", "la", "la"),
        ("tau-norm", "ncm", "ncm"),
        ("ldam", "la", "la(base=ldam)"),
        ("balanced-softmax", "la", "la(base=balanced-softmax)"),
        ("ce+ema", "la", "la+ema"),
    ],
)
def test_a_correction_equals_the_method_that_is_trained_so(study, of, posthoc, equals):
    made, trained = tw.adjust_run(study.runs[of][0], posthoc=posthoc), study.runs[equals][0]
    assert made.record["method"] == equals
    assert made.record["correction"] == trained.record["correction"]
    np.testing.assert_allclose(made.record["prior_left"] or 0, trained.record["prior_left"] or 0)
    for split in ("val", "test"):
        np.testing.assert_array_equal(made.predictions.split(split).logits, trained.predictions.split(split).logits)


def test_a_knob_is_taken_and_twice_is_said(study):
    ce = study.runs["ce"][0]
    assert tw.adjust_run(ce, posthoc="la(tau=0.5)").record["correction"]["tau"] == 0.5
    assert "taken out twice" in tw.adjust_run(study.runs["balanced-softmax"][0], posthoc="la").record["posthoc"]
    assert "twice" not in tw.adjust_run(ce, posthoc="la").record["posthoc"]


def test_temperature_changes_scores_and_no_answer(study):
    ce = study.runs["ce"][0]
    made = tw.adjust_run(ce, posthoc="temperature")
    before, after = ce.evaluate(), made.evaluate()
    np.testing.assert_array_equal(before.answers.predicted, after.answers.predicted)
    assert after.ece != before.ece
    assert made.record["method"] == "ce, calibrated"


def test_a_prior_is_estimated_on_the_images_without_their_labels(study):
    ce = study.runs["ce"][0]
    made = tw.adjust_run(ce, test_prior="estimated")
    part, test = made.record["correction"], ce.predictions.split("test")
    np.testing.assert_allclose(part["expected"], estimate_prior(test.logits, part["left"], part["temperature"]).shares, atol=1e-9)
    assert made.record["prior_left"] == part["expected"]
    shuffled = np.random.default_rng(0).permutation(test.labels)
    other = Run(ce.folder, ce.record, answers=_with_labels(ce.predictions, shuffled))
    assert tw.adjust_run(other, test_prior="estimated").record["correction"] == part


def _with_labels(predictions, labels):
    return replace(predictions, splits={**predictions.splits, "test": replace(predictions.split("test"), labels=labels)})


def test_a_corrected_run_is_a_run(study, tmp_path, capsys):
    ce, out = study.runs["ce"][0], tmp_path / "adjusted"
    assert command(["adjust", str(ce.folder), "--posthoc", "tau-norm", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "against ce" in said
    assert f"written: {out}" in " ".join(said.split())
    found = Run.load(out).check_whole()
    np.testing.assert_array_equal(found.predictions.split("test").logits, study.runs["tau-norm"][0].predictions.split("test").logits)
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "x.png")
    ours, theirs = (tw.predict(run, tmp_path / "x.png")[0] for run in (found, study.runs["tau-norm"][0]))
    assert (ours.classes, ours.scores) == (theirs.classes, theirs.scores)
    assert command(["adjust", str(ce.folder), "--posthoc", "tau-norm", "--out", str(out)]) == 0
    assert "already done" in capsys.readouterr().out
    assert command(["adjust", str(ce.folder), "--posthoc", "la", "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert command(["adjust", str(ce.folder), "--posthoc", "la", "--out", str(out), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "la"
    again = tw.adjust_run(out, posthoc="tau-norm")
    np.testing.assert_array_equal(again.predictions.split("test").logits, study.runs["tau-norm"][0].predictions.split("test").logits)


def test_a_shifted_run_predicts_under_its_prior(study, tmp_path):
    ce = study.runs["ce"][0]
    out = tw.adjust_run(ce, test_prior="reversed", out=tmp_path / "r")
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "x.png")
    asked, given = tw.predict(out, tmp_path / "x.png")[0], tw.predict(ce, tmp_path / "x.png", test_prior="reversed")[0]
    assert asked.classes == given.classes
    for word in ("uniform", "estimated"):
        again, once = (tw.adjust_run(run, test_prior=word).record["correction"] for run in (out, ce))
        for name in ("left", "expected", "temperature"):
            np.testing.assert_allclose(again[name], once[name], rtol=1e-6, atol=1e-9)


def test_a_run_is_not_replaced_by_its_own_correction(study, tmp_path):
    shutil.copytree(study.runs["ce"][0].folder, tmp_path / "r")
    with pytest.raises(OutputExists, match="would be corrected"):
        tw.adjust_run(tmp_path / "r", posthoc="la", out=tmp_path / "r", force=True)
    assert Run.load(tmp_path / "r").check_whole().record["method"] == "ce"


def test_a_shifted_run_of_an_earlier_version_is_taken_back_by_its_own_part(study):
    ce = study.runs["ce"][0]
    made = tw.adjust_run(ce, test_prior="uniform")
    old = replace(made, record={name: value for name, value in made.record.items() if name != "network_prior"})
    ours, theirs = (tw.adjust_run(run, test_prior="reversed").record["correction"] for run in (old, ce))
    for name in ("left", "expected", "temperature"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6)


@pytest.mark.parametrize("first", ["temperature", "la"])
def test_what_a_run_ends_with_is_undone_before_another_prior_comes(study, tmp_path, first):
    """In the stored answers and in the part that new images go through alike: an export holds the one against the other."""
    ce = study.runs["ce"][0]
    corrected = tw.adjust_run(ce, posthoc=first, out=tmp_path / "first")
    made = tw.adjust_run(corrected, test_prior="reversed", out=tmp_path / "then")
    direct = tw.adjust_run(ce, test_prior="reversed")
    assert made.record["correction"]["temperature"] == pytest.approx(direct.record["correction"]["temperature"], rel=1e-5)
    np.testing.assert_allclose(made.predictions.split("test").logits, direct.predictions.split("test").logits, rtol=1e-4, atol=1e-4)
    check = tw.export(made, tmp_path / "m", format="torch").record["checks"]["torch"]
    assert check["stored_gap"] < 1e-4 * max(check["largest_logit"], 1)


def test_predict_estimates_on_the_images_that_it_is_given(study, tmp_path, capsys):
    for name in "abc":
        Image.fromarray(np.full((8, 8), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    found = tw.predict(study.runs["ce"][0], tmp_path, test_prior="estimated")
    assert found[0].scoring.estimated_on == 3
    assert "few, so it is rough" in found[0].scoring.scores
    assert sum(found[0].scoring.expected) == pytest.approx(1)


def test_a_page_recommends_among_corrections_too(study, tmp_path):
    tw.report(study.folder, posthoc=["temperature"], out=tmp_path / "r")
    made = json.loads((tmp_path / "r" / "report.json").read_text())["recommendation"]
    assert made["row"] == study.recommendation().row
    assert made["next_row"] == study.recommendation().next_row, "its own calibrated answers are no second best"


def test_a_report_shows_rows_with_corrections_too(study, capsys):
    summary = tw.report(study.folder, posthoc=["la", "tau-norm"])
    names = [row.name for row in summary.rows]
    assert len(names) == len(set(names))
    assert {"la(base=ldam)", "tau-norm(base=balanced-softmax)"} <= set(names)
    (refused,) = [row for row in summary.rows if row.name == "tau-norm(base=ldam)"]
    assert refused.seeds == 0
    assert "linear head" in refused.note
    assert command(["report", str(study.runs["ce"][0].folder), "--posthoc", "la(tau=0.5),temperature"]) == 0
    said = capsys.readouterr().out
    assert "la(tau=0.5)" in said
    assert "ce, calibrated" in said


def test_a_report_under_an_estimated_prior_stands_for_the_images_as_they_are(study):
    summary = tw.report(study.folder, test_prior="estimated")
    assert summary.setting.expected is None
    assert "estimated on n = 719 images without their labels" in summary.rows[0].note
    plain = {row.name: row for row in tw.report(study.folder).rows}
    assert summary.rows[0].cells["overall"].mean > plain["ce"].cells["overall"].mean  # even test images, uneven training ones


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"posthoc": "tau-norn"}, "Did you mean 'tau-norm'"),
        ({"posthoc": "ldam"}, "ldam is trained"),
        ({"posthoc": "la(tua=1)"}, "tua"),
        ({"posthoc": "la", "test_prior": "uniform"}, "give one of"),
        ({}, "give one of"),
        ({"test_prior": "estimatd"}, "Did you mean 'estimated'"),
    ],
)
def test_words_that_do_not_fit_are_one_line(study, words, error):
    with pytest.raises((BadData, BadValue, UnknownName), match=error):
        tw.adjust_run(study.runs["ce"][0], **words)


def test_what_a_run_lacks_is_said(study, tmp_path):
    ce = study.runs["ce"][0]
    old = Run(ce.folder, {name: value for name, value in ce.record.items() if name not in ("shown", "network_prior")})
    with pytest.raises(Clash, match="train"):
        tw.adjust_run(old, posthoc="la")
    shutil.copytree(ce.folder, tmp_path / "other")
    with pytest.raises(OutputExists):
        tw.adjust_run(ce, posthoc="la", out=tmp_path / "other")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--posthoc", "la", "--counts", "c.json"], "--counts is for arrays"),
        ([], "either --posthoc or --test-prior"),
    ],
)
def test_the_command_says_what_a_run_takes(study, tmp_path, capsys, words, error):
    assert command(["adjust", str(study.runs["ce"][0].folder), *words, "--out", str(tmp_path / "o")]) == 2
    assert error in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_arrays_take_no_posthoc_and_need_counts(tmp_path, capsys):
    np.save(tmp_path / "z.npy", np.zeros((2, 2)))
    for words, error in ((["--posthoc", "la"], "needs a run"), ([], "without --counts")):
        assert command(["adjust", str(tmp_path / "z.npy"), *words, "--out", str(tmp_path / "o.npy")]) == 2
        assert error in capsys.readouterr().err
