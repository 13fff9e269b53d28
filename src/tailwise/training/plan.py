"""Plans: stages become lines, and states on them, addressed by content.

A line is keyed by the state that it starts from and the stage's specification without the step at which it ends; a state is a line and
a number of steps. Equal stages that continue are one line. So sharing between methods and resuming in the middle are one look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from tailwise.counts import ClassCounts
from tailwise.errors import BadData, BadValue, Clash
from tailwise.method import About, Best, Learn, Net, Pending, Stage, Stages, Start, Stream, Undecided, advance, relay
from tailwise.models import LinearHead, build, resolve
from tailwise.objective import Objective, Supervised
from tailwise.recipe import Recipe
from tailwise.seeds import generator
from tailwise.specification import fill_shown, key_of, room_digest, spec
from tailwise.training.joint import forked
from tailwise.training.priors import notes, warnings
from tailwise.training.sentences import describe, stage_sentence
from tailwise.training.splits import Splits

CODE = ("training", "pixels", "models", "objective", "processes", "seeds", "data.images")
"""Rooms and modules whose code is in the root of every key; parts bring their own."""


@dataclass(frozen=True)
class Root:
    """What every state of a run descends from.

    Attributes:
        splits: the data.
        recipe: the run's recipe.
        backbone: the network of stages that name none.
        seed: of initialisation, order and augmentation.
        numerics: device kind, CPU capability, library versions, threads: what changes bits.
    """

    splits: Splits
    recipe: Recipe
    backbone: str
    seed: int
    numerics: Mapping[str, str]

    @cached_property
    def key(self) -> str:
        """Key of the root."""
        return key_of(
            {
                "data": self.splits.identity("train"),
                "counts": list(self.splits.counts.real),
                "groups": {name: list(labels) for name, labels in self.splits.groups.members.items()},
                "recipe": spec(self.recipe),
                "seed": self.seed,
                "numerics": dict(self.numerics),
                "code": room_digest(*CODE),
            }
        )


@dataclass(frozen=True)
class Leg:
    """One stage, resolved, as a stretch of a line.

    Attributes:
        stage: the stage with objective, learning and counts filled in; its net only where it names one, or is the first.
        net: the network that the stage trains, found or named.
        recipe: the recipe that it follows.
        line: key of the line.
        parent: (line, step) of the state that the line starts from; None at the root.
        start: step of the line at which this stage begins; above 0 only where it continues an equal one.
        stop: step of the line at which it ends.
        rows: rows an epoch of `main`.
        steps: steps an epoch.
        epoch: the clock's epoch where the line starts.
        origin: steps since the root where the line starts.
        base: steps since the root where the clock was last zero.
        shown: rows a class that an epoch of `main` is expected to show.
    """

    stage: Stage
    net: Net
    recipe: Recipe
    line: str
    parent: tuple[str, int] | None
    start: int
    stop: int
    rows: int
    steps: int
    epoch: int
    origin: int
    base: int
    shown: tuple[float, ...]

    @property
    def learn(self) -> tuple[Learn, ...]:
        """Which parameters learn, first match first."""
        return tuple(entry for entry in self.stage.learn or () if isinstance(entry, Learn))

    @property
    def length(self) -> int:
        """Steps of this stage."""
        return self.stop - self.start

    @property
    def epochs(self) -> int:
        """Epochs of this stage; stages begin and end with whole ones."""
        return self.length // self.steps

    @property
    def images_seen(self) -> int:
        """Rows that this stage shows, over all streams; each view of a row counts, and a mixed row once."""
        batch = batch_size(self.stage.streams["main"], self.recipe)
        full, rest = divmod(self.rows, batch)
        return self.epochs * (full * self._views_a_step(batch) + (self._views_a_step(rest) if rest else 0))

    def _views_a_step(self, main: int) -> int:
        """Count what a step shows in which `main` has so many rows."""
        beside = {name: rows_beside(stream, self.recipe, main) for name, stream in self.stage.streams.items() if name != "main"}
        return sum(rows * len(self.stage.streams[name].views) for name, rows in {**beside, "main": main}.items())

    @property
    def passes(self) -> int:
        """Rows that gradients are taken of: `images_seen`, twice under SAM; what an objective does beyond that is not in it."""
        return self.images_seen * getattr(self.stage.gradient, "passes", 1)


@dataclass(frozen=True)
class Plan:
    """What a method will do.

    Attributes:
        legs: in order.
        posthoc: the post-hoc part applied to its predictions, or None.
        decided_by_results: whether more stages follow that depend on what these leave.
        warnings: sentences about a prior that is corrected twice.
        notes: sentences about parts that have nothing to correct, or do not go well together.
    """

    legs: tuple[Leg, ...]
    posthoc: Any
    decided_by_results: bool
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Steps of all legs, when nothing is shared."""
        return sum(leg.length for leg in self.legs)

    def sentences(self) -> list[str]:
        """Say in one line a stage what will happen."""
        said = [stage_sentence(leg) for leg in self.legs]
        if self.decided_by_results:
            said.append("then: decided by results")
        if self.posthoc is not None:
            said.append(f"then, without training: {describe(self.posthoc)} on the predictions")
        return said


