"""What a command's words mean, checked before anything starts: data split and thinned, recipe, network, rows, roots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tailwise.catalogue import Row, apply_settings, load
from tailwise.data import Manifest, check_trainable, read, split, thin
from tailwise.errors import BadData, BadValue
from tailwise.method import Net
from tailwise.models import build, resolve
from tailwise.recipe import Recipe
from tailwise.store import Store
from tailwise.study.numerics import choose_device, describe_numerics
from tailwise.study.prepare import prepare
from tailwise.training import Plan, Root, Splits, plan_method


@dataclass(frozen=True)
class DataWords:
    """How data are named: the same words on the command line and in Python.

    Attributes:
        source: a manifest, a name, a folder, or an `.npz` file.
        root: folder of relative paths.
        split: shares such as `80/10/10`; None keeps the data's own splits, or makes the default ones where there are none.
        tail: a profile such as `exponential:100`; None keeps all training images.
        split_seed: seed of the split and the tail.
        empty_classes: `refuse`, `keep` or `drop` classes without training images.
        groups: `counts` or `thirds`; None for the default.
    """

    source: Manifest | Path | str
    root: Path | None = None
    split: str | None = None
    tail: str | None = None
    split_seed: int = 0
    empty_classes: str = "refuse"
    groups: str | None = None


def make_manifest(words: DataWords) -> Manifest:
    """Read, split and thin.

    Raises:
        BadData, BadValue, UnknownName: data or words that do not fit; one line.
    """
    manifest = read(words.source, root=words.root)
    if words.split is not None or manifest.splits == ("train",):
        manifest = split(manifest, words.split, words.split_seed)
    if words.tail is not None:
        manifest = thin(manifest, words.tail, words.split_seed)
    if words.empty_classes not in ("refuse", "keep", "drop"):
        raise BadValue(f"--empty-classes is refuse, keep or drop, got {words.empty_classes!r}")
    return check_trainable(manifest, words.empty_classes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Setup:
    """All that a run or a comparison stands on.

    Attributes:
        manifest: the data as a table.
        splits: the data as arrays.
        recipe: with the user's settings.
        backbone: name of the network.
        rows: methods with their settings.
        store: of states and pixels.
        device: where to train.
    """

    manifest: Manifest
    splits: Splits
    recipe: Recipe
    backbone: str
    rows: tuple[Row, ...]
    store: Store
    device: torch.device

    def root(self, seed: int) -> Root:
        """Give the root of all runs with a seed."""
        return Root(self.splits, self.recipe, self.backbone, seed, describe_numerics(self.device, self.recipe.threads))

    def plan(self, row: Row, seed: int) -> Plan:
        """Plan a row."""
        return plan_method(self.root(seed), row.method, row.modifiers)


def make_setup(
    words: DataWords,
    rows: Sequence[Row],
    recipe: Recipe | str = "quick",
    net: str | None = None,
    settings: Sequence[str] = (),
    threads: int | None = None,
    device: str = "auto",
    store: Store | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Setup:
    """Check all words and prepare the data; nothing is trained or written but the store's pixels.

    Raises:
        TailwiseError: one line on the first thing that does not fit.
    """
    chosen: Any = load("recipe", recipe) if isinstance(recipe, str) else recipe
    rows, chosen = apply_settings(rows, settings, chosen)
    if threads is not None:
        chosen = replace(chosen, threads=threads, second=chosen.second and replace(chosen.second, threads=threads))
    on = choose_device(device)
    manifest = make_manifest(words)
    backbone = net or ("features" if manifest.kind == "features" else chosen.net)
    resolve(Net(), backbone)
    store = store or Store()
    splits = prepare(manifest, chosen, store, words.groups, progress)
    build(resolve(Net(), backbone), splits.shape, len(splits.classes))
    setup = Setup(manifest, splits, chosen, backbone, tuple(rows), store, on)
    if not any(name in splits.rows for name in ("val", "test")):
        raise BadData(f"{manifest.name!r} has neither val nor test images, so nothing could be measured; make them with --split 80/10/10")
    for row in rows:
        setup.plan(row, 0)
    return setup
