"""Meta-Weight-Net: its step against the formula by differences, what moves, what it shows, what it costs."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import bilevel
from tailwise.losses import ClassWeighted, CrossEntropyLoss
from tailwise.methods.ce import CE
from tailwise.methods.meta_weight_net import LossWeighted, MetaWeightNet
from tailwise.models import Chain
from tailwise.optim import SGD, AdamW, Constant
from tailwise.registry import parse_row
from tailwise.samplers import BalancedSubsetSampler
from tailwise.training import Root, plan_method
from tailwise.training.priors import prior_left
from toy import toy_recipe, toy_splits
from training import seam_runs

METHOD = MetaWeightNet(hidden=4)
MAIN, META = bilevel.sample(5, [0, 0, 1, 2, 0], seed=1), bilevel.sample(3, [0, 1, 2], seed=2)
BATCH = {"main": MAIN, "meta": META}


def plan(text: str):
    recipe, row = toy_recipe(), parse_row(text)
    return plan_method(Root(toy_splits(), recipe, recipe.net, 0, {"test": "yes"}), row.method, row.modifiers)


def losses_of(weight: np.ndarray, bias: np.ndarray, sample) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy a row, and its (rows, classes) gradient in the logits."""
    logits = sample.images.numpy() @ weight.T + bias
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    slopes = chances.copy()
    slopes[np.arange(len(slopes)), sample.labels.numpy()] -= 1
    return -np.log(chances[np.arange(len(slopes)), sample.labels.numpy()]), slopes


def outer_loss(v: dict[str, np.ndarray], weight: np.ndarray, bias: np.ndarray, class_weights: list[float] | None, normalise: bool) -> float:
    """L2 as the paper writes it, row by row, for a linear network and a rate of 0.5."""
    losses, slopes = losses_of(weight, bias, MAIN)
    ahead_weight, ahead_bias, factors, total = weight.copy(), bias.copy(), [], 0.0
    for loss, label in zip(losses, MAIN.labels.tolist(), strict=True):
        hidden = [max(0.0, w * loss + b) for w, b in zip(v["0.weight"][:, 0], v["0.bias"], strict=True)]
        score = sum(w * h for w, h in zip(v["2.weight"][0], hidden, strict=True)) + v["2.bias"][0]
        mine = 1.0 if class_weights is None else class_weights[label]
        factors.append(mine / (1 + math.exp(-score)))
        total += factors[-1] if normalise else mine
    for factor, slope, row in zip(factors, slopes, MAIN.images.numpy(), strict=True):
        ahead_weight -= 0.5 * factor / total * np.outer(slope, row)
        ahead_bias -= 0.5 * factor / total * slope
    return float(losses_of(ahead_weight, ahead_bias, META)[0].mean())


@pytest.mark.reference
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("over_weights", [False, True], ids=["ce", "class-weighted"])
def test_its_gradient_is_that_of_differences_of_the_formula(normalise, over_weights):
    criterion = ClassWeighted(CrossEntropyLoss(), bilevel.COUNTS, 0.9) if over_weights else CrossEntropyLoss()
    loop = bilevel.make_loop(METHOD, criterion=criterion, normalise=normalise)
    class_weights = criterion.class_weights.tolist() if over_weights else None
    head = {name: t.detach().numpy().copy() for name, t in loop.net.head.named_parameters()}
    v = {name: t.detach().numpy().copy() for name, t in loop.objective.weigh.named_parameters()}
    before = outer_loss(v, head["weight"], head["bias"], class_weights, normalise)
    loop.run_step(BATCH, bilevel.clock())
    assert float(loop.meter["loss.meta"]) == pytest.approx(before, rel=1e-12)
    for name, values in v.items():
        theirs = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            for sign in (1, -1):
                moved = {n: a.copy() for n, a in v.items()}
                moved[name][place] += sign * 1e-5
                theirs[place] += sign * outer_loss(moved, head["weight"], head["bias"], class_weights, normalise) / 2e-5
        np.testing.assert_allclose(loop.outer[f"objective.weigh.{name}"], theirs, rtol=1e-5, atol=1e-9)
        assert np.abs(theirs).sum() > 0


