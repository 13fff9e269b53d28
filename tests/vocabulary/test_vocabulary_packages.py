"""Methods of one's own, as a user has them: a file, and an installed package with an entry point. Real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tailwise.cli import run
from tailwise.registry import entries, load

METHOD = """
from dataclasses import dataclass

from tailwise.losses import CrossEntropyLoss
from tailwise.method import Card, Method, Stage, knob, method


@method(Card(title="Theirs", family="baseline", formula="CE", presets={"wide": {"width": 9}}))
@dataclass(frozen=True)
class Theirs(Method):
    width: int = knob(2, low=1, help="a number that changes nothing")

    def stages(self, about):
        yield Stage(criterion=CrossEntropyLoss())
"""

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "their-package"
version = "1.0"

[tool.setuptools]
packages = ["their_package"]

[project.entry-points."tailwise.methods"]
their-method = "their_package.theirs:Theirs"
Their_Module = "their_package.theirs"
not-importable = "their_package.needing:Theirs"
not-there = "their_package.theirs:Missing"
no-module = "their_package.missing:Theirs"
no-method = "their_package.theirs:CrossEntropyLoss"
no-class = "their_package.theirs:METHODS"
empty-module = "their_package"
"""

TINY = ["--recipe", "demo", "--set", "recipe.epochs=1"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder into which pip has installed the package."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "their_package").mkdir()
    (source / "their_package/__init__.py").write_text("")
    (source / "their_package/theirs.py").write_text(METHOD + "\n\nMETHODS = [Theirs]\n")
    (source / "their_package/needing.py").write_text("import a_package_that_is_not_there\n" + METHOD)
    words = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    made = subprocess.run([sys.executable, "-m", "pip", "install", *words, str(source)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return target


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a tiny set and a user's file."""
    labels = np.repeat([0, 1, 2], [12, 8, 6])
    images = np.random.default_rng(0).integers(0, 90, (26, 8, 8, 1), dtype=np.uint8)
    images[np.arange(26), :, labels * 2] += 120
    np.savez(tmp_path / "tiny.npz", images=images, labels=labels)
    (tmp_path / "my_file.py").write_text(METHOD)
    return tmp_path


@pytest.fixture
def tailwise(installed, folder):
    """Run a command in a process that finds the package, and return what it printed."""
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "TAILWISE_STORE": str(folder / "store"), "OMP_NUM_THREADS": "1"}

    def call(*words: str) -> str:
        command = [sys.executable, "-m", "tailwise", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture
def refused(installed, folder, monkeypatch, capsys):
    """Run a command in this process, which finds the package too, and return the one line that refuses it."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TAILWISE_STORE", str(folder / "store"))
    monkeypatch.syspath_prepend(str(installed))
    for name in [n for n in sys.modules if n.partition(".")[0] == "their_package"]:  # another test's, of the same name
        monkeypatch.delitem(sys.modules, name)
    entries.cache_clear()
    load.cache_clear()

    def call(*words: str) -> str:
        assert run([*words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("tailwise: ")
        assert said.count("\n") == 1
        return said

    yield call
    entries.cache_clear()
    load.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "their_package"]:
        del sys.modules[name]


def test_methods_lists_a_package_s_methods_even_those_that_cannot_be_loaded(tailwise):
    listed = {entry["name"]: entry["module"] for entry in json.loads(tailwise("methods", "--json"))["methods"]}
    assert listed["their-method"] == "their_package.theirs:Theirs"
    assert {"ce", "ldam-drw", "their-module", "not-importable", "no-module"} <= set(listed)


@pytest.mark.parametrize("name", ["their-method", "Their_Module"])
def test_show_reads_the_card(tailwise, name):
    shown = json.loads(tailwise("show", name, "--json"))
    assert shown["name"] == name.lower().replace("_", "-")
    assert shown["title"] == "Theirs"
    assert [knob["name"] for knob in shown["knobs"]] == ["width"]


def test_train_and_compare_take_a_package_s_method_and_a_file_side_by_side(tailwise, folder):
    record = json.loads(tailwise("train", "tiny.npz", *TINY, "--method", "their-method(width=3)", "--out", "run", "--json"))
    assert record["method"] == "their-method(width=3)"
    assert record["steps_trained"] == record["steps"] > 0
    assert (folder / "run/weights.safetensors").exists()

    four = "ce,their-method(wide),./my_file.py,their-module+sam"
    study = json.loads(tailwise("compare", "tiny.npz", *TINY, "--methods", four, "--seeds", "1", "--json"))
    assert [row["name"] for row in study["summary"]["rows"]] == ["ce", "their-method(width=9)", "my-file", "their-module+sam"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("not-importable", "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"),
        ("not-there", "has no attribute 'Missing'"),
        ("no-module", "No module named 'their_package.missing'"),
        ("no-method", "no method: expected a class with @method(Card(...))"),
        ("no-class", "no method: expected a class with @method(Card(...))"),
        ("empty-module", "defines 0 methods with a card"),
    ],
)
def test_a_package_s_method_that_is_none_is_refused_in_one_line(refused, name, why):
    for words in (("train", "tiny.npz", "--method", name), ("show", name)):
        said = refused(*words)
        assert why in said
        assert "their_package" in said


def test_wrong_knobs_and_presets_of_a_package_s_method_are_refused_in_one_line(refused):
    assert "'wide'" in refused("train", "tiny.npz", "--method", "their-method(wid)")
    assert "at least 1" in refused("train", "tiny.npz", "--method", "their-method(width=0)")
    assert "'their-method'" in refused("show", "their-methods")


def test_a_comma_too_many_names_no_family(refused):
    assert "no method is called ''" in refused("compare", "tiny.npz", "--methods", "ce,", "--dry-run")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import a_package_that_is_not_there\n" + METHOD, "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"),
        (METHOD.replace("@dataclass(frozen=True)\n", ""), "dataclass"),
        ("x = 1\n", "defines 0 methods with a card"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_refused_in_one_line(refused, folder, text, why):
    (folder / "wrong.py").write_text(text)
    said = refused("train", "tiny.npz", "--method", "./wrong.py")
    assert why in said
    assert "wrong.py" in said
