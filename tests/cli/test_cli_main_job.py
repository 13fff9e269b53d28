"""The main job as a user types it: compare photographs, take the recommendation, train on all of them, predict."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from photos import COUNTS, paint
from tailwise.cli import run
from tailwise.records import with_seal

SMALL = ["--set", "recipe.image_size=32", "--set", "recipe.epochs=3", "--set", "recipe.second.epochs=1"]

MINE = """
from dataclasses import dataclass
from tailwise.counts import SHOWN
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import Card, Method, Stage, knob, method
from tailwise.posthoc.logit_adjustment import LogitAdjustment

@method(Card(title="Mine", family="baseline", formula="CE"))
@dataclass(frozen=True)
class Mine(Method):
    tau: float | str = knob("val", help="strength")
    def stages(self, about):
        yield Stage(criterion=CrossEntropyLoss())
    def posthoc(self, about):
        return LogitAdjustment(SHOWN, self.tau if self.tau == "val" else float(self.tau))
"""


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def photos(own_place) -> str:
    return paint(own_place / "my photos", COUNTS).name


def said(capsys, *words: str) -> str:
    assert run([str(word) for word in words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def told(capsys, *words: str) -> dict:
    return json.loads(said(capsys, *words, "--json"))


def refused(capsys, *words: str) -> str:
    assert run([str(word) for word in words]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("tailwise: ")
    assert "\n" not in error
    return error


def next_commands(text: str) -> list[list[str]]:
    """The commands that are printed under `next:`, as a shell would take them apart."""
    lines = text.split("\nnext:\n")[1].splitlines()
    found = [shlex.split(line) for line in lines if line.startswith("  tailwise ")]
    return [words[1:] for words in found]


def follow(capsys, text: str, images: str) -> list[str]:
    """Run every printed next command; give what each printed."""
    out = []
    for words in next_commands(text):
        where = words.index("IMAGES...") if "IMAGES..." in words else None
        if where is not None:
            words[where] = images
        out.append(said(capsys, *words))
    return out


# --- compare ------------------------------------------------------------------------------------------------------------


def test_comparing_unsplit_photographs_tells_the_whole_story(photos, capsys):
    text = said(capsys, "compare", photos, *SMALL, "--methods", "ce,la,tau-norm", "--seeds", "2", "--out", "study")
    order = [
        "split by the default rule",
        "3 methods x 2 seeds on frozen efficientnet-lite0",
        "estimate:",
        "95 % intervals for these networks on new images",
        "Differences from ce in points",
        "All rows: recipe head",
        "Recommended: ",
        "On test, which chose nothing",
        "sharing: ",
        "study: study",
        "\nnext:",
    ]
    places = [text.find(words) for words in order]
    assert -1 not in places, order[places.index(-1)]
    assert places == sorted(places), text
    assert "may be chance" in text
    predicted, trained = follow(capsys, text, photos)
    assert predicted.count(".png") == 36
    assert "fitted on val (n = " in predicted
    assert "train 36" in trained
    assert "nothing is left to measure on" in trained
    again = said(capsys, "compare", photos, *SMALL, "--methods", "ce,la,tau-norm", "--seeds", "2", "--out", "study")
    assert "already done: study" in again
    assert next_commands(again) == next_commands(text)


def test_next_commands_keep_how_the_data_are_read_and_trained(own_place, capsys):
    paint(own_place / "p", {"ant": 30, "bee": 20, "cow": 10})
    words = ["--tail", "exponential:3", "--split", "50/20/30", "--split-seed", "4", "--groups", "thirds", "--threads", "1"]
    text = said(capsys, "compare", "p", *SMALL, *words, "--methods", "tau-norm(base=ce-drw(start=0.5))", "--seeds", "1")
    train = next_commands(text)[1]
    assert "--split" not in train
    assert train[train.index("--method") + 1].startswith("tau-norm(base=ce-drw(start=0.5),tau=")
    trained = follow(capsys, text, "p")[1]
    assert "tau = " in trained
    folder = next(line for line in trained.splitlines() if line.startswith("run: ")).removeprefix("run: ")
    record = json.loads(Path(folder, "run.json").read_text())
    assert record["recipe"]["epochs"] == 3
    assert record["groups"]["scheme"] == "thirds"
    assert record["numerics"]["threads"] == "1"
    assert any("exponential" in line for line in record["data"]["provenance"])


def test_next_commands_of_feature_vectors_ask_for_no_images(own_place, capsys):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [40, 30, 20])
    np.savez("f.npz", features=(rng.normal(size=(90, 5)) + np.eye(5)[labels]).astype(np.float32), labels=labels)
    text = said(capsys, "compare", "f.npz", "--methods", "ce", "--seeds", "1", "--set", "recipe.epochs=2")
    (trained,) = follow(capsys, text, "")
    assert "tailwise predict" not in trained


def test_next_commands_of_a_method_of_one_s_own_name_its_file(photos, capsys):
    Path("my_own.py").write_text(MINE)
    text = said(capsys, "compare", photos, *SMALL, "--methods", "./my_own.py+ema", "--seeds", "1")
    _, trained = follow(capsys, text, photos)
    train = next_commands(text)[1]
    assert train[train.index("--method") + 1].startswith("./my_own.py(tau=")
    words = next(words for words in next_commands(trained) if words[0] == "predict")
    words[words.index("IMAGES...")] = photos
    assert said(capsys, *words).count(".png") == 36


def test_without_val_nothing_is_recommended(photos, capsys):
    text = said(capsys, "compare", photos, *SMALL, "--methods", "ce,tau-norm", "--seeds", "1", "--split", "80/20", "--out", "s")
    assert "No recommendation: there are no val images" in text
    assert "next:" not in text
    assert "published value" in text
    assert json.loads(Path("s/report.json").read_text())["recommendation"] is None


def test_dry_run_says_plan_and_cost_and_computes_nothing(photos, own_place, capsys):
    words = ["compare", photos, *SMALL, "--methods", "ce,crt", "--seeds", "1", "--dry-run"]
    assert "estimate: " in said(capsys, *words)
    plan = told(capsys, *words)
    assert {"schema", "out", "steps_alone", "steps_shared", "steps_stored", "seconds", "plans", "warnings", "notes", "left_out"} == set(
        plan
    )
    assert plan["schema"] == "tailwise.plan/1"
    assert plan["seconds"] > 0
    assert told(capsys, "train", photos, *SMALL, "--dry-run")["schema"] == "tailwise.plan/1"
    assert {p.name for p in own_place.iterdir()} == {"my photos", "store"}
    assert not {"features", "states", "pixels"} & {p.name for p in (own_place / "store").iterdir()}


def test_comparison_as_json_carries_the_recommendation(photos, capsys):
    words = ["compare", photos, *SMALL, "--methods", "ce,tau-norm", "--seeds", "1", "--out", "s"]
    found = told(capsys, *words)
    assert set(found) == {"schema", "folder", "summary", "recommendation", "saving"}
    choice = {"row", "typed", "run", "seeds", "val", "val_interval", "val_images", "next_row", "next_val", "lead", "settled"}
    assert set(found["recommendation"]) == choice | {"test", "folds", "learnt_on", "gain", "advice"}
    assert found["recommendation"] == json.loads(Path("s/report.json").read_text())["recommendation"]
    assert Path("s/runs", found["recommendation"]["run"], "run.json").exists()
    assert told(capsys, *words) == found


# --- all data -----------------------------------------------------------------------------------------------------------


def test_all_data_trains_on_every_image_and_measures_nothing(own_place, capsys):
    for split, counts in (("train", {"ant": 9, "bee": 6}), ("val", {"ant": 2, "bee": 3}), ("test", {"ant": 4, "bee": 1})):
        paint(own_place / "p" / split, counts, seed=len(split))
    record = told(capsys, "train", "p", *SMALL, "--all-data", "--out", "a", "--method", "tau-norm")
    assert record["data"]["splits"] == {"train": 25}
    assert record["data"]["train_counts"] == [15, 10]
    assert record["evaluation"] is None
    assert "10 images of val and test are training images" in record["data"]["provenance"][-1]
    assert "tau = 0.70, the published value: no validation images" in record["posthoc"]
    assert record["correction"]["tau"] == 0.7
    assert "trained on all its rows" in refused(capsys, "report", "a")
    assert "trained on all its rows" in refused(capsys, "report", "a", "--json")
    found = told(capsys, "predict", "a", "p/test", "--top", "1")
    assert len(found["answers"]) == 5
    assert (found["scoring"]["temperature"], found["scoring"]["val_images"]) == (1.0, 0)
    assert "not calibrated: no validation images" in said(capsys, "predict", "a", "p/test")
    text = said(capsys, "train", "p", *SMALL, "--all-data", "--out", "a", "--method", "tau-norm")
    assert text.startswith("already done")
    assert "tau = 0.70" in text
    assert "tailwise report" not in text


def test_all_data_with_a_split_is_refused(photos, own_place, capsys):
    error = refused(capsys, "train", photos, *SMALL, "--all-data", "--split", "80/10/10")
    assert "--all-data" in error
    assert "--split 80/10/10" in error
    assert not (own_place / "tailwise-out").exists()


# --- predict, features, recipes -----------------------------------------------------------------------------------------


def test_answers_as_json_and_as_a_table(photos, capsys):
    said(capsys, "train", photos, *SMALL, "--out", "a")
    found = told(capsys, "predict", "a", f"{photos}/ant", f"{photos}/cow/000.png", "--top", "9")
    assert set(found) == {"schema", "run", "scoring", "answers"}
    assert found["schema"] == "tailwise.answers/1"
    assert [Path(answer["image"]).name for answer in found["answers"]] == [f"{i:03d}.png" for i in (*range(18), 0)]
    for answer in found["answers"]:
        scores = [one["score"] for one in answer["top"]]
        assert {one["class"] for one in answer["top"]} == set(COUNTS)
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1.0)
    text = said(capsys, "predict", "a", f"{photos}/cow/000.png")
    assert found["answers"][-1]["top"][0]["class"] in text
    assert f"score: {found['scoring']['scores']}" in text
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    assert {key for key in found["scoring"] if f"`{key}`" not in page.split("## Answers")[1].split("\n## ")[0]} == set()


def test_a_test_prior_moves_the_answers_and_is_said(photos, capsys):
    said(capsys, "train", photos, *SMALL, "--out", "a")
    with_prior_left("a", [18, 12, 6])
    Path("q.json").write_text('{"cow": 3, "ant": 0, "bee": 0}')
    found = told(capsys, "predict", "a", photos, "--test-prior", "q.json")
    assert {answer["top"][0]["class"] for answer in found["answers"]} == {"cow"}
    assert {answer["top"][0]["score"] for answer in found["answers"]} == {1.0}
    assert (found["scoring"]["test_prior"], found["scoring"]["expected"]) == ("q.json", [0.0, 0.0, 1.0])
    text = said(capsys, "predict", "a", photos, "--test-prior", "reversed")
    assert "score: probability under the reversed training prior, temperature" in text
    for words, expected in (
        ("unifrm", "Did you mean 'uniform'"),
        ("my photos", "cannot be read as JSON"),
        ("mine.npy", "no word and no file"),
    ):
        assert expected in refused(capsys, "predict", "a", photos, "--test-prior", words)
    with_prior_left("a", None)
    assert "no log probabilities" in refused(capsys, "predict", "a", photos, "--test-prior", "uniform")
    assert "fitted on val" in said(capsys, "predict", "a", photos)


def with_prior_left(run: str, counts: list[int] | None) -> None:
    """Write the prior that is left in a run's logits into its record."""
    file = Path(run, "run.json")
    record = {name: value for name, value in json.loads(file.read_text()).items() if name != "seal"}
    shares = counts and [n / sum(counts) for n in counts]
    file.write_text(json.dumps(with_seal({**record, "prior_left": shares})))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a"], "no images are given"),
        (["a", "nosuch"], "no such file or folder"),
        (["a", "my photos", "--top", "0"], "from 1"),
        (["nosuch", "my photos"], "run.json"),
        (["a", "my photos", "--method", "la"], "was trained with 'ce'"),
        (["a", "my photos", "--method", "nosuch"], "nosuch"),
        (["a", "mine.py"], "mine.py"),
    ],
)
def test_predict_refuses_in_one_line(photos, capsys, words, expected):
    rng = np.random.default_rng(0)
    np.savez("f.npz", features=rng.normal(size=(40, 4)).astype(np.float32), labels=np.arange(40) % 2)
    Path("mine.py").write_text(MINE)
    said(capsys, "train", "f.npz", "--set", "recipe.epochs=1", "--out", "a")
    assert expected in refused(capsys, "predict", *words)


