"""The tiny set of the loop's tests, and a store of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tailwise.store import Store
from tailwise.training import Splits
from training import seam_runs


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def images() -> Splits:
    return seam_runs.image_splits()


@pytest.fixture
def features() -> Splits:
    return seam_runs.feature_splits()
