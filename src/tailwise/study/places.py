"""Where runs and studies go when no `--out` is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tailwise.catalogue import Row
from tailwise.specification import key_of
from tailwise.study.runs import run_key, slug
from tailwise.study.setup import Setup

OUT = Path("tailwise-out")


def default_run(setup: Setup, row: Row, seed: int) -> Path:
    """Name a run's folder by data, row, seed and key: the same command finds it again."""
    return OUT / f"{slug(setup.manifest.name)}-{slug(row.text)}-seed{seed}-{run_key(setup, row, seed)[:8]}"


def default_study(setup: Setup, seeds: Sequence[int]) -> Path:
    """Name a study's folder by data and key."""
    keys = [run_key(setup, row, seed) for row in setup.rows for seed in seeds]
    return OUT / f"{slug(setup.manifest.name)}-{key_of(keys)[:8]}"
