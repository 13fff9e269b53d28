"""Training runs where torch, torchvision, NumPy, Pillow, msgspec and safetensors are, and nothing else of what tailwise installs."""

from __future__ import annotations

import os
import subprocess
import sys

from alone import REFUSES, others

TRAIN = """
import tempfile
from dataclasses import replace
from pathlib import Path

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


def test_the_loop_trains_without_tables_statistics_and_the_command_line():
    refused = others()
    assert {"polars", "scipy", "sklearn", "rich", "cyclopts", "altair", "timm", "platformdirs"} <= refused
    environment = {**os.environ, "REFUSED": ",".join(refused)}
    done = subprocess.run([sys.executable, "-c", REFUSES + TRAIN], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["ce", "10"], ["ldam-drw", "10"]]
