"""What a command's words mean, checked before anything starts: data split and thinned, recipe, network, rows, roots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch

from tailwise.data import Manifest, check_trainable, read, split, thin
from tailwise.errors import BadData, Clash
from tailwise.method import Learn, Net
from tailwise.models import build, check_takes, is_pretrained, preprocessing, pretrained_name, resolve
from tailwise.pixels import Normalise, Standardise
from tailwise.recipe import Recipe
from tailwise.registry import Row, apply_settings, load
from tailwise.store import Store
from tailwise.study.extractor import Extractor, describe_extractor, extract
from tailwise.study.numerics import choose_device, describe_numerics
from tailwise.study.prepare import fill_features, fill_pixels, ordered, pixels_of, prepare
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import Plan, Root, Splits, plan_method
from tailwise.training.joint import forked


def make_manifest(source: Manifest | Path | str, words: DataWords, all_data: bool = False) -> Manifest:
    """Read, split and thin; or make every row a training row.

    Raises:
        BadData, BadValue, UnknownName: data or words that do not fit; one line.
    """
    manifest = read(source, root=words.root, columns=words.columns)
    if all_data:
        if words.split is not None:
            raise Clash(f"--all-data trains on every image, and --split {words.split} sets some aside; leave one of them out")
        moved = manifest.rows.filter(pl.col("split") != "train").height
        said = f"all data: {moved:,} images of val and test are training images, and nothing is left to measure on"
        manifest = manifest.replace(*([said] if moved else []), rows=manifest.rows.with_columns(split=pl.lit("train")))
    elif words.split is not None or manifest.splits == ("train",):
        manifest = split(manifest, words.split, words.split_seed)
    if words.tail is not None:
        manifest = thin(manifest, words.tail, words.split_seed)
    return check_trainable(manifest, words.empty_classes)


@dataclass(frozen=True)
class Setup:
    """All that a run or a comparison stands on.

    Attributes:
        manifest: the data as a table.
        splits: the data as arrays; images, or the features that stand for them, are zeros until `ready`.
        recipe: with the user's settings, and what the network fills in.
        backbone: name of the network that is trained; `features` where a head is trained on frozen features.
        rows: methods with their settings.
        store: of states, pixels and features.
        device: where to train.
        extractor: the network whose features are trained on, or None.
        standardise: what its features went through; None until `ready`.
        is_ready: whether the splits hold what is trained on.
    """

    manifest: Manifest
    splits: Splits
    recipe: Recipe
    backbone: str
    rows: tuple[Row, ...]
    store: Store
    device: torch.device
    extractor: Extractor | None = None
    standardise: Standardise | None = None
    is_ready: bool = False
    _plans: dict[tuple[str, int], Plan] = field(default_factory=dict, repr=False, compare=False)
    _roots: dict[int, Root] = field(default_factory=dict, init=False, repr=False, compare=False)

    def root(self, seed: int) -> Root:
        """Give the root of all runs with a seed; its key is worked out once."""
        if seed not in self._roots:
            self._roots[seed] = Root(self.splits, self.recipe, self.backbone, seed, self._numerics)
        return self._roots[seed]

    @cached_property
    def _numerics(self) -> dict[str, str]:
        return describe_numerics(self.device, self.recipe.threads)  # asks for versions, which are files

    def plan(self, row: Row, seed: int) -> Plan:
        """Plan a row, once: the plan does not change when pixels or features are filled in."""
        if (row.typed, seed) not in self._plans:
            self._plans[row.typed, seed] = plan_method(self.root(seed), row.method, row.modifiers)
        return self._plans[row.typed, seed]

    @property
    def network(self) -> str:
        """The network in words."""
        return f"frozen {self.extractor.network}" if self.extractor else self.backbone

    def ready(self, progress: Callable[[int, int], None] | None = None) -> Setup:
        """Give the setup with images decoded, or frozen features computed: all that may take long before training.

        Args:
            progress: called with images done and in all.

        Raises:
            BadData: an image that cannot be decoded.
        """
        if self.is_ready:
            return self
        if self.extractor is None:
            return replace(self, splits=fill_pixels(self.splits, self.manifest, self.recipe, self.store, progress), is_ready=True)
        contents = ordered(self.manifest)["content"].to_list()
        pixels = pixels_of(self.manifest, self.extractor.size)
        features = extract(self.extractor, pixels, contents, self.store, self.device, progress)
        splits, standardise = fill_features(self.splits, features)
        return replace(self, splits=splits, standardise=standardise, is_ready=True)


def make_setup(
    source: Manifest | Path | str,
    rows: Sequence[Row],
    data: DataWords = DataWords(),
    training: TrainingWords = TrainingWords(),
    store: Store | None = None,
    all_data: bool = False,
) -> Setup:
    """Check all words and prepare the data; no image is decoded, nothing is trained, and nothing written but hashes of files.

    Args:
        source: a manifest, a name, a folder or a file.
        rows: methods.
        data: how the source is read.
        training: how is trained.
        store: of states, pixels and features; None for the default one.
        all_data: whether every image is a training image, and nothing is measured.

    Returns:
        The setup; images are still to be decoded, and frozen features computed, by `ready`.

    Raises:
        TailwiseError: one line on the first thing that does not fit.
    """
    rows, recipe = apply_settings(rows, training.settings, load("recipe", training.recipe))
    if training.threads is not None:
        recipe = with_second(recipe, threads=training.threads)
    device, store = choose_device(training.device), store or Store()
    manifest = make_manifest(source, data, all_data).with_content(store.shelf("hashes"))
    if not all_data and manifest.splits == ("train",):
        raise BadData(f"{manifest.name!r} has neither val nor test images, so nothing could be measured; make them with --split 80/10/10")
    if not any(setting.startswith("recipe.batch_size") for setting in training.settings):
        recipe = recipe.fit_batch(sum(manifest.counts()))
    backbone, recipe, extractor = choose_network(training.net, recipe, manifest.kind, device)
    splits = prepare(manifest, recipe, data.groups, extractor)
    with forked(0, "check"):  # the caller's generator is not ours to draw from
        check_takes(build(resolve(Net(), backbone), splits.shape, len(splits.classes)), splits.shape)
    setup = Setup(manifest, splits, recipe, backbone, tuple(rows), store, device, extractor, is_ready=manifest.kind == "features")
    for row in rows:
        setup.plan(row, 0)
    return setup


def choose_network(asked: str | None, recipe: Recipe, kind: str, device: torch.device) -> tuple[str, Recipe, Extractor | None]:
    """Settle which network is trained, what it wants of the images, and whether frozen features stand for them.

    Args:
        asked: the network that the user names, or None.
        recipe: with the user's settings.
        kind: of the data, `images` or `features`.
        device: where features are computed.

    Returns:
        The name of the network that is trained, the recipe with the size and normalisation of pre-trained weights where it leaves them
        open, and the extractor or None.
    """
    if kind == "features":
        if recipe.pretrained and not recipe.frozen:
            raise BadData(f"recipe {recipe.name!r} trains a pre-trained network, and the data are feature vectors; use --recipe head")
        return asked or "features", recipe, None
    name = asked or recipe.net
    name = pretrained_name(name) if recipe.pretrained else name
    if recipe.frozen:
        recipe = with_second(recipe, learn=(Learn(),))  # a head is all there is
        return "features", recipe, describe_extractor(name, recipe.image_size, device)
    wanted = preprocessing(name)
    if wanted is not None:
        recipe = with_second(recipe, normalise=recipe.normalise or Normalise(wanted.mean, wanted.std))
    if wanted is not None and is_pretrained(name):
        recipe = with_second(recipe, image_size=recipe.image_size or wanted.size)
    return name, recipe, None


def with_second(recipe: Recipe, **fields: Any) -> Recipe:
    """Give a recipe with other values, and the recipe inside it too."""
    return replace(recipe, **fields, second=recipe.second and replace(recipe.second, **fields))
