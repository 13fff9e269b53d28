"""`tailwise report`: intervals, differences, priors and published numbers, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailwise.cli import run

WORDS = ["--set", "recipe.epochs=3", "--recipe", "demo", "--split", "50/10/40", "--tail", "exponential:50", "--groups", "thirds"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study of three seeds."""
    place = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("TAILWISE_STORE", str(place / "store"))
        assert run(["compare", "digits", "--methods", "ce,la,ncm,balanced-softmax+sam", *WORDS, "--out", "study"]) == 0
    return place / "study"


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    assert run([*map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    assert run([*map(str, words)]) == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    return line


def test_a_study_says_differences_efforts_and_what_is_not_equal(study, capsys):
    said = told(capsys, "report", study)
    assert "for the method, on new seeds and images" in said
    assert "Differences from ce in points" in said
    assert "balanced-softmax+sam: " in said
    assert "passes an image" in said
    assert "images seen" in said
    plain = json.loads(told(capsys, "report", study, "--json"))
    assert plain["schema"] == "tailwise.summary/2"
    assert [row["name"] for row in plain["differences"]] == ["la", "ncm", "balanced-softmax+sam"]
    for row in plain["differences"]:
        macro = row["columns"]["macro"]
        assert row["more_than_noise"] == (macro["low"] > 0 or macro["high"] < 0)
    efforts = {row["name"]: row["effort"] for row in plain["rows"]}
    assert efforts["ce"]["steps"] == efforts["balanced-softmax+sam"]["steps"] > 0
    assert efforts["balanced-softmax+sam"]["passes"] == 2 * efforts["ce"]["images seen"]


def test_another_row_may_be_what_the_others_are_held_against(study, capsys):
    assert "Differences from la in points" in told(capsys, "report", study, "--against", "la")
    assert "no row is called 'lda'" in refused(capsys, "report", study, "--against", "lda")


def test_one_run_has_intervals_that_speak_of_its_network(study, capsys):
    said = told(capsys, "report", study / "runs" / "ce-seed0")
    assert "Intervals speak of this network on new images" in said
    plain = json.loads(told(capsys, "report", study / "runs" / "ce-seed0", "--json"))
    assert plain["accuracy_interval"]["low"] < plain["accuracy"] < plain["accuracy_interval"]["high"]
    assert all(found["interval"]["low"] <= found["accuracy"] <= found["interval"]["high"] for found in plain["per_class"])
    assert "needs other rows" in refused(capsys, "report", study / "runs" / "ce-seed0", "--against", "la")


def test_under_the_training_prior_cross_entropy_answers_as_it_did(study, capsys):
    plain, shifted = (json.loads(told(capsys, "report", study, "--json", *words)) for words in ([], ["--test-prior", "train"]))
    own, under = ({row["name"]: row for row in found["rows"]} for found in (plain, shifted))
    assert under["ce"]["cells"]["macro"] == own["ce"]["cells"]["macro"]
    assert under["ce"]["cells"]["overall"]["mean"] != own["ce"]["cells"]["overall"]["mean"]
    assert under["la"]["cells"]["macro"]["mean"] == pytest.approx(under["ce"]["cells"]["macro"]["mean"])
    assert "probability under the training prior, temperature" in under["ce"]["note"]
    assert under["ncm"]["seeds"] == 0
    assert "no log probabilities" in under["ncm"]["note"]
    assert sum(shifted["expected"]) == pytest.approx(1)
    said = told(capsys, "report", study / "runs" / "ce-seed0", "--test-prior", "uniform")
    assert "scores: probability under a uniform prior, temperature" in said


def test_published_numbers_are_separate_samples(tmp_path, capsys):
    path = tmp_path / "published.json"
    rows = {
        "sd": {"many": [3762, 4740], "medium": [656, 1020], "few": [135, 240]},
        "rsg": {"many": [3598, 4740], "medium": [637, 1020], "few": [122, 240]},
    }
    path.write_text(json.dumps(rows))
    said = told(capsys, "report", path, "--against", "rsg")
    assert "many: 79.37 against 75.91 on 4,740 images is more than noise (z = 4.04" in said
    assert "few: 56.25 against 50.83 on 240 images is within noise (z = 1.19" in said
    assert "a paired answer can see smaller differences, and needs the predictions of both" in said
    assert "[44.55, 57.10]" in said
    plain = json.loads(told(capsys, "report", path, "--against", "rsg", "--json"))
    assert [found["more_than_noise"] for found in plain["as_separate_samples"]["sd"]] == [True, False, False, True]


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("{}", [], "holds no row"),
        ('{"a": {"few": [3, 2]}}', [], "3 right answers of 2 images"),
        ('{"a": {"few": [1.5, 2]}}', [], "no file of published numbers"),
        ("not json", [], "no file of published numbers"),
        ('{"a": {"few": [1, 2]}}', ["--against", "b"], "no row is called 'b'"),
        ('{"a": {"few": [1, 2]}}', ["--split", "val"], "numbers, not predictions"),
        ('{"a": {"few": [1, 2]}}', ["--test-prior", "train"], "numbers, not predictions"),
    ],
)
def test_published_numbers_that_cannot_be_are_refused_in_a_line(tmp_path, capsys, text, words, line):
    path = tmp_path / "published.json"
    path.write_text(text)
    assert line in refused(capsys, "report", path, *words)


def test_compare_holds_rows_against_the_one_that_is_named(study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(study.parent / "store"))
    words = ["compare", "digits", "--methods", "ce,la", "--seeds", "1", *WORDS]
    said = told(capsys, *words, "--against", "logit-adjustment", "--out", "other")
    assert "Differences from la in points" in said
    assert "of the method only 3 seeds or more could" in said
    assert json.loads(Path("other/study.json").read_text())["against"] == "la"
    assert "already done" in told(capsys, *words, "--against", "la", "--out", "other")
    assert "row to hold others against is called 'crt'" in refused(capsys, *words, "--against", "crt", "--out", "third")
