"""The pixels that both sides train on: CIFAR-100-LT, or made-up ones where only running is tried."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = 100
SHARED = Path(__file__).resolve().parents[2] / "../shared/data/cifar-100-lt/cifar100_lt100.npz"


@dataclass(frozen=True)
class Pixels:
    """A data set in memory.

    Attributes:
        train: (N, 32, 32, 3) uint8.
        train_labels: (N,) int64.
        test: (M, 32, 32, 3) uint8.
        test_labels: (M,) int64.
    """

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    def save(self, file: Path) -> Path:
        """Write it as the workbench reads it."""
        np.savez(file, x_train=self.train, y_train=self.train_labels, x_test=self.test, y_test=self.test_labels)
        return file


def real_pixels(file: Path = SHARED) -> Pixels:
    """Read CIFAR-100-LT.

    Raises:
        SystemExit: it is not there.
    """
    if not file.is_file():
        raise SystemExit(f"{file} is not there; these figures are of real pixels")
    held = np.load(file)

    def part(name: str) -> tuple[np.ndarray, np.ndarray]:
        data, offsets = held[f"{name}_webp"], held[f"{name}_offsets"].astype(int)
        pictures = [Image.open(io.BytesIO(data[a:b].tobytes())).convert("RGB") for a, b in pairwise(offsets)]
        pixels = np.concatenate([np.asarray(picture).reshape(-1, 32, 32, 3) for picture in pictures])
        return pixels, np.repeat(np.arange(len(pictures)), held[f"{name}_counts"])

    return Pixels(*part("train"), *part("test"))


def made_up(images: int = 128) -> Pixels:
    """Draw pixels where the real ones are not wanted."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % CLASSES
    return Pixels(
        rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8), labels, rng.integers(0, 256, (CLASSES, 32, 32, 3), dtype=np.uint8),
        np.arange(CLASSES),
    )  # fmt: skip
