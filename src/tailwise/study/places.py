"""Where runs and studies go when no `--out` is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tailwise.registry import Row
from tailwise.study.compare import study_key
from tailwise.study.runs import run_key, slug
from tailwise.study.setup import Setup

OUT = Path("tailwise-out")


def default_run(setup: Setup, row: Row, seed: int) -> Path:
    """Name a run's folder by data, row, seed and key: the same command finds it again."""
    return OUT / f"{slug(setup.manifest.name)}-{slug(row.text)}-seed{seed}-{run_key(setup, row, seed)[:8]}"


def default_study(setup: Setup, seeds: Sequence[int], name: str | None = None) -> Path:
    """Name a study's folder by its data, or another name, and its key."""
    return OUT / f"{slug(name or setup.manifest.name)}-{study_key(setup, seeds)[:8]}"
