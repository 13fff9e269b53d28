"""Small sets and folders of images, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tailwise.data.manifest import Manifest


@pytest.fixture
def make_set() -> Callable[..., Manifest]:
    """A set in memory with so many images a class: (4, 4) random pixels, all train."""

    def make(counts: Sequence[int], classes: Sequence[str] | None = None, order: Sequence[int] | None = None) -> Manifest:
        labels = np.repeat(np.arange(len(counts)), counts)
        images = np.random.default_rng(0).integers(0, 256, (max(len(labels), 1), 4, 4), dtype=np.uint8)
        rows = pl.DataFrame(
            {
                "id": [f"image-{row}" for row in range(len(labels))],  # sorted as text: image-10 before image-2
                "container": ["images"] * len(labels),
                "row": list(range(len(labels))),
                "label": labels,
                "split": ["train"] * len(labels),
            }
        )
        if order is not None:
            rows = rows[list(order)]
        names = classes or [f"class {c}" for c in range(len(counts))]
        return Manifest(rows, tuple(names), arrays={"images": images}, name="small")

    return make


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write one image file, its folders included."""

    def write(file: Path, value: int = 0, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        colour = value if mode == "L" else (value, value, value)
        Image.new(mode, size, colour).save(file)
        return file

    return write


@pytest.fixture
def pets(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """A folder of two class folders with two images each."""
    root = tmp_path / "pets"
    for value, name in enumerate(["cat/a.png", "cat/b.png", "dog/a.png", "dog/deep/er/c.JPG"]):
        write_image(root / name, value * 50)
    return root


@pytest.fixture
def real_data() -> Path:
    """The folder of real lists and images beside the checkout."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    assert folder.is_dir(), f"{folder} is absent: what this test asserts of real lists was not tested"
    return folder