def test_features_are_written_once_and_compared(photos, capsys):
    words = ["features", photos, "--size", "32", "--out", "my vectors"]
    text = said(capsys, *words)
    assert text.startswith("written:")
    assert "weights sha256" in text
    command = shlex.split(next(line for line in text.splitlines() if line.startswith("next: ")).removeprefix("next: tailwise "))
    record = told(capsys, *words)
    named = {"schema", "key", "data", "images", "network", "weights", "size", "normalise", "resize", "width", "engine", "folder"}
    assert named == set(record)
    assert said(capsys, *words).startswith("already done:")
    assert "another network" in refused(capsys, *words[:2], "--size", "40", "--out", "my vectors")
    assert "Recommended: " in said(capsys, *command, "--methods", "ce", "--seeds", "1", "--set", "recipe.epochs=2")
    assert "feature vectors already" in refused(capsys, "features", "my vectors")


def test_recipes_are_listed_and_shown(capsys):
    listed = told(capsys, "recipes")["recipes"]
    assert {"head", "finetune", "imagenet", "quick", "cifar", "demo"} <= {one["name"] for one in listed}
    assert all(set(one) == {"name", "about", "net", "epochs", "image_size"} and one["about"] for one in listed)
    text = said(capsys, "recipes")
    assert all(one["name"] in text for one in listed)
    values = {value["name"]: value for value in told(capsys, "show", "head")["values"]}
    assert values["net"]["value"] == "efficientnet-lite0"
    assert values["frozen"]["value"] is True
    assert values["epochs"]["value"] == 30
    assert values["second.epochs"]["value"] == 10
    assert all(value["source"] for value in values.values())
