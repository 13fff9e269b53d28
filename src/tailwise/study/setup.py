"""What a command's words mean, checked before anything starts: data split and thinned, recipe, network, rows, roots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch

from tailwise.counts import mean_counts
from tailwise.data import Fold, Manifest, check_sound, check_trainable, deal, labelled, read, split, take_fold, thin, weigh_generated
from tailwise.errors import BadData, BadValue, Clash, UnknownName
from tailwise.groups import make_groups
from tailwise.method import Learn, Net
from tailwise.models import build, check_takes, is_pretrained, preprocessing, pretrained_name, resolve
from tailwise.pixels import Normalise, Standardise
from tailwise.pixels.cores import cores
from tailwise.recipe import Recipe
from tailwise.registry import Row, apply_settings, load, parse_row
from tailwise.store import Store
from tailwise.study.augmenting import take_augmentations
from tailwise.study.extractor import Extractor, describe_extractor, extract
from tailwise.study.numerics import check_precision, check_speed, choose_device, describe_numerics
from tailwise.study.pace import fastest_threads
from tailwise.study.prepare import fill_features, fill_pixels, filled, ordered, pixels_of, prepare
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import Plan, Root, Splits, plan_method
from tailwise.training.joint import forked


def make_manifest(source: Manifest | Path | str, words: DataWords, all_data: bool = False) -> Manifest:
    """Read, split and thin; or make every row a training row.

    Raises:
        BadData, BadValue, UnknownName: data or words that do not fit; one line.
    """
    manifest = _read(source, words)
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
    check_sound(manifest)
    return check_trainable(manifest, words.empty_classes)


def _read(source: Manifest | Path | str, words: DataWords) -> Manifest:
    """Read what can be trained on: rows with a label, and generated ones that weigh something."""
    manifest = read(source, root=words.root, columns=words.columns, format=words.format)
    return weigh_generated(labelled(manifest), words.generated_weight)


def make_dealt(source: Manifest | Path | str, words: DataWords, folds: int) -> Manifest:
    """Read a set, and deal all its labelled images into folds.

    Raises:
        BadData, BadValue, Clash, UnknownName: data or words that do not fit; one line.
    """
    if words.split is not None:
        raise Clash(f"--folds {folds} measures every image, and --split {words.split} sets some aside; leave one out")
    if words.tail is not None:
        raise Clash(f"--tail {words.tail} thins what trains, and --folds {folds} is for sets that have nothing to spare; leave one out")
    manifest = _read(source, words)
    check_sound(manifest)
    return check_trainable(deal(manifest, folds, words.split_seed), words.empty_classes)


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
        precision: what networks compute in, `fp32` or `bf16`.
        speed: how the arithmetic is laid out: `fast`, `plain` or `compiled`.
        extractor: the network whose features are trained on, or None.
        standardise: what its features went through; None until `ready`.
        is_ready: whether the splits hold what is trained on.
        fold: which fold of a set this is; None where the set has splits of its own, or is the one that was dealt.
        against: text of the row that the others are held against; None for `ce`, or the first.
        left_out: why methods are not there that came with `all` or a family, a sentence each.
        dealt: of a set that was dealt into folds, the setups of these, in which the runs are; otherwise none.
    """

    manifest: Manifest
    splits: Splits
    recipe: Recipe
    backbone: str
    rows: tuple[Row, ...]
    store: Store
    device: torch.device
    precision: str = "fp32"
    speed: str = "fast"
    extractor: Extractor | None = None
    standardise: Standardise | None = None
    is_ready: bool = False
    fold: Fold | None = None
    dealt: tuple[Setup, ...] = ()
    against: str | None = None
    left_out: tuple[str, ...] = ()
    _plans: dict[tuple[str, int], Plan] = field(default_factory=dict, repr=False, compare=False)
    _roots: dict[int, Root] = field(default_factory=dict, init=False, repr=False, compare=False)

    def root(self, seed: int) -> Root:
        """Give the root of all runs with a seed; its key is worked out once."""
        if seed not in self._roots:
            self._roots[seed] = Root(self.splits, self.recipe, self.backbone, seed, self._numerics)
        return self._roots[seed]

    @cached_property
    def _numerics(self) -> dict[str, str]:
        return describe_numerics(self.device, self.recipe.threads, self.precision, self.speed)  # asks for versions, which are files

    def plan(self, row: Row, seed: int) -> Plan:
        """Plan a row, once: the plan does not change when pixels or features are filled in."""
        if (row.typed, seed) not in self._plans:
            self._plans[row.typed, seed] = plan_method(self.root(seed), row.method, row.modifiers)
        return self._plans[row.typed, seed]

    @property
    def folds(self) -> tuple[Setup, ...]:
        """The setups that runs are made on: one a fold, or this one alone."""
        return self.dealt or (self,)

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
        fill = self._read_images(progress)
        if self.dealt:
            return replace(self, dealt=tuple(map(fill, self.dealt)), is_ready=True)
        return fill(self)

    def _read_images(self, progress: Callable[[int, int], None] | None) -> Callable[[Setup], Setup]:
        """Decode images, or compute their features, and give what fills them in: folds have the rows of their set, in the same order."""
        if self.extractor is None:
            packed = fill_pixels(self.splits, self.manifest, self.recipe, self.store, progress).rows["train"].packed
            return lambda setup: replace(setup, splits=filled(setup.splits, packed), is_ready=True)
        contents = ordered(self.manifest)["content"].to_list()
        pixels = pixels_of(self.manifest, self.extractor.size)
        features = extract(self.extractor, pixels, contents, self.store, self.device, progress)

        def fill(setup: Setup) -> Setup:
            splits, standardise = fill_features(setup.splits, features)
            return replace(setup, splits=splits, standardise=standardise, is_ready=True)

        return fill


