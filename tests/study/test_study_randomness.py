"""What is asked decides a result: not the process, the folder, the language or the clock; and who asks finds all as it was."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import surroundings
import tailwise as tw
from photos import paint
from surroundings import untouched
from tailwise.cli import COMMANDS, run
from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study.setup import make_setup
from tailwise.study.words import DataWords, TrainingWords

LIBRARIES = ("altair", "cyclopts", "polars", "rich.progress", "sklearn.datasets", "timm", "torchvision")
"""What these change when they are imported is theirs."""

SPLIT = "50/20/30"
QUICK = {"recipe": "quick", "net": "resnet8", "settings": ["recipe.epochs=3", "recipe.second.epochs=1"]}
HEAD = {"recipe": "head", "settings": ["recipe.epochs=2", "recipe.second.epochs=1", "recipe.image_size=32"]}
METHODS = "la,ldam-drw+sam+ema,crt,ncm"
OWN = """
from dataclasses import dataclass

import torch
from torch import nn

from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import Card, Method, Stage, method
from tailwise.objective import Objective, Supervised


@dataclass(eq=False)
class Dropping{name}(Objective):
    criterion: CrossEntropyLoss

    def build(self, net, about):
        self.drop = nn.Dropout(0.3)
        self.mix = nn.Linear(len(about.classes), len(about.classes))

    def loss(self, net, batch, now):
        logits = self.mix(self.drop(net(batch["main"].images).logits))
        return self.criterion.term(logits + now.rng("noise").normal(), batch["main"].labels)


@method(Card(title="Dropping, {name}", family="baseline", formula="CE"))
@dataclass(frozen=True)
class {name}(Method):
    def stages(self, about):
        yield Stage(name="{name}", objective=Dropping{name}(CrossEntropyLoss()))
"""


@pytest.fixture(autouse=True)
def _one_thread():
    for library in LIBRARIES:
        importlib.import_module(library)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return paint(tmp_path_factory.mktemp("data") / "photos")


def left(folder: Path) -> dict[str, bytes]:
    """All that a run left, by file; of its record what is no time."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    record = json.loads(found.pop("run.json"))
    legs = [{key: value for key, value in leg.items() if key != "seconds"} for leg in record.pop("legs")]
    for word in ("finished", "steps_trained", "seal"):
        record.pop(word)
    return {**found, "run.json": json.dumps([record, legs], sort_keys=True).encode()}


def results(folder: Path) -> dict[str, bytes]:
    """Weights, answers and log of a run: what a name must not reach."""
    return {name: data for name, data in left(folder).items() if name == "weights.safetensors" or name.startswith("predictions")}


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return [name for name in sorted(set(one) | set(other)) if one.get(name) != other.get(name)]


# --- a process of its own -----------------------------------------------------------------------------------------------

TRAINED = {"own": ("own.py", QUICK), "images": ("ldam-drw+sam+ema", QUICK), "frozen": ("crt", HEAD)}
"""Folder -> method and words."""


def train(data: Any, folder: Path, store: Path, methods: Path) -> None:
    """Train what is compared between processes."""
    data = tw.read(data, split=SPLIT)
    for name, (method, words) in TRAINED.items():
        made = methods / method if method.endswith(".py") else method
        tw.train(data, str(made), out=folder / name, store=Store(store), seed=4, **words)


