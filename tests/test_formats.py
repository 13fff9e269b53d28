"""docs/formats.md names every key that a command prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tailwise.cli import run

DOCS = (Path(__file__).parents[1] / "docs/formats.md").read_text(encoding="utf-8")
FAST = ["--recipe", "demo", "--set", "recipe.epochs=1", "--json"]
TRAIN = ["train", "digits", *FAST, "--method", "la"]
COMPARE = ["compare", "digits", *FAST, "--methods", "ce", "--seeds", "1", "--out", "study"]


def undocumented(value: object) -> set[str]:
    """Keys at the top of a record that the page does not name."""
    assert isinstance(value, dict)
    return {key for key in value if f"`{key}`" not in DOCS}


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))


@pytest.mark.parametrize(
    "words",
    [
        ["methods", "--json"],
        ["recipes", "--json"],
        ["networks", "--json"],
        ["networks", "--like", "resnet1", "--json"],
        ["show", "ldam", "--json"],
        ["show", "cifar", "--json"],
        ["show", "resnet8", "--json"],
        ["doctor", "--json"],
    ],
)
def test_keys_of_lists_and_cards_are_documented(capsys, words):
    assert run(words) == 0
    assert undocumented(json.loads(capsys.readouterr().out)) == set()


def test_keys_of_what_is_written_about_data_are_documented(capsys):
    assert run(["explore", "digits", "--json"]) == 0
    assert undocumented(json.loads(capsys.readouterr().out)) == set()
    assert run(["build", "digits", "built", "--tail", "exponential:50", "--json"]) == 0
    assert undocumented(json.loads(capsys.readouterr().out)) == set()
    assert run(["check", "digits", "--json"]) == 0
    assert undocumented(json.loads(capsys.readouterr().out)) == set()
    np.save("logits.npy", np.zeros((2, 3)))
    Path("counts.json").write_text("[3, 2, 1]")
    assert run(["adjust", "logits.npy", "--counts", "counts.json", "--out", "adjusted.npy", "--json"]) == 0
    assert undocumented(json.loads(capsys.readouterr().out)) == set()


def test_keys_of_runs_and_studies_are_documented(capsys):
    assert run(TRAIN) == 0
    record = json.loads(capsys.readouterr().out)
    assert undocumented(record) == set()
    assert undocumented(record["evaluation"]) == set()
    assert undocumented(next(iter(record["evaluation"]["groups"].values()))) == set()
    assert run([*COMPARE, "--dry-run"]) == 0
    assert undocumented(json.loads(capsys.readouterr().out)) == set()
    assert run(COMPARE) == 0
    study = json.loads(capsys.readouterr().out)
    assert undocumented(study) | undocumented(study["summary"]) | undocumented(study["saving"]) == set()
    assert undocumented(study["recommendation"]) == set()
    assert undocumented(json.loads(Path("study/study.json").read_text())) == set()
    assert undocumented(json.loads(Path("study/report.json").read_text())) == set()