def make_setup(
    source: Manifest | Path | str,
    rows: Sequence[Row],
    data: DataWords = DataWords(),
    training: TrainingWords = TrainingWords(),
    store: Store | None = None,
    all_data: bool = False,
    folds: int | None = None,
    against: str | None = None,
) -> Setup:
    """Check all words and prepare the data; no image is decoded, nothing is trained, and nothing written but hashes of files.

    Args:
        source: a manifest, a name, a folder or a file.
        rows: methods.
        data: how the source is read.
        training: how is trained.
        store: of states, pixels and features; None for the default one.
        all_data: whether every image is a training image, and nothing is measured.
        against: the row that the others are held against, as it is typed; None for `ce`, or the first.
        folds: into how many folds all images are dealt, so that each is measured; None for the splits that the data have or get.

    Returns:
        The setup; images are still to be decoded, and frozen features computed, by `ready`.

    Raises:
        TailwiseError: one line on the first thing that does not fit.
    """
    settings, recipe = take_augmentations(training.settings, load("recipe", training.recipe))
    rows, recipe = apply_settings(rows, settings, recipe)
    held = None if against is None else find_row(against, rows).text
    recipe = with_second(recipe, threads=_threads(training.threads, recipe))
    device, store = choose_device(training.device), store or Store()
    check_precision(training.precision, device)
    check_speed(training.speed, training.precision, device)
    manifest = make_manifest(source, data, all_data) if folds is None else make_dealt(source, data, folds)
    manifest = manifest.with_content(store.shelf("hashes"))
    parts = {} if folds is None else {fold: take_fold(manifest, fold) for fold in (Fold(number, folds) for number in range(1, folds + 1))}
    if not all_data and not parts and manifest.splits == ("train",):
        raise BadData(f"{manifest.name!r} has neither val nor test images, so nothing could be measured; make them with --split 80/10/10")
    if not any(setting.startswith("recipe.batch_size") for setting in training.settings):
        recipe = recipe.fit_batch(min(sum(part.counts()) for part in parts.values() or (manifest,)))
    backbone, recipe, extractor = choose_network(
        training.net, recipe, manifest.kind, device, 0 if training.speed == "plain" else manifest.rows.height
    )
    splits = replace(prepare(manifest, recipe, data.groups, extractor), allowed=frozenset(training.allow))
    with forked(0, "check"):  # the caller's generator is not ours to draw from
        check_takes(build(resolve(Net(), backbone), splits.shape, len(splits.classes)), splits.shape)
    is_ready = manifest.kind == "features"
    if training.precision != "fp32" and (is_ready or extractor):
        raise Clash(f"--precision {training.precision} is for networks that see images; heads on features take seconds, leave it out")
    if training.speed == "compiled" and (is_ready or extractor):
        raise Clash("--speed compiled is for networks that see images; heads on features take seconds, leave it out")
    setup = Setup(manifest, splits, recipe, backbone, tuple(rows), store, device, training.precision, training.speed, extractor)
    setup = replace(setup, is_ready=is_ready, against=held)
    if training.threads == "auto":
        threads = fastest_threads(setup.root(0), setup.plan(setup.rows[0], 0).legs[0], store, device)
        setup = replace(setup, recipe=with_second(setup.recipe, threads=threads), _plans={})
    if parts:
        setup = replace(setup, dealt=_fold_setups(setup, parts, data.groups))
    return _fitting(setup)


