"""A method equals a simpler one at its limit, trained from start to end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tailwise.method import Stage
from tailwise.registry import parse_row
from toy import toy_recipe, toy_splits

pytestmark = pytest.mark.limit
EVEN = (5, 5, 5, 5)


def tensors_equal(one, other) -> bool:
    return all(torch.equal(t, other.state.tensors[n]) for n, t in one.state.tensors.items() if n.startswith("net."))


@pytest.mark.parametrize(
    ("limit", "simpler"),
    [
        ("balanced-softmax(tau=0)", "ce"),
        ("ce+sam(rho=0)", "ce"),
        ("ldam-drw(start=1)", "ldam"),
        ("ce-drw(start=1)", "ce"),
        ("ce+drw", "ce-drw"),
        ("ldam+drw(start=0.6)", "ldam-drw(start=0.6)"),
        ("focal(gamma=0)", "ce"),
        ("mixup(alpha=0)", "ce"),
        ("ldam-drw+mixup(alpha=0)", "ldam-drw"),
        ("ce+mixup", "mixup"),
        ("class-balanced(beta=0,divisor=rows)", "ce"),
        ("reweight(power=0,divisor=rows)", "class-balanced(beta=0,divisor=rows)"),
    ],
)
def test_limit_trains_the_simpler_methods_weights_to_the_bit(run, limit, simpler):
    one, one_logits = run(limit, store="one")
    other, other_logits = run(simpler, store="other")
    assert tensors_equal(one, other)
    assert np.array_equal(one_logits, other_logits)


@pytest.mark.parametrize(
    ("limit", "simpler"),
    [
        ("ce-drw(beta=0)", "ce"),
        ("ldam-drw(beta=0)", "ldam"),
        ("reweight(power=0)", "ce"),
        ("reweight(power=0,rule=log)", "ce"),
        ("class-balanced(beta=0)", "ce"),
        ("class-balanced(beta=0,divisor=weights)", "ce"),
        ("class-balanced(beta=0.999999999)", "reweight(divisor=rows)"),
    ],
)
def test_weights_of_one_change_no_more_than_rounding(run, limit, simpler):
    _, one = run(limit)
    _, other = run(simpler)
    np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("method", ["balanced-softmax", "ce-drw", "reweight", "reweight(rule=log)", "class-balanced"])
def test_even_counts_make_it_cross_entropy(run, method):
    _, one = run(method, splits=toy_splits(EVEN), store="one")
    _, other = run("ce", splits=toy_splits(EVEN), store="other")
    np.testing.assert_allclose(one, other, rtol=5e-3, atol=5e-3)


def test_post_hoc_adjustment_of_strength_zero_changes_nothing(run):
    assert np.array_equal(run("la(tau=0)")[1], run("ce")[1])


def test_post_hoc_adjustment_subtracts_the_log_prior_of_the_training_counts(run):
    counts = np.array([13, 6, 3, 1])
    expected = run("ce")[1].astype(np.float64) - np.log(counts / counts.sum())
    np.testing.assert_allclose(run("la")[1], expected, rtol=1e-5)


def test_post_hoc_adjustment_of_a_balanced_second_stage_does_nothing_to_the_order(run):
    assert np.array_equal(run("la(base=crt)")[1].argmax(1), run("crt")[1].argmax(1))


def test_average_without_memory_is_the_live_network(run):
    averaged, logits = run("ce+ema(decay=0,warm_up=no)")
    _, live = run("ce")
    assert np.array_equal(logits, live)
    assert any(name.startswith("average/") for name in averaged.state.tensors)


def test_ldam_predicts_on_the_scale_of_its_softmax(run):
    _, logits = run("ldam(scale=7)")
    assert np.abs(logits).max() <= 7.0 + 1e-5
    assert np.abs(logits).max() > 1.0


def test_retraining_moves_only_the_head(run):
    base, _ = run("ce")
    retrained, _ = run("crt")
    moved = {n for n, t in retrained.state.tensors.items() if n.startswith("net.") and not torch.equal(t, base.state.tensors[n])}
    assert moved == {"net.head.weight", "net.head.bias"}


def test_margins_and_weights_use_real_counts_and_priors_what_is_shown(run):
    stages = {text: list(parse_row(text).method.stages(toy_splits().about(5))) for text in ("ldam", "balanced-softmax")}
    assert stages["ldam"][0].criterion.counts == (13, 6, 3, 1)
    outcome, _ = run("balanced-softmax")
    assert outcome.leg.stage.objective.criterion.counts == (13.0, 6.0, 3.0, 1.0)


def test_accumulated_batches_give_the_same_training_without_batch_statistics(run):
    features = features_splits()
    whole, _ = run("ldam-drw", splits=features, recipe=feature_recipe(), store="whole")
    parts, _ = run("ldam-drw", splits=features, recipe=feature_recipe(accumulate=3), store="parts")
    for name, tensor in whole.state.tensors.items():
        torch.testing.assert_close(parts.state.tensors[name], tensor, rtol=1e-4, atol=1e-5)


def features_splits():
    splits = toy_splits()
    flat = {n: dataclasses.replace(r, packed=r.packed.reshape(len(r), -1).astype(np.float32) / 255) for n, r in splits.rows.items()}
    return dataclasses.replace(splits, rows=flat)


def feature_recipe(**settings):
    return dataclasses.replace(toy_recipe(**settings), net="features")


def test_a_stage_needs_one_of_criterion_and_objective():
    with pytest.raises(ValueError, match="criterion or an objective"):
        Stage()


def test_retraining_begins_from_fresh_weights(run):
    """With a second stage that hardly moves, the head is the fresh one and not the base's."""
    still = toy_recipe(**{"second.optimiser.rate": 1e-12})
    base, _ = run("ce", recipe=still)
    retrained, _ = run("crt", recipe=still)
    assert not torch.allclose(retrained.state.tensors["net.head.weight"], base.state.tensors["net.head.weight"], atol=1e-3)
    assert retrained.state.tensors["net.head.weight"].std() > 0.05


def test_second_stages_from_different_states_are_different_lines(run):
    run("ce-drw", store="shared")
    early, logits = run("ce-drw(start=0.4)", store="shared")
    _, alone_logits = run("ce-drw(start=0.4)", store="alone")
    assert early.leg.line != run("ce-drw", store="shared")[0].leg.line
    assert np.array_equal(logits, alone_logits)