def stages_of(method: Any, modifiers: Iterable[Any], about: About, seed: int) -> Stages:
    """Give a method's stages through its modifiers, as a generator that takes the result of each.

    A part that makes layers when it is described draws under a generator of its own, never the caller's.
    """
    with forked(seed, "describe"):
        stages = method.stages(about)
        for modifier in modifiers:
            stages = modifier.modify(stages, about)
    made, result = relay(stages), None
    while True:
        with forked(seed, "describe"):
            stage = advance(made, result)
        if stage is None:
            return
        result = yield stage


def plan_method(root: Root, method: Any, modifiers: Iterable[Any] = ()) -> Plan:
    """Plan a method without training anything.

    Raises:
        BadValue, Clash, UnknownName, NoSpecification: a stage that cannot run, found before the first step.
    """
    modifiers = tuple(modifiers)
    about = root.splits.about(root.recipe.epochs)
    legs: list[Leg] = []
    stages = stages_of(method, modifiers, about, root.seed)
    undecided = False
    try:
        while not undecided and (stage := advance(stages, Pending() if legs else None)) is not None:
            undecided = bool(legs) and isinstance(legs[-1].stage.leaves, Best)
            leg = next_leg(root, stage, legs[-1] if legs else None)
            if not undecided:
                legs.append(leg)
    except Undecided:
        undecided = True
    if not any(leg.length for leg in legs):
        raise BadValue(f"{method} has no step to train; give recipe.epochs more than {root.recipe.epochs}")
    posthoc = fill_posthoc(method, about, legs[-1])
    priors = (root.splits.counts.real, legs[-1], posthoc, method)
    return Plan(tuple(legs), posthoc, undecided, tuple(warnings(*priors)), tuple(notes(*priors)))


def fill_posthoc(method: Any, about: About, last: Leg) -> Any:
    """Give a method's post-hoc part with the counts that its last stage showed.

    Raises:
        Clash: the part needs `W h + b`, and the last stage's head computes something else; the base has a part of its own.
    """
    part = method.posthoc(about)
    base = getattr(method, "base", None)
    if base is not None and base.posthoc(about) is not None:
        raise Clash(f"{method} would leave out what {base} does to predictions after training; choose a base that ends with its training")
    if getattr(part, "needs_linear_head", False) and (not isinstance(last.net.head, LinearHead) or not last.net.has_one_head):
        left = describe(last.net.head) if last.net.has_one_head else "a head a branch"
        raise Clash(f"{method} needs one linear head, and its base leaves {left}; choose another base")
    return None if part is None else fill_shown(part, last.shown)


