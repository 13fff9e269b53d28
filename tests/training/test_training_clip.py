"""Clipping: the whole gradient's norm is at most `recipe.clip`, and an infinite limit changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tailwise.optim import SGD, Constant
from toy import toy_recipe

pytestmark = pytest.mark.limit


def weights(outcome) -> dict[str, torch.Tensor]:
    return {n: t for n, t in outcome.state.tensors.items() if n.startswith("net.")}


def test_a_limit_that_is_never_reached_changes_nothing(run):
    plain, _ = run("ce", store="plain")
    clipped, _ = run("ce", store="clipped", recipe=toy_recipe(clip=1e9))
    assert all(torch.equal(t, weights(clipped)[n]) for n, t in weights(plain).items())


def test_one_clipped_step_is_as_long_as_the_limit_allows(run):
    """Without momentum, decay and schedule, a step moves the parameters by rate x the clipped norm."""
    recipe = replace(toy_recipe(batch_size=23, epochs=1), optimiser=SGD(0.5, momentum=0.0), schedule=Constant())
    clipped, _ = run("ce", recipe=replace(recipe, clip=1e-3), store="clipped")
    still, _ = run("ce", recipe=replace(recipe, clip=1e-12), store="still")
    learnt = {n for n in weights(still) if not n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    moved = sum(float((weights(clipped)[n] - weights(still)[n]).double().square().sum()) for n in learnt) ** 0.5
    assert clipped.leg.stop == 1
    assert moved == pytest.approx(0.5 * 1e-3, rel=0.02)