@pytest.mark.reference
def test_the_real_step_is_by_the_new_weights_with_momentum_and_decay():
    loop = bilevel.make_loop(METHOD, optimiser=SGD(0.5, 0.9, 0.01))
    weight, bias = (t.detach().numpy().copy() for t in (loop.net.head.weight, loop.net.head.bias))
    old = loop.objective.row_weights(torch.tensor(losses_of(weight, bias, MAIN)[0])).detach().numpy()
    loop.run_step(BATCH, bilevel.clock())
    losses, slopes = losses_of(weight, bias, MAIN)
    new = loop.objective.row_weights(torch.tensor(losses)).detach().numpy()
    assert np.abs(new - old).min() > 1e-6
    expected = weight - 0.5 * ((new[:, None] * slopes).T @ MAIN.images.numpy() / 5 + 0.01 * weight)
    np.testing.assert_allclose(loop.net.head.weight.detach().numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(loop.optimisers["main"].state[loop.net.head.weight]["momentum_buffer"], (weight - expected) / 0.5, rtol=1e-9)


def test_the_virtual_step_has_neither_momentum_nor_decay():
    loop = bilevel.make_loop(METHOD, optimiser=SGD(0.5, 0.9, 0.5))
    loop.run_step(BATCH, bilevel.clock())
    weight, bias = (t.detach().numpy().copy() for t in (loop.net.head.weight, loop.net.head.bias))
    losses, slopes = losses_of(weight, bias, MAIN)
    v = loop.objective.row_weights(torch.tensor(losses)).detach().numpy()
    loop.run_step(BATCH, bilevel.clock(2))
    expected = weight - 0.5 * (v[:, None] * slopes).T @ MAIN.images.numpy() / 5
    np.testing.assert_allclose(loop.went["net.head.weight"].detach().numpy(), expected, rtol=1e-12)


def constant(loop: bilevel.Watched, value: float) -> None:
    """Let V say the same of every row."""
    with torch.no_grad():
        loop.objective.weigh[2].weight.zero_()
        loop.objective.weigh[2].bias.fill_(math.log(value / (1 - value)))


@pytest.mark.limit
@pytest.mark.parametrize("normalise", [False, True])
def test_one_weight_for_all_scales_the_gradient_of_cross_entropy(normalise):
    loop = bilevel.make_loop(METHOD, normalise=normalise)
    constant(loop, 0.3)
    plain = bilevel.make_loop(CE())
    plain.net.load_state_dict(loop.net.state_dict())
    expected = plain.gradients({"main": MAIN}, bilevel.clock())
    for name, gradient in loop.gradients(BATCH, bilevel.clock()).items():
        torch.testing.assert_close(gradient, (1.0 if normalise else 0.3) * expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.limit
def test_on_its_own_training_rows_the_step_that_is_learnt_helps_more():
    """The meta batch is the batch itself: with the V that was learnt, the virtual step of the same weights leaves a lower loss."""
    loop = bilevel.make_loop(METHOD)
    start = {name: tensor.clone() for name, tensor in loop.net.state_dict().items()}
    said = []
    for step in range(1, 7):
        loop.net.load_state_dict(start)
        loop.meter = {}
        loop.run_step({"main": MAIN, "meta": MAIN}, bilevel.clock(step))
        said.append(float(loop.meter["loss.meta"]))
    assert all(later < earlier for earlier, later in pairwise(said))


def test_weights_of_zero_are_a_loss_of_zero_and_no_nan():
    for normalise in (False, True):
        loop = bilevel.make_loop(METHOD, normalise=normalise)
        with torch.no_grad():
            loop.objective.weigh[2].weight.zero_()
            loop.objective.weigh[2].bias.fill_(-1e4)
        loop.run_step(BATCH, bilevel.clock())
        assert float(loop.meter["loss"]) == 0
        assert all(bool(t.isfinite().all()) for _, t in loop.tensors())


def test_the_real_loss_teaches_no_weights_and_the_weights_see_no_way_into_the_network():
    loop = bilevel.make_loop(METHOD)
    terms = loop.terms(BATCH, bilevel.clock())
    loop.reduce(terms).backward()
    assert all(p.grad is None for p in loop.objective.weigh.parameters())
    values = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    loop.objective.row_weights(values).sum().backward()
    assert values.grad is None


def test_the_meta_set_is_a_few_training_images_of_every_class():
    (leg,) = plan("meta-weight-net(per_class=3)").legs
    meta = leg.stage.streams["meta"]
    assert (meta.split, meta.sampler) == ("train", BalancedSubsetSampler(3))
    labels = toy_splits().rows["train"].labels
    assert np.bincount(labels[meta.sampler.subset(labels)]).tolist() == [3, 3, 3, 1]
    assert leg.stage.streams["main"].sampler is None
    assert leg.shown == (13, 6, 3, 1)


def test_the_plan_says_what_is_learnt_and_beside_what():
    (said,) = plan("meta-weight-net").sentences()
    assert "LossWeighted(CrossEntropyLoss, hidden=100)" in said
    assert "beside them meta rows by BalancedSubsetSampler(per_class=10)" in said


def test_forwards_are_as_many_as_the_card_says(run, monkeypatch):
    calls, plain = [], Chain.forward
    monkeypatch.setattr(Chain, "forward", lambda self, images: calls.append(len(images)) or plain(self, images))
    outcome, _ = run("meta-weight-net")
    trained = outcome.state.step
    of_training = calls[: 3 * trained]  # what follows are predictions
    assert MetaWeightNet.card.cost.startswith("3 forwards")
    assert of_training[:3] == [5, 5, 5]
    assert sum(of_training) == 3 * 23 * 5
    assert len(calls) - len(of_training) <= 4


def test_normalisation_statistics_move_once_a_step(run):
    outcome, _ = run("meta-weight-net")
    moved = {int(t) for name, t in outcome.state.tensors.items() if name.endswith("num_batches_tracked")}
    assert moved == {outcome.state.step}


def test_both_optimisers_are_in_the_state_by_name(run):
    slots = {name for name in run("meta-weight-net")[0].state.tensors if name.startswith("opt/")}
    v = [f"objective.weigh.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")]
    assert {s for s in slots if s.startswith("opt/meta/")} == {f"opt/meta/{n}/{s}" for n in v for s in ("step", "exp_avg", "exp_avg_sq")}
    assert not any("objective" in s for s in slots if s.startswith("opt/main/"))


def test_deferred_weights_multiply_its_own_and_it_goes_on_with_what_it_has_learnt(run):
    first, second = plan("meta-weight-net+drw").legs
    assert first.line == plan("meta-weight-net").legs[0].line
    term = second.stage.objective
    assert isinstance(term, LossWeighted)
    assert isinstance(term.criterion, ClassWeighted)
    deferred, logits = run("meta-weight-net+drw")
    plain, plain_logits = run("meta-weight-net")
    assert not np.array_equal(logits, plain_logits)
    steps = deferred.state.tensors["opt/meta/objective.weigh.0.weight/step"]
    assert int(steps) == int(plain.state.tensors["opt/meta/objective.weigh.0.weight/step"]) == plain.state.step


@pytest.mark.parametrize("text", ["crt(base=meta-weight-net)", "la(base=meta-weight-net)", "lws(base=meta-weight-net)"])
def test_is_a_base(run, text):
    outcome, logits = run(text)
    assert np.isfinite(logits).all()
    assert outcome.legs[0].line == plan("meta-weight-net").legs[0].line


def test_what_prior_it_leaves_is_not_known_and_not_guessed():
    leg = plan("meta-weight-net").legs[-1]
    assert prior_left((13, 6, 3, 1), leg, None) is None


@pytest.mark.parametrize("optimiser", [SGD(0.05), AdamW(1e-2)])
def test_trains_on_vectors_with_any_optimiser(optimiser):
    recipe = replace(seam_runs.RECIPE, net="features", augment=(), optimiser=optimiser, schedule=Constant(), epochs=12)
    outcome = seam_runs.train("meta-weight-net", root=seam_runs.make_root(recipe, seam_runs.feature_splits()))
    assert outcome.log()[-1]["loss.meta"] < 0.8 * outcome.log()[0]["loss.meta"]


def test_a_predictor_is_the_network(run):
    outcome, _ = run("meta-weight-net")
    assert type(outcome.predictor) is Chain
    assert not any("weigh." in name for name in outcome.predictor.state_dict())