VERBS = """
import json, pkgutil, sys
from pathlib import Path

import numpy
import torch

torch.set_num_threads(1)
from surroundings import draw_from_all, generators, settings
from tailwise.store import Store

QUICK, HEAD = json.loads(sys.argv[2])
moved = {}
draw_from_all(11)


def calling(verb, *words, **named):
    before = generators()
    made = getattr(tw.api, verb)(*words, **named)
    moved[verb] = moved.get(verb, []) + [name for name, state in generators().items() if state != before[name]]
    return made


import tailwise as tw
import tailwise.api

data = calling("read", "photos", split=sys.argv[3])
calling("read", "digits", split="50/10/40", tail="exponential:50")
calling("explore", "photos")
calling("check", "photos")
calling("catalogue")
calling("build", data, "built")
store = Store("store")
run = calling("train", data, "mixup", out="run", store=store, **QUICK)
frozen = calling("train", data, "la", modifiers=["ema"], out="frozen", store=store, **HEAD)
calling("compare", data, "ce,crt", seeds=1, out="study", store=store, **QUICK)
calling("features", "photos", size=32, out="features")
calling("predict", run, "photos/ant")
calling("predict", "frozen", "photos/ant")
calling("adjust", run.predictions.splits["test"].logits, [9, 6, 3])
calling("adjust_run", run, posthoc="la", out="adjusted")
calling("export", "run", out="model")
calling("cite", "run", "study")
calling("report", "run", "frozen")

for library in json.loads(sys.argv[4]):
    __import__(library)

before = generators() | settings()
for found in sorted(pkgutil.walk_packages(tw.__path__, "tailwise."), key=lambda found: found.name, reverse=True):
    if not found.name.endswith("__main__"):
        __import__(found.name)
after = generators() | settings()
moved["import"] = [name for name in before if before[name] != after[name]]

sys.path.insert(0, str(Path(sys.argv[1])))
from study.test_study_randomness import train

train("photos", Path("again"), Path("fresh store"), Path("."))
print(json.dumps(moved))
"""


@pytest.fixture(scope="module")
def elsewhere(photos, tmp_path_factory) -> tuple[dict[str, list[str]], Path]:
    """A process of another hash seed, language, time zone and folder calls every verb, and then trains; what moved, and where it was."""
    place = tmp_path_factory.mktemp("elsewhere") / "ein anderer Ort"
    place.mkdir()
    shutil.copytree(photos, place / "photos")
    (place / "own.py").write_text(OWN.replace("{name}", "Own"))
    tests = Path(surroundings.__file__).parent
    words = [str(tests), json.dumps([QUICK, HEAD]), SPLIT, json.dumps(LIBRARIES)]
    return json.loads(child(["-c", VERBS, *words], place, "77", "C", "Pacific/Chatham").splitlines()[-1]), place


