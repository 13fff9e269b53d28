"""The commands as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.cli import COMMANDS, run
from tailwise.registry import entries

FAST = ["--recipe", "demo", "--set", "recipe.epochs=2", "--set", "recipe.second.epochs=1"]
DIGITS = ["digits", "--split", "50/10/40", "--tail", "exponential:20"]


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def paint(folder: Path, counts: dict[str, int], size: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for c, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
            pixels[:, c * 3 : c * 3 + 3, c % 3] = 250
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def refused(capsys: pytest.CaptureFixture, *words: str) -> str:
    """The one line on stderr of a refused command; nothing may be on stdout but what was said before."""
    code = run([str(w) for w in words])
    said = capsys.readouterr().err.strip()
    assert code == 2
    assert "\n" not in said
    assert "Traceback" not in said
    assert said.startswith("tailwise: ")
    return said


def test_train_writes_a_run_that_needs_no_store(own_place, capsys):
    assert run(["train", *DIGITS, *FAST, "--method", "ldam-drw", "--out", "a"]) == 0
    said = capsys.readouterr().out
    assert "ldam-drw" in said
    assert "deferred re-weighting: epochs 1-2 of 2" in said
    assert "balanced error" in said
    tensors = {f"{name}.safetensors" for name in ("probe", "thumbnails", "weights")}
    assert {p.name for p in Path("a").iterdir()} == {"run.json", "log.jsonl", "predictions", *tensors}
    import shutil

    shutil.rmtree("store")
    assert run(["report", "a", "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert evaluation["images"] == 719
    assert {"accuracy", "macro_accuracy", "macro_f1", "balanced_error", "groups", "per_class"} <= set(evaluation)


def test_second_call_says_already_done_and_trains_nothing(capsys):
    words = ["train", *DIGITS, *FAST, "--out", "a", "--json"]
    assert run(words) == 0
    first = json.loads(capsys.readouterr().out)
    before = Path("a/run.json").stat().st_mtime_ns
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert Path("a/run.json").stat().st_mtime_ns == before
    run(words[:-1])
    assert "already done" in capsys.readouterr().out


def test_three_commands_share_what_they_can(capsys):
    trained = {}
    settings = ["--recipe", "demo", "--set", "recipe.epochs=5"]
    for name in ("ldam", "ldam-drw", "la(base=ldam-drw)"):
        assert run(["train", *DIGITS, *settings, "--method", name, "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        trained[name] = (record["steps_trained"], record["steps"])
    whole = trained["ldam"][1]
    assert trained["ldam"] == (whole, whole)
    assert trained["ldam-drw"] == (whole // 5, whole)
    assert trained["la(base=ldam-drw)"] == (0, whole)


def test_compare_leaves_one_table_as_json_markdown_and_csv(capsys):
    words = ["compare", *DIGITS, *FAST, "--methods", "ce,la,crt", "--seeds", "2", "--out", "study"]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "steps instead of" in said
    assert "95 % intervals for these networks on new images" in said
    report = json.loads(Path("study/report.json").read_text())
    assert report["saving"]["steps_shared"] < report["saving"]["steps_alone"]
    assert [row["name"] for row in report["summary"]["rows"]] == ["ce", "la", "crt"]
    assert all(row["seeds"] == 2 for row in report["summary"]["rows"])
    markdown, table = Path("study/report.md").read_text(), Path("study/report.csv").read_text()
    assert all(name in markdown and name in table for name in ("ce", "la", "crt"))
    ids = Path("study/splits.csv").read_text().splitlines()
    assert ids[0] == "id,label,split"
    assert run(words) == 0
    assert "already done: study" in capsys.readouterr().out
    assert run(["report", "study", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report["summary"]


def test_compare_of_another_plan_in_the_same_folder_is_refused_and_forced(capsys):
    words = ["compare", *DIGITS, *FAST, "--methods", "ce", "--seeds", "1", "--out", "study"]
    assert run(words) == 0
    capsys.readouterr()
    other = [*words[:-6], "--methods", "balanced-softmax", "--seeds", "1", "--out", "study"]
    assert run(other) == 2
    assert "holds another study" in capsys.readouterr().err
    assert run([*other, "--force"]) == 0
    assert list(json.loads(Path("study/report.json").read_text())["runs"]) == ["balanced-softmax"]
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith("study")) == ["study"]


def test_dry_run_writes_nothing_and_says_the_cost(capsys):
    assert run(["compare", *DIGITS, *FAST, "--methods", "ce,ce-drw", "--seeds", "1", "--out", "study", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["steps_shared"] < plan["steps_alone"]
    assert not Path("study").exists()
    assert not Path("store/states").exists()


def test_folder_of_photographs_is_split_and_trained(own_place, capsys):
    paint(own_place / "photos", {"ant": 24, "bee": 12, "cow": 6})
    assert run(["train", "photos", "--set", "recipe.epochs=2", "--method", "balanced-softmax", "--out", "a", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["data"]["splits"] == {"train": 30, "val": 4, "test": 8}
    assert record["evaluation"]["images"] == 8


def test_features_train_a_head(own_place, capsys):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [40, 20, 10])
    np.savez("f.npz", features=(rng.normal(size=(70, 6)) + 3 * np.eye(6)[labels]).astype(np.float32), labels=labels)
    assert run(["train", "f.npz", "--out", "a", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["network"]["backbone"] == "features"
    assert record["evaluation"]["accuracy"] > 0.8


def test_users_own_method_file_is_found_and_a_flipped_sign_is_trained_again(own_place, capsys):
    source = """
