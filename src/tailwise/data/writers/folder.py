"""Layout of image folders: `train/<class>/<name>`, `val/...`, `test/...`."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.data.writers.names import class_folders


def paths(manifest: Manifest) -> pl.Series:
    """Say where each row's image goes; see `Placing`."""
    return class_folders(manifest)


def lists(written: Manifest) -> Mapping[str, bytes]:
    """Nothing beside: the folders say it all."""
    return {}
