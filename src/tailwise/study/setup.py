"""What a command's words mean, checked before anything starts: data split and thinned, recipe, network, rows, roots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tailwise.catalogue import Row, apply_settings, load
from tailwise.data import Manifest, check_trainable, read, split, thin
from tailwise.errors import BadData
from tailwise.method import Net
from tailwise.models import build, resolve
from tailwise.recipe import Recipe
from tailwise.store import Store
from tailwise.study.numerics import choose_device, describe_numerics
from tailwise.study.prepare import prepare
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import Plan, Root, Splits, plan_method


def make_manifest(source: Manifest | Path | str, words: DataWords) -> Manifest:
    """Read, split and thin.

    Raises:
        BadData, BadValue, UnknownName: data or words that do not fit; one line.
    """
    manifest = read(source, root=words.root)
    if words.split is not None or manifest.splits == ("train",):
        manifest = split(manifest, words.split, words.split_seed)
    if words.tail is not None:
        manifest = thin(manifest, words.tail, words.split_seed)
    return check_trainable(manifest, words.empty_classes)


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
    source: Manifest | Path | str,
    rows: Sequence[Row],
    data: DataWords = DataWords(),
    training: TrainingWords = TrainingWords(),
    store: Store | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Setup:
    """Check all words and prepare the data; nothing is trained or written but the store's pixels.

    Args:
        source: a manifest, a name, a folder, or an `.npz` file.
        rows: methods.
        data: how the source is read.
        training: how is trained.
        store: of states and pixels; None for the default one.
        progress: called with images decoded and in all.

    Raises:
        TailwiseError: one line on the first thing that does not fit.
    """
    rows, recipe = apply_settings(rows, training.settings, load("recipe", training.recipe))
    if training.threads is not None:
        recipe = replace(recipe, threads=training.threads, second=recipe.second and replace(recipe.second, threads=training.threads))
    device = choose_device(training.device)
    manifest = make_manifest(source, data)
    backbone = training.net or ("features" if manifest.kind == "features" else recipe.net)
    net = resolve(Net(), backbone)
    store = store or Store()
    splits = prepare(manifest, recipe, store, data.groups, progress)
    build(net, splits.shape, len(splits.classes))
    if not any(name in splits.rows for name in ("val", "test")):
        raise BadData(f"{manifest.name!r} has neither val nor test images, so nothing could be measured; make them with --split 80/10/10")
    setup = Setup(manifest, splits, recipe, backbone, tuple(rows), store, device)
    for row in rows:
        setup.plan(row, 0)
    return setup
