"""A run's network made again from its folder: what it was trained on is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tailwise.errors import BadData, BadValue, UnknownName
from tailwise.evaluation import Predictions
from tailwise.pixels import Rows
from tailwise.posthoc import LogitAdjustment, MeanOfViews, NearestMean, PostHoc, PriorShift, TauNorm, Temperature
from tailwise.registry import Row, load, parse_modifier, parse_row, split_outside
from tailwise.study.runs import WEIGHTS, Run
from tailwise.study.tensors import fill, read_tensors
from tailwise.training import Root, Splits, plan_method
from tailwise.training.line import make_loop
from tailwise.training.views import TwoViews

AFTERWARDS: Mapping[str, Any] = {
    part.__name__: part for part in (LogitAdjustment, MeanOfViews, NearestMean, PriorShift, TauNorm, Temperature)
}
"""Post-hoc parts that can be put on a run's predictions after its training, by the names under which records have them."""


def rebuild(run: Run, method: Row | None, device: torch.device) -> tuple[nn.Module, PostHoc | None]:
    """Make a run's predictor anew from its method's own description, and fill it with the run's weights.

    Args:
        run: trained.
        method: of a run of a user's own file, which a record does not import.
        device: where it goes.

    Returns:
        The predictor in eval mode, and the post-hoc part as it was fitted, or None where there is none to apply.

    Raises:
        BadData: a method that is not known, weights that are missing or damaged, or a method whose stages are decided by results.
        BadValue: a method that the run was not trained with.
    """
    record = run.record
    # Of the recipe a network can depend on the epochs alone: that is what a method sees of it.
    recipe = replace(load("recipe", record["recipe"]["name"]), epochs=record["recipe"]["epochs"])
    root = Root(as_trained(record, run.predictions), recipe, record["network"]["backbone"], record["seed"], record["numerics"])
    row = _row_of(run, method)
    plan = plan_method(root, row.method, row.modifiers)
    if plan.decided_by_results:
        raise BadData(f"{run.folder} was trained by a method whose stages are decided by results; predict cannot rebuild its network yet")
    loop = make_loop(root, plan.legs[-1], None, device)
    predictor = loop.objective.predictor(loop.net)
    path = run.folder / WEIGHTS
    fill(predictor, read_tensors(path, record["weights"]), path)
    posthoc = _corrected(plan.posthoc, record)
    if isinstance(posthoc, MeanOfViews):  # new images have no stored views, so the network looks twice
        predictor, posthoc = TwoViews(predictor), None
    return predictor.to(device).eval(), posthoc


def _row_of(run: Run, given: Row | None) -> Row:
    """Give the row that a run was trained with: read from its record, or its method given and its modifiers from there.

    Raises:
        BadData: the method is a user's own, and is not given.
        BadValue: another method is given, or one with other knobs.
    """
    trained = run.record.get("trained_as") or run.record
    text, part = trained["method"], trained["knobs"]["part"]
    first, *modifiers = split_outside(text, "+")
    if given is None:
        try:
            row = parse_row(text)
        except UnknownName:
            row = None
        if row is None or type(row.method).__name__ != part or trained["typed"] != text:
            raise BadData(f"{run.folder} was trained with {text!r}, a method of its own file; name it with --method ./FILE.py")
        return row
    if given.text not in (text, first) or type(given.method).__name__ != part:
        raise BadValue(f"{run.folder} was trained with {text!r}, and --method gives {given.text!r}; give the same one, with the same knobs")
    return Row(given.method, tuple(map(parse_modifier, modifiers)))


def as_trained(record: Any, predictions: Predictions) -> Splits:
    """Stand in for the training data, of which a network needs shape, counts and class names alone."""
    counts = record["data"]["train_counts"]
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = np.broadcast_to(np.float32(0), (1, *record["data"]["shape"]))
    train = Rows(tuple(map(str, range(len(labels)))), rows, np.zeros(len(labels), np.int64), labels)
    names = ("train", "val", "test")  # a stage may have learnt on images of the others
    stand_ins, contents = dict.fromkeys(names, train), dict.fromkeys(names, "")
    return Splits(stand_ins, predictions.classes, predictions.counts, predictions.groups, contents, frozenset(names))


def _corrected(planned: PostHoc | None, record: Any) -> PostHoc | None:
    """Give the post-hoc part as it was fitted: the method's own, or the one that came afterwards."""
    fitted = record["correction"]
    if fitted is None:
        return None
    kind: Any = AFTERWARDS[fitted["part"]] if record.get("trained_as") else type(planned)
    made: PostHoc = kind(**{name: value for name, value in fitted.items() if name != "part"})
    return made