def child(words: list[str], folder: Path, hashes: str, language: str, zone: str) -> str:
    """Run Python in a folder and under an environment of its own."""
    tests = str(Path(surroundings.__file__).parent)
    path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH", ""))))
    changed = {"PYTHONHASHSEED": hashes, "LC_ALL": language, "TZ": zone, "PYTHONPATH": path, "TAILWISE_STORE": str(folder / "own store")}
    done = subprocess.run([sys.executable, *words], cwd=folder, env={**os.environ, **changed}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_verb_moves_a_generator_of_the_caller_s(elsewhere):
    moved, _ = elsewhere
    assert set(moved) - {"import"} == set(tw.__all__) - {"__version__"}
    assert {verb: names for verb, names in moved.items() if names} == {}


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_is_the_same_to_the_byte_in_another_process_and_place(elsewhere, here, name):
    """A file of one's own in another folder has other keys, as its module's name has that folder in it; its results are the same."""
    _, there = elsewhere
    compared = results if name == "own" else left
    assert differing(compared(here / name), compared(there / "again" / name)) == []


@pytest.fixture(scope="module")
def here(photos, tmp_path_factory) -> Path:
    """What this process trains, after whatever ran in it before."""
    place = tmp_path_factory.mktemp("here")
    (place / "own.py").write_text(OWN.replace("{name}", "Own"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    train(photos, place, place / "store", place)
    torch.set_num_threads(before)
    return place


@pytest.mark.slow
@pytest.mark.parametrize(("hashes", "language", "zone"), [("0", "C.utf8", "UTC"), ("1", "POSIX", "Asia/Kathmandu"), ("random", "C", "")])
def test_the_command_line_leaves_the_same_bytes_under_any_environment(here, photos, tmp_path, hashes, language, zone):
    (tmp_path / "own.py").write_text(OWN.replace("{name}", "Own"))
    shutil.copytree(photos, tmp_path / "photos")
    for name, (method, words) in TRAINED.items():
        method, *modifiers = ("./" * method.endswith(".py") + method).split("+")
        command = [
            "-m",
            "tailwise",
            "train",
            "photos",
            "--split",
            SPLIT,
            "--method",
            method,
            "--seed",
            "4",
            "--out",
            name,
            "--recipe",
            words["recipe"],
        ]
        command += [word for modifier in modifiers for word in ("--with", modifier)]
        command += [word for setting in words["settings"] for word in ("--set", setting)]
        child([*command, *(("--net", words["net"]) if "net" in words else ())], tmp_path, hashes, language, zone)
        assert differing(results(here / name), results(tmp_path / name)) == []


# --- in this process ----------------------------------------------------------------------------------------------------


def test_training_and_comparing_give_the_process_back_as_it_was(photos, tmp_path):
    data, store = tw.read(photos, split=SPLIT), Store(tmp_path / "store")
    torch.set_num_threads(3)
    with untouched():
        tw.train(data, "ldam-drw", modifiers=["ema"], out=tmp_path / "run", store=store, **QUICK)
    with untouched():
        tw.compare(data, "ce,tau-norm", seeds=1, out=tmp_path / "study", store=store, **HEAD)


def test_a_refused_and_an_interrupted_run_give_the_process_back_too(photos, tmp_path):
    from tailwise.errors import TailwiseError
    from tailwise.study.runs import execute
    from tailwise.training import RunSettings

    setup = make_setup(photos, parse_rows("ce"), DataWords(split=SPLIT), TrainingWords(**QUICK), Store(tmp_path / "store"))
    torch.set_num_threads(2)
    with untouched():
        with pytest.raises(KeyboardInterrupt):
            execute(setup, setup.rows[0], 0, tmp_path / "run", RunSettings(setup.store, interrupted=lambda: True))
        with pytest.raises(TailwiseError):
            tw.train(photos, "ce", settings=["recipe.epochs=0"], out=tmp_path / "other", store=setup.store)


def test_a_comparison_leaves_what_each_run_alone_would_in_any_order_of_rows(photos, tmp_path):
    data = tw.read(photos, split=SPLIT)
    texts = METHODS.split(",")
    studies = [
        tw.compare(data, ",".join(order), seeds=1, out=tmp_path / name, store=Store(tmp_path / f"{name} store"), **QUICK)
        for name, order in (("study", texts), ("reversed", texts[::-1]))
    ]
    for text in texts:
        one, other = (study.runs[text][0].folder for study in studies)
        assert differing(results(one), results(other)) == []
        alone = tw.train(data, text, out=tmp_path / text, store=Store(tmp_path / f"{text} store"), **QUICK)
        assert differing(results(one), results(alone.folder)) == []


def test_features_do_not_depend_on_the_modes_that_the_caller_has_set(photos, tmp_path):
    made = make_setup(photos, parse_rows("ce"), DataWords(split=SPLIT), TrainingWords(**HEAD), Store(tmp_path / "plain")).ready()
    with torch.autocast("cpu", torch.bfloat16):
        inside = make_setup(photos, parse_rows("ce"), DataWords(split=SPLIT), TrainingWords(**HEAD), Store(tmp_path / "other")).ready()
    assert np.array_equal(made.splits.rows["train"].packed, inside.splits.rows["train"].packed)


def test_names_of_classes_files_and_data_reach_no_weight(photos, tmp_path):
    (tmp_path / "one.py").write_text(OWN.replace("{name}", "One"))
    (tmp_path / "another.py").write_text(OWN.replace("{name}", "Quite"))
    shutil.copytree(photos, tmp_path / "pictures")
    runs = [
        tw.train(tw.read(data, split=SPLIT), str(tmp_path / file), out=tmp_path / file[:-3], store=Store(tmp_path / "store"), **QUICK)
        for data, file in ((photos, "one.py"), (tmp_path / "pictures", "another.py"))
    ]
    assert runs[0].record["key"] != runs[1].record["key"]
    assert runs[0].record["data"]["name"] != runs[1].record["data"]["name"]
    weights, answers = zip(*((run.folder / "weights.safetensors", run.predictions.splits["test"].logits) for run in runs), strict=True)
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert np.array_equal(*answers)


# --- the command line ---------------------------------------------------------------------------------------------------

FAST = ["--recipe", "quick", "--net", "resnet8", "--set", "recipe.epochs=2", "--set", "recipe.second.epochs=1"]
WORDS: dict[str, Callable[[Path], list[list[str]]]] = {
    "demo": lambda photos: [["--out", "demo"]],
    "explore": lambda photos: [[str(photos)], [str(photos), "--json"]],
    "check": lambda photos: [[str(photos)], [str(photos), "--json"]],
    "build": lambda photos: [[str(photos), "built", "--tail", "exponential:3", "--split", SPLIT]],
    "train": lambda photos: [[str(photos), "--split", SPLIT, *FAST, "--with", "mixup", "--out", "run"]],
    "compare": lambda photos: [
        [str(photos), "--split", SPLIT, *FAST, "--methods", "ce,ldam-drw", "--seeds", "1", "--out", "study"],
        [str(photos), "--split", SPLIT, *FAST, "--methods", "crt", "--dry-run"],
    ],
    "features": lambda photos: [[str(photos), "--size", "32", "--out", "features"]],
    "predict": lambda photos: [["run", str(photos / "ant"), "--json"]],
    "adjust": lambda photos: [["logits.npy", "--counts", "counts.json", "--out", "adjusted.npy"]],
    "report": lambda photos: [["study"], ["run", "--json"]],
    "methods": lambda photos: [[]],
    "networks": lambda photos: [[], ["--like", "vit"]],
    "recipes": lambda photos: [[]],
    "show": lambda photos: [["ldam-drw"], ["resnet20"], ["test_vit"], ["efficientnet-lite0"], ["quick"]],
    "doctor": lambda photos: [[], ["--json"]],
}
"""What is typed after each command, in an order in which each finds what it needs."""


def commands(slow: bool) -> list[str]:
    """List the commands that take long, or all others: those that are taught here first, then any other."""
    return [name for name in dict.fromkeys([*WORDS, *COMMANDS]) if (name == "demo") == slow]


def type_all(names: list[str], photos: Path) -> None:
    for name in names:
        assert name in WORDS, f"teach this test what is typed after {name}"
        for words in WORDS[name](photos):
            assert run([name, *words]) == 0  # what is imported, is imported now
        shutil.rmtree("again", ignore_errors=True)
        Path("again").mkdir()
        for path in ("logits.npy", "counts.json"):
            shutil.copy(path, "again")
        for path in ("run", "study"):
            if name not in ("train", "compare") and Path(path).exists():
                shutil.copytree(path, Path("again") / path)
        os.chdir("again")
        try:
            for words in WORDS[name](photos):
                with untouched():
                    assert run([name, *words]) == 0
        finally:
            os.chdir("..")


@pytest.fixture
def own_place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "160")
    np.save("logits.npy", np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    Path("counts.json").write_text("[9, 6, 3]")
    return tmp_path


@pytest.mark.slow
def test_no_command_leaves_anything_changed(own_place, photos, capsys):
    assert set(WORDS) == set(COMMANDS)
    type_all(commands(slow=False), photos)


@pytest.mark.slow
def test_no_long_command_leaves_anything_changed(own_place, photos, capsys):
    type_all(commands(slow=True), photos)