def next_leg(root: Root, stage: Stage, before: Leg | None, at: int | None = None) -> Leg:
    """Resolve a stage after the leg before it.

    Args:
        root: of the run.
        stage: as the method gave it.
        before: the leg before, or None for the first.
        at: step of that leg's line whose state was left, when not its last.
    """
    recipe = root.recipe.part(stage.recipe)
    with forked(root.seed, "describe"):  # parts that are made anew may draw
        resolved, rows, shown = resolve_stage(root, stage, recipe, first=before is None)
    steps = -(-rows // batch_size(resolved.streams["main"], recipe))
    left = 0 if before is None else before.stop if at is None else at
    goes_on = before is not None and stage.start.clock == "continue"
    if before is not None and goes_on and before.recipe != recipe:
        raise Clash(f"stage {stage.name!r} continues the clock and names a recipe of its own; let it restart, or keep the recipe")
    end = recipe.epoch_at(stage.until)
    if before is not None and goes_on:
        if left % before.steps:
            raise Clash(f"stage {stage.name!r} would continue in the middle of an epoch")
        if _is_same(resolved, before.stage):
            same = replace(resolved, net=before.stage.net, start=before.stage.start)
            return replace(before, stage=same, start=left, stop=max(left, (end - before.epoch) * before.steps))
        epoch, origin, base = before.epoch + left // before.steps, before.origin + left, before.base
    elif before is not None:
        epoch, origin, base = 0, before.origin + left, before.origin + left
    else:
        epoch, origin, base = 0, 0, 0
    parent = None if before is None else (before.line, left)
    others = {s.split: root.splits.identity(s.split) for s in resolved.streams.values() if s.split != "train"}
    line = key_of(root.key if parent is None else list(parent), spec(resolved), spec(recipe), others)
    net = resolved.net or (before.net if before is not None else Net())
    return Leg(resolved, net, recipe, line, parent, 0, max(0, (end - epoch) * steps), rows, steps, epoch, origin, base, shown)


def _is_same(stage: Stage, before: Stage) -> bool:
    """Say whether a stage that continues is the same stretch of training: it starts plainly, and all that decides is equal."""
    if stage.start != Start():
        return False
    found = replace(before, start=stage.start, net=before.net if stage.net else None)
    return spec(stage) == spec(found)


def resolve_stage(root: Root, stage: Stage, recipe: Recipe, first: bool) -> tuple[Stage, int, tuple[float, ...]]:
    """Fill what a stage leaves open, and count the rows of an epoch, and those a class that it is expected to show."""
    root.splits.check_streams(stage)
    main = stage.streams["main"]
    shown = shown_by(root.splits, main)
    objective: Objective = fill_shown(stage.objective or Supervised(stage.criterion), shown)
    net = stage.net or (Net() if first else None)
    resolved = replace(
        stage,
        criterion=None,
        objective=objective,
        net=None if net is None else resolve(net, root.backbone),
        learn=tuple(_learning(stage, recipe)),
        streams={name: fill_shown(stream, shown) for name, stream in stage.streams.items()},
        mixing=fill_shown(stage.mixing, shown),
    )
    _check_network(resolved, root)
    _check_objective(objective, resolved, recipe)
    return resolved, _epoch_rows(root, main, recipe), shown


def _learning(stage: Stage, recipe: Recipe) -> Iterator[Learn]:
    for entry in stage.learn or ("recipe",):
        yield from recipe.learn if entry == "recipe" else (entry,)


def _epoch_rows(root: Root, main: Stream, recipe: Recipe) -> int:
    """Count the rows of an epoch: those of the split, or as many as the sampler draws."""
    rows = root.splits.rows[main.split]
    if main.sampler is None:
        return len(rows)
    return len(main.sampler.rows(rows.labels, generator(root.seed, "order", "main", 0, 0), 0, recipe.epochs))


def _check_network(stage: Stage, root: Root) -> None:
    """Refuse a network that branches where there is nothing to branch, or where its blocks cannot be had as they are asked for.

    Raises:
        Clash: feature vectors, which pass no blocks; too few blocks, or blocks of one width.
    """
    if stage.net is None or stage.net.branches is None:
        return
    if len(root.splits.shape) == 1:
        raise Clash(
            "feature vectors pass no blocks that could split into branches; give images to a recipe that trains a network, "
            "or another method"
        )
    try:
        with torch.device("meta"):  # shapes without values: nothing is drawn, nothing is computed
            build(replace(stage.net, weights=None), root.splits.shape, len(root.splits.classes))
    except BadData as refusal:
        raise Clash(str(refusal)) from None


def _check_objective(objective: Objective, stage: Stage, recipe: Recipe) -> None:
    """Refuse what an objective says it cannot do.

    Raises:
        Clash: accumulated parts under an objective that compares rows, a gradient rule under one that makes its own steps.
    """
    name = type(objective).__name__
    if recipe.accumulate > 1 and objective.compares_rows:
        raise Clash(f"{name} compares the rows of a batch with each other, so a batch cannot be cut into parts; set recipe.accumulate=1")
    if stage.gradient is not None and not objective.descends:
        raise Clash(f"{name} makes its own steps, which {describe(stage.gradient)} cannot change; leave one of them out")


def batch_size(stream: Any, recipe: Recipe) -> int:
    """Give a stream's rows a step."""
    return int(stream.batch_size or max(1, round(recipe.batch_size * stream.batch_share)))


def rows_beside(stream: Stream, recipe: Recipe, main: int) -> int:
    """Give a stream's rows in a step in which `main` has so many: a share of the batch is as short as the last one of an epoch."""
    batch = batch_size(stream, recipe)
    return batch if stream.batch_size is not None else min(batch, max(1, round(main * stream.batch_share)))


def shown_by(splits: Splits, stream: Stream) -> tuple[float, ...]:
    """Count the rows a class that an epoch of a stream is expected to show, each with its weight; generated rows count.

    Where labels are not shown, the real training counts stand: what a prior is made of must not come from labels that nobody may see.
    """
    rows, classes = splits.rows[stream.split], len(splits.classes)
    if not stream.labelled or rows.targets is None or rows.targets.ndim != 1:
        return tuple(float(n) for n in splits.counts.real)
    there = np.bincount(rows.targets, minlength=classes)
    drawn = there if stream.sampler is None else np.asarray(stream.sampler.shown(there.tolist()))
    weights = there if rows.weights is None else np.bincount(rows.targets, rows.weights, minlength=classes)
    return tuple((drawn * weights / np.maximum(there, 1)).tolist())


def about_leg(root: Root, leg: Leg) -> About:
    """Tell a stage's objective what it may know: the data, and what this stage shows of them."""
    return root.splits.about(leg.recipe.epochs, ClassCounts(root.splits.counts.real, leg.shown))