def _threads(asked: int | Literal["auto"] | None, recipe: Recipe) -> int:
    """Give the threads to train with: what is asked for, else the recipe's as far as there are cores; 1 while they are still measured."""
    if asked == "auto":
        return 1
    if asked is None:
        return min(recipe.threads, cores())
    if asked > cores():
        raise BadValue(f"--threads {asked} are more than the {cores()} cores that this process may use; give at most {cores()}, or auto")
    return asked


def _fitting(setup: Setup) -> Setup:
    """Plan every row, and leave out those that nobody named and that do not fit the data or the network.

    Raises:
        TailwiseError: a row that somebody named cannot be planned, or none is left.
    """
    rows, left = [], []
    for row in setup.rows:
        try:
            for fold in setup.folds:
                fold.plan(row, 0)
            rows.append(row)
        except Clash as reason:
            if not row.is_listed or row.text == setup.against:
                raise
            left.append(f"{row.text}: {reason}")
    if not rows:
        raise Clash(f"no method is left: {left[0]}")
    if not left:
        return setup
    return replace(setup, rows=tuple(rows), left_out=tuple(left), dealt=tuple(replace(fold, rows=tuple(rows)) for fold in setup.dealt))


def find_row(text: str, rows: Sequence[Row]) -> Row:
    """Find the row that somebody types: by its text, its text before knobs were set, or its method's name where only one row has it.

    Raises:
        UnknownName: no row, or more than one, is meant.
    """
    wanted = parse_row(text).text
    same = [row for row in rows if wanted in (row.text, row.typed)] or [row for row in rows if row.text.split("(")[0] == wanted]
    if len(same) != 1:
        raise UnknownName("row to hold others against", text, [row.text for row in rows])
    return same[0]


def _fold_setups(setup: Setup, parts: Mapping[Fold, Manifest], scheme: str | None) -> tuple[Setup, ...]:
    """Give each fold of a set its setup; their groups are the same, made of what trains in the mean over folds."""
    splits = [prepare(part, setup.recipe, scheme, setup.extractor) for part in parts.values()]
    groups = make_groups(mean_counts([found.counts for found in splits]).real, scheme)
    groups = replace(groups, rule=f"{groups.rule}, by the mean of what trains in {len(parts)} folds")
    return tuple(
        replace(setup, manifest=part, splits=replace(found, groups=groups, allowed=setup.splits.allowed), fold=fold, _plans={})
        for (fold, part), found in zip(parts.items(), splits, strict=True)
    )


def choose_network(
    asked: str | None, recipe: Recipe, kind: str, device: torch.device, images: int = 0
) -> tuple[str, Recipe, Extractor | None]:
    """Settle which network is trained, what it wants of the images, and whether frozen features stand for them.

    Args:
        asked: the network that the user names, or None.
        recipe: with the user's settings.
        kind: of the data, `images` or `features`.
        device: where features are computed.
        images: of the set; of many, features come from a faster engine.

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
        return "features", recipe, describe_extractor(name, recipe.image_size, device, images=images)
    wanted = preprocessing(name)
    if wanted is not None:
        recipe = with_second(recipe, normalise=recipe.normalise or Normalise(wanted.mean, wanted.std))
    if wanted is not None and is_pretrained(name):
        recipe = with_second(recipe, image_size=recipe.image_size or wanted.size)
    return name, recipe, None


def with_second(recipe: Recipe, **fields: Any) -> Recipe:
    """Give a recipe with other values, and the recipe inside it too."""
    return replace(recipe, **fields, second=recipe.second and replace(recipe.second, **fields))
