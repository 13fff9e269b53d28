"""Resting bodies: where a head alone learns and a row looks the same each time, the body sees every row once, before the first step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from tailwise.models.chain import Chain
from tailwise.objective import Out, Supervised
from tailwise.pixels import Rows
from tailwise.training.joint import set_modes
from tailwise.training.loop import Loop
from tailwise.training.plan import Root
from tailwise.training.precision import FLOAT32
from tailwise.training.streams import PLAIN, StreamReader
from tailwise.training.sweep import sweep


def read_features(loop: Loop, root: Root, readers: dict[str, StreamReader]) -> dict[str, StreamReader]:
    """Let a stage whose body rests read features in place of images; any other stage goes on as it is.

    The features are those of a plain pass in eval mode, normalisation not folded. What the network is called on are features then.

    Args:
        loop: about to train.
        root: of the run.
        readers: of its streams.

    Returns:
        The readers of all streams.
    """
    if not body_rests(loop, root, readers):
        return readers
    net, leg = loop.net, loop.leg
    assert isinstance(net, Chain)
    normalise, precision = leg.recipe.normalise or PLAIN, root.numerics.get("precision", FLOAT32)
    seen = {reader.stream.split: reader.rows for reader in readers.values()}
    found = {split: sweep(net, rows, normalise, loop.device, precision, folds=False).features for split, rows in seen.items()}
    set_modes(loop.joint, leg.stage.frozen_norm)  # the pass has put the head at rest as well

    def head_alone(features: Tensor) -> Out:
        return Out(net.head(features), features)

    whole: Any = net
    whole.forward = head_alone
    rows = {split: _of(seen[split], features) for split, features in found.items()}
    of_features = replace(root, splits=replace(root.splits, rows={**root.splits.rows, **rows}))
    return {name: StreamReader(name, reader.stream, of_features, leg, loop.device) for name, reader in readers.items()}


def body_rests(loop: Loop, root: Root, readers: dict[str, StreamReader]) -> bool:
    """Say whether a stage's body gives the same features of a row at every step: nothing of it learns or moves, and no row is changed."""
    net, plain = loop.net, all(not view.augment for reader in readers.values() for view in reader.views)
    if len(root.splits.shape) != 3 or not plain or loop.leg.stage.mixing is not None:
        return False
    if type(net) is not Chain or type(loop.objective) is not Supervised:
        return False
    modules = [module for part in (net.blocks, net.pool) for module in part.modules()]
    return not any(parameter.requires_grad for module in modules for parameter in module.parameters()) and not any(map(_moves, modules))


def _moves(module: nn.Module) -> bool:
    """Say whether a module in training gives another answer for the same row: normalisation of the batch, or what drops at random."""
    return module.training and (getattr(module, "running_mean", None) is not None or "drop" in type(module).__name__.lower())


def _of(rows: Rows, features: np.ndarray | None) -> Rows:
    assert features is not None
    return replace(rows, packed=features, positions=np.arange(len(rows)))
