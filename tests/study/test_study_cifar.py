"""LDAM-DRW's protocol on the real pixels of CIFAR-100-LT, a few epochs of it: the slow lane."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tailwise as tw
import tailwise.data
from tailwise.store import Store

FILE = Path(__file__).parents[2] / "../shared/data/cifar-100-lt/cifar100_lt100.npz"


def read_part(packed: np.lib.npyio.NpzFile, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Decode one WebP picture a class, its images stacked from top to bottom."""
    data, offsets = packed[f"{name}_webp"], packed[f"{name}_offsets"].astype(int)
    pictures = [
        np.asarray(Image.open(io.BytesIO(data[a:b].tobytes())).convert("RGB")).reshape(-1, 32, 32, 3)
        for a, b in itertools.pairwise(offsets)
    ]
    return np.concatenate(pictures), np.repeat(np.arange(100), packed[f"{name}_counts"])


@pytest.mark.slow
@pytest.mark.real
def test_three_epochs_of_the_published_protocol_on_real_pixels(tmp_path):
    if not FILE.is_file():
        pytest.fail(f"{FILE} is missing: the published protocol is not tried on real pixels", pytrace=False)
    packed = np.load(FILE)
    (train, train_labels), (test, test_labels) = read_part(packed, "train"), read_part(packed, "test")
    data = tw.data.from_arrays(
        np.concatenate([train_labels, test_labels]),
        images=np.concatenate([train, test]),
        classes=[str(name) for name in packed["class_names"]],
        split=["train"] * len(train) + ["test"] * len(test),
        name="cifar-100-lt",
    )
    assert sum(data.counts("train")) == 10_847
    run = tw.train(data, "ce", recipe="cifar", settings=["recipe.epochs=3"], out=tmp_path / "run", store=Store(tmp_path / "store"))
    assert run.record["legs"][0]["stop"] == 3 * 85  # the last, short batch of an epoch is kept
    evaluation = run.evaluate("test")
    assert evaluation.images == 10_000
    assert [group.classes for group in evaluation.groups.values()] == [35, 35, 30]
    assert evaluation.groups["many"].accuracy > 0.08  # chance is 0.01
    assert evaluation.groups["few"].accuracy < 0.02  # plain training ignores them