from dataclasses import dataclass
import torch
from tailwise.method import Card, Method, Stage, knob, method
from tailwise.objective import Criterion

@dataclass(eq=False)
class Mine(Criterion):
    strength: float = 1.0
    def rows(self, logits, targets):
        return torch.nn.functional.cross_entropy(logits + self.strength * 0.1, targets, reduction="none") + 0.0 * logits.sum(), None

@method(Card(title="Mine", family="baseline", formula="CE"))
@dataclass(frozen=True)
class MyMethod(Method):
    strength: float = knob(1.0, low=0.0, help="a number")
    def stages(self, about):
        yield Stage(criterion=Mine(self.strength))
"""
    file = own_place / "mine.py"
    words = ["train", *DIGITS, *FAST, "--method", str(file), "--json"]

    def trained(text: str) -> int:
        file.write_text(text)
        assert run(words) == 0
        return json.loads(capsys.readouterr().out)["steps_trained"]

    first = trained(source)
    assert first > 0
    again = source.replace("class Mine(Criterion):", 'class Mine(Criterion):\n    """A docstring, and a comment."""  # here')
    assert trained(again) == first  # the finished run of the same key is shown, not trained again
    import shutil

    shutil.rmtree(own_place / "tailwise-out")
    assert trained(again) == 0
    assert trained(source.replace("+ 0.0 *", "- 0.0 *")) == first


def test_knobs_are_set_and_a_settings_owner_is_asked_for(capsys):
    assert run(["train", *DIGITS, *FAST, "--method", "ldam", "--set", "max_margin=0.2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "ldam(max_margin=0.2)"
    said = refused(capsys, "compare", *DIGITS, *FAST, "--methods", "ce,ldam", "--set", "max_margin=0.2")
    assert "whose knob" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train", "nosuch"], "digits"),
        (["train", "digits", "--method", "ldam-dwr"], "Did you mean 'ldam-drw'"),
        (["train", "digits", "--recipe", "cifr"], "Did you mean 'cifar'"),
        (["train", "digits", "--net", "resnet33"], "Did you mean 'resnet32'"),
        (["train", "digits", "--method", "ldam", "--set", "max_marign=1"], "Did you mean 'max_margin'"),
        (["train", "digits", "--method", "ldam", "--set", "max_margin=big"], "ldam.max_margin is a number, got 'big'"),
        (["train", "digits", "--method", "ldam(max_margin=-1)"], "at least 0"),
        (["train", "digits", "--method", "ldam(scale=0)"], "above 0"),
        (["train", "digits", "--set", "recipe.epochs=0"], "from 1"),
        (["train", "digits", "--set", "recipe.batch_size=1.5"], "whole number"),
        (["train", "digits", "--set", "recipe.epoch=3"], "Did you mean 'epochs'"),
        (["train", "digits", "--split", "50/10/30"], "adds up to 90"),
        (["train", "digits", "--tail", "exp:3"], "exponential:R"),
        (["train", "digits", "--with", "sma"], "sam"),
        (["train", "digits", "--with", "ema", "--with", "ema"], "both set"),
        (["train", "digits", "--method", "tau-norm(base=ldam)"], "linear head"),
        (["train", "digits", "--device", "mps"], "mps"),
        (["train", "digits", "--seed", "x"], "--seed"),
        (["train", "digits", "--nosuch"], "--nosuch"),
        (["train", "digits", "--method", "./nosuch.py"], "nosuch.py"),
        (["compare", "digits", "--methods", "ce,ce"], "twice"),
        (["compare", "digits", "--seeds", "0"], "from 1"),
        (["compare", "digits", "--methods", "ldam(max_margin=1"], "brackets"),
        (["report"], "at least one folder"),
        (["report", "."], "no run and no study"),
        (["show", "ldamm"], "Did you mean 'ldam'"),
    ],
)
def test_bad_words_get_one_line_and_nothing_is_written(own_place, capsys, words, expected):
    assert expected in refused(capsys, *words)
    assert not (own_place / "tailwise-out").exists()


def bad_folder(kind: str, root: Path) -> Path:
    folder = root / "photos"
    if kind == "empty":
        folder.mkdir()
    elif kind == "one class":
        paint(folder, {"ant": 6})
    elif kind == "broken image":
        (paint(folder, {"ant": 6, "bee": 6}) / "ant" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    elif kind == "no image":
        (paint(folder, {"ant": 6, "bee": 6}) / "ant" / "text.png").write_text("not an image at all")
    elif kind == "class without training images":
        for split in ("train", "test"):
            paint(folder / split, {"ant": 4, "bee": 4, "cow": 5})
        for file in (folder / "train" / "bee").iterdir():
            file.unlink()
    return folder


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("empty", "no image"),
        ("one class", "class"),
        ("broken image", "broken.jpg"),
        ("no image", "text.png"),
        ("class without training images", "bee"),
    ],
)
def test_bad_data_get_one_line_and_nothing_is_written(own_place, capsys, kind, expected):
    bad_folder(kind, own_place)
    assert expected in refused(capsys, "train", "photos", "--set", "recipe.epochs=1")
    assert not (own_place / "tailwise-out").exists()


def test_a_class_without_training_images_is_kept_or_dropped_when_asked(own_place, capsys):
    bad_folder("class without training images", own_place)
    words = ["train", "photos", "--set", "recipe.epochs=1", "--method", "la", "--json", "--empty-classes"]
    assert run([*words, "keep"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["train_counts"] == [4, 0, 5]
    assert run([*words, "drop"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["train_counts"] == [4, 5]


def test_outputs_of_others_and_unwritable_ones_are_refused(own_place, capsys):
    (own_place / "holiday").mkdir()
    (own_place / "holiday" / "beach.txt").write_text("mine")
    for force in ([], ["--force"]):
        assert "is no run" in refused(capsys, "train", *DIGITS, *FAST, "--out", "holiday", *force)
        assert "is no study" in refused(capsys, "compare", *DIGITS, *FAST, "--methods", "ce", "--out", "holiday", *force)
    assert (own_place / "holiday" / "beach.txt").read_text() == "mine"
    (own_place / "file").write_text("x")
    assert "file" in refused(capsys, "train", *DIGITS, *FAST, "--out", "file")
    assert "cannot be written" in refused(capsys, "train", *DIGITS, *FAST, "--out", "/proc/nowhere/run")


def test_another_run_in_the_folder_is_refused_and_forced(capsys):
    words = ["train", *DIGITS, *FAST, "--out", "a"]
    assert run([*words, "--seed", "0"]) == 0
    capsys.readouterr()
    assert "holds another run" in refused(capsys, *words, "--seed", "1")
    assert run([*words, "--seed", "1", "--force"]) == 0
    assert json.loads(Path("a/run.json").read_text())["seed"] == 1
    assert [p.name for p in Path().iterdir() if p.name.startswith("a.")] == []


@pytest.mark.parametrize("name", [*entries("method"), *entries("modifier"), *entries("recipe"), "resnet32", "features"])
def test_show_prints_every_card(capsys, name):
    assert run(["show", name]) == 0
    assert name in capsys.readouterr().out
    assert run(["show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == name


def test_recipe_shows_every_value_with_its_source(capsys):
    run(["show", "cifar", "--json"])
    values = {v["name"]: v for v in json.loads(capsys.readouterr().out)["values"]}
    assert values["epochs"]["value"] == 200
    assert values["batch_size"]["value"] == 128
    assert all(v["source"] for v in values.values())
    assert "second.epochs" in values


def test_networks_that_show_knows_are_those_that_can_be_built():
    from tailwise.cli.show import NETWORKS as shown
    from tailwise.models import NETWORKS

    assert shown == tuple(NETWORKS)


def test_show_prints_bounds_as_numbers_and_finds_names_however_they_are_written(capsys):
    assert run(["show", "LDAM_DRW", "--json"]) == 0
    knobs = {knob["name"]: knob for knob in json.loads(capsys.readouterr().out)["knobs"]}
    assert knobs["scale"]["above"] == 0.0
    assert knobs["scale"]["default"] == 30.0
    assert knobs["max_margin"]["low"] == 0.0


def test_methods_lists_every_file(capsys):
    assert run(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [m["name"] for m in listed["methods"]] == list(entries("method"))
    assert run(["methods"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in entries("method"))


def test_doctor_says_versions_and_store(capsys):
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["torch"]
    assert found["store"].endswith("store")
    assert run(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_has_examples(capsys, name):
    assert run([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"tailwise {name}" in said.split("Examples:")[1]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["compare", "--help"],
        ["nosuch"],
        ["train", "digits", "--nosuch"],
        ["train", "nosuch"],
        ["train", "digits", "--method", "nosuch"],
        ["compare", "digits", "--methods", "ce,nosuch"],
        ["methods", "--json"],
        ["report", "nosuch"],
    ],
)
def test_start_up_and_wrong_names_load_no_heavy_library(words):
    program = (
        "import sys\nfrom tailwise.cli import run\n"
        f"run({words!r})\n"
        "heavy = {'torch', 'numpy', 'polars', 'pandas', 'timm', 'sklearn', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr


def test_no_help_loads_a_heavy_library():
    """Of the commands one after another in one process: the first that does it is named."""
    program = (
        "import sys\nfrom tailwise.cli import run\n"
        f"for words in [['--help'], *([name, '--help'] for name in {COMMANDS!r})]:\n"
        "    run(words)\n"
        "    heavy = {'torch', 'numpy', 'polars', 'pandas'} & set(sys.modules)\n"
        "    heavy and sys.exit(f'{words} loads {sorted(heavy)}')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage:") == 1 + len(COMMANDS)


def test_unexpected_fault_is_one_line_and_exit_code_70(monkeypatch, capsys):
    def fail(*words: object, **options: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("tailwise.cli.methods.methods", fail)
    assert run(["methods"]) == 70
    assert "--debug" in capsys.readouterr().err


def test_loss_that_is_not_finite_stops_with_a_hint(capsys):
    assert run(["train", *DIGITS, *FAST, "--set", "recipe.optimiser.rate=1e30"]) == 3
    said = capsys.readouterr().err
    assert "no longer finite" in said
    assert "learning rate" in said
    assert not Path("tailwise-out").exists()
