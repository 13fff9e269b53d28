"""Small photographs, made on the spot: a colour a class, and noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

COLOURS = ((190, 70, 60), (60, 180, 80), (70, 80, 190), (180, 170, 60))
COUNTS = {"ant": 18, "bee": 12, "cow": 6}


def pixels(label: int, count: int, seed: int = 0, size: int = 24) -> np.ndarray:
    """(count, size, size, 3) uint8 of one class."""
    rng = np.random.default_rng((seed, label))
    noisy = np.array(COLOURS[label]) + rng.normal(0, 45, (count, size, size, 3)) + rng.normal(0, 25, (count, 1, 1, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def paint(folder: Path, counts: Mapping[str, int] = COUNTS, seed: int = 0, size: int = 24) -> Path:
    """One folder a class, PNG files."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(pixels(label, count, seed, size)):
            Image.fromarray(image).save(folder / name / f"{i:03d}.png")
    return folder


def random_weights(file: Path, seed: int = 0) -> Path:
    """Weights of timm's mobilenetv2_100, drawn."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_file({name: t.contiguous() for name, t in timm.create_model("mobilenetv2_100").state_dict().items()}, file)
    return file
