"""BALMS: its bilevel step against differences of the formula, what it draws, what moves, what it costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import bilevel
from tailwise.errors import Clash
from tailwise.losses import BalancedSoftmaxLoss, ClassWeighted, CrossEntropyLoss
from tailwise.method import Net, Stage
from tailwise.methods.balms import BALMS, MetaSampled
from tailwise.models import Branches, Chain
from tailwise.optim import SGD, AdamW, Constant
from tailwise.registry import parse_row
from tailwise.samplers import ClassBalancedSampler, LearntRateSampler, first_rate_logits
from tailwise.training import Root, plan_method
from tailwise.training.priors import prior_left
from toy import toy_recipe, toy_splits
from training import seam_runs
from training.seam_objectives import Stages

LABELS = [0, 0, 1, 2, 0, 1]
NOISE = torch.tensor(np.random.default_rng(3).gumbel(size=(6, 3)))
KEYS = NOISE + torch.tensor(bilevel.COUNTS, dtype=torch.float64).log()
MAIN, META = bilevel.sample(6, LABELS, seed=1, extra={"keys": KEYS}), bilevel.sample(3, [0, 1, 2], seed=2)
BATCH = {"main": MAIN, "meta": META}
RATES = torch.tensor([-0.7, 0.2, 1.1], dtype=torch.float64)


def plan(text: str):
    recipe, row = toy_recipe(), parse_row(text)
    return plan_method(Root(toy_splits(), recipe, recipe.net, 0, {"test": "yes"}), row.method, row.modifiers)


def started(optimiser: object = None, clip: float | None = None, **fields: object) -> bilevel.Watched:
    """A loop one step in, so that the optimisers hold something."""
    loop = bilevel.make_loop(BALMS(), optimiser=optimiser, clip=clip, **fields)
    with torch.no_grad():
        loop.objective.rate_logits.copy_(RATES)
    loop.run_step(BATCH, bilevel.clock())
    with torch.no_grad():
        loop.objective.rate_logits.copy_(RATES)
    return loop


def slopes_of(weight: np.ndarray, bias: np.ndarray, sample, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses a row of logits + shift, and their (rows, classes) gradients in the logits."""
    logits = sample.images.numpy() @ weight.T + bias + shift
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    slopes = chances.copy()
    slopes[np.arange(len(slopes)), sample.labels.numpy()] -= 1
    return -np.log(chances[np.arange(len(slopes)), sample.labels.numpy()]), slopes


def outer_loss(draws: list[float], loop: bilevel.Watched, clip: float | None = None) -> float:
    """The meta loss after one real step of momentum 0.9, decay 0.01 and rate 0.5 down `mean l y`."""
    head = loop.net.head
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    _, slopes = slopes_of(weight, bias, MAIN, np.log(bilevel.COUNTS))
    down_weight, down_bias = np.zeros_like(weight), np.zeros_like(bias)
    for draw, slope, row in zip(draws, slopes, MAIN.images.numpy(), strict=True):
        down_weight += draw * np.outer(slope, row) / 6
        down_bias += draw * slope / 6
    if clip is not None:
        factor = min(1.0, clip / (np.sqrt((down_weight**2).sum() + (down_bias**2).sum()) + 1e-6))
        down_weight, down_bias = factor * down_weight, factor * down_bias
    held = {name: loop.optimisers["main"].state[p]["momentum_buffer"].numpy() for name, p in head.named_parameters()}
    ahead_weight = weight - 0.5 * (0.9 * held["weight"] + down_weight + 0.01 * weight)
    ahead_bias = bias - 0.5 * (0.9 * held["bias"] + down_bias + 0.01 * bias)
    return float(slopes_of(ahead_weight, ahead_bias, META, np.zeros(3))[0].mean())


@pytest.mark.reference
@pytest.mark.parametrize("clip", [None, 0.2])
def test_its_gradient_is_that_of_differences_of_the_formula(clip):
    """How the meta loss answers to each draw, by differences, times how the chance of what was drawn answers to the rates, by hand."""
    loop = started(SGD(0.5, 0.9, 0.01), clip)
    answers = []
    for b in range(6):
        up, down = ([1.0 + sign * 1e-5 * (k == b) for k in range(6)] for sign in (1, -1))
        answers.append((outer_loss(up, loop, clip) - outer_loss(down, loop, clip)) / 2e-5)
    expected = np.zeros(3)
    rates = 1 / (1 + np.exp(-RATES.numpy()))
    for answer, noise, label in zip(answers, NOISE.numpy(), LABELS, strict=True):
        masses = np.array(bilevel.COUNTS) * rates * np.exp(noise)
        soft = masses / masses.sum()
        for k in range(3):
            expected[k] += answer * soft[label] * ((k == label) - soft[k]) * (1 - rates[k])  # d log sigmoid(a) / da = 1 - rate
    loop.meter = {}
    before = outer_loss([1.0] * 6, loop, clip)
    loop.run_step(BATCH, bilevel.clock(2))
    assert float(loop.meter["loss.rates"]) == pytest.approx(before, rel=1e-12)
    np.testing.assert_allclose(loop.outer["objective.rate_logits"], expected, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("optimiser", [SGD(0.5, 0.9, 0.01), SGD(0.5, 0.9, 0.01, nesterov=True), AdamW(0.1, 0.1)], ids=str)
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_real_step_goes_where_the_virtual_one_went(optimiser, clip):
    """Draws are ones: what teaches the rates is the very step that the classifier makes."""
    loop = started(optimiser, clip)
    loop.run_step(BATCH, bilevel.clock(2))
    for name, parameter in loop.parameters().items():
        torch.testing.assert_close(loop.went[name].detach(), parameter.detach(), rtol=1e-10, atol=1e-12)


def test_rates_step_by_adam_and_leave_no_gradient_in_the_classifier():
    loop = started()
    assert list(loop.outer) == ["objective.rate_logits"]
    assert list(loop.parameters("rates")) == ["objective.rate_logits"]
    assert sorted(loop.parameters()) == ["net.head.bias", "net.head.weight"]
    terms = loop.terms(BATCH, bilevel.clock(2))
    loop.reduce(terms).backward()
    assert loop.objective.rate_logits.grad is None


def test_the_rate_of_a_class_that_the_classifier_neglects_rises():
    """Two classes alike but in number, and a classifier that has only seen the first: what is drawn of the second helps the meta set."""
    loop = bilevel.make_loop(BALMS(rate=0.05))
    with torch.no_grad():
        loop.net.head.weight.zero_()
        loop.net.head.bias.copy_(torch.tensor([3.0, -3.0, -9.0]))
    rng = np.random.default_rng(0)
    for step in range(1, 30):
        labels = [0, 0, 0, 1]
        keys = torch.tensor(rng.gumbel(size=(4, 3)) + np.log([9, 1, 1e-9]))
        main = bilevel.sample(4, labels, seed=step, extra={"keys": keys})
        loop.run_step({"main": main, "meta": bilevel.sample(4, [0, 1, 0, 1], seed=100 + step)}, bilevel.clock(step))
        if step == 1:
            first = loop.objective.rate_logits.detach().clone()
    assert first[1] > 0 > first[0]


# --- what is drawn ------------------------------------------------------------------------------------------------------


def built(rates: Tensor) -> MetaSampled:
    objective = bilevel.make_loop(BALMS()).objective
    with torch.no_grad():
        objective.rate_logits.copy_(rates)
    return objective


def test_rows_are_drawn_by_the_rates_as_they_are_now():
    """Classes in proportion to n rate, images of a class alike: 20,000 draws, four standard deviations."""
    labels, draws = np.repeat([0, 1, 2], bilevel.COUNTS), 20_000
    rows, beside = built(RATES).choose("main", np.zeros(draws, dtype=np.int64), labels, bilevel.clock())
    masses = np.array(bilevel.COUNTS) * RATES.sigmoid().numpy()
    expected = (masses / masses.sum() / np.array(bilevel.COUNTS))[labels]
    shares = np.bincount(rows, minlength=10) / draws
    np.testing.assert_allclose(shares, expected, atol=4 * np.sqrt(0.25 / draws))
    assert np.array_equal((beside["keys"] + torch.nn.functional.logsigmoid(RATES)).argmax(1), labels[rows])


@pytest.mark.limit
def test_equal_rates_are_instance_sampling():
    labels, draws = np.repeat([0, 1, 2], bilevel.COUNTS), 20_000
    for rates in (torch.zeros(3), torch.full((3,), -2.0)):
        rows, _ = built(rates).choose("main", np.zeros(draws, dtype=np.int64), labels, bilevel.clock())
        np.testing.assert_allclose(np.bincount(rows, minlength=10) / draws, 0.1, atol=4 * np.sqrt(0.25 / draws))


def test_the_same_step_draws_the_same_rows_and_other_streams_keep_theirs():
    objective, labels, given = built(RATES), np.repeat([0, 1, 2], bilevel.COUNTS), np.arange(8)
    one, again, other = (objective.choose("main", given, labels, bilevel.clock(step))[0] for step in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    rows, beside = objective.choose("meta", given, labels, bilevel.clock())
    assert rows is given
    assert beside == {}


def test_in_a_run_every_row_comes_with_the_keys_of_its_draw(run, monkeypatch):
    seen, plain = [], MetaSampled.step

    def step(self, loop, batch, now):
        main = batch["main"]
        scores = main.extra["keys"].double() + torch.nn.functional.logsigmoid(self.rate_logits.detach().double())
        seen.append(torch.equal(scores.argmax(1), main.labels))
        plain(self, loop, batch, now)

    monkeypatch.setattr(MetaSampled, "step", step)
    run("balms")
    run("balms+mixup")
    assert len(seen) >= 10
    assert all(seen)


# --- the stage ----------------------------------------------------------------------------------------------------------


def test_its_rows_and_its_meta_rows_are_of_train_and_a_class_of_one_image_is_shown_as_often_as_others():
    leg = plan("balms(power=0.5)").legs[-1]
    main, meta = leg.stage.streams["main"], leg.stage.streams["meta"]
    assert (main.split, meta.split) == ("train", "train")
    assert main.sampler == LearntRateSampler(0.5)
    assert meta.sampler == ClassBalancedSampler(1)
    assert meta.sampler.shown((13, 6, 3, 1)) == (5.75,) * 4
    masses = np.array([13, 6, 3, 1]) ** 0.5
    np.testing.assert_allclose(leg.shown, 23 * masses / masses.sum())
    assert leg.stage.objective.criterion.counts == (13, 6, 3, 1)  # balanced softmax corrects for the set, the rates for the rest


@pytest.mark.reference
def test_rates_begin_as_the_counts_and_the_power_say():
    loop = bilevel.make_loop(BALMS(power=0.5))
    powers = [n**-0.5 for n in bilevel.COUNTS]
    expected = [p / (min(powers) + max(powers)) for p in powers]
    np.testing.assert_allclose(loop.objective.rate_logits.detach().sigmoid(), expected, rtol=1e-6)
    assert first_rate_logits(bilevel.COUNTS, 0.0).tolist() == [0, 0, 0]


def test_only_the_classifier_and_the_rates_learn_and_the_base_is_shared(run):
    before, _ = run("ce")
    outcome, _ = run("balms")
    assert outcome.legs[0].line == before.legs[0].line
    assert outcome.trained == outcome.legs[1].length
    moved = {n for n, t in before.state.tensors.items() if n.startswith("net.") and not torch.equal(t, outcome.state.tensors[n])}
    assert moved == {"net.head.weight", "net.head.bias"}  # no running statistics either
    slots = {name.rpartition("/")[0] for name in outcome.state.tensors if name.startswith("opt/")}
    assert slots == {"opt/main/net.head.weight", "opt/main/net.head.bias", "opt/rates/objective.rate_logits"}
    assert float(outcome.state.tensors["objective.rate_logits"].abs().max()) > 0


def test_forwards_are_as_many_as_the_card_says_and_none_goes_back_through_the_backbone(run, monkeypatch):
    run("ce")
    calls, plain = [], Chain.forward

    def forward(self, images):
        out = plain(self, images)
        calls.append((len(images), out.features.requires_grad, out.logits.requires_grad))
        return out

    monkeypatch.setattr(Chain, "forward", forward)
    outcome, _ = run("balms")
    assert "3 in stage 2" in BALMS.card.cost
    of_training = calls[: 3 * outcome.trained]
    assert outcome.trained == 5
    assert sum(rows for rows, _, _ in of_training) == 3 * 23
    assert not any(back for _, back, _ in of_training)
    assert all(learns for _, _, learns in of_training)
    assert not any(learns for _, _, learns in calls[len(of_training) :])


def test_deferred_weights_multiply_its_losses(run):
    leg = plan("balms+drw").legs[-1]
    assert isinstance(leg.stage.objective.criterion, ClassWeighted)
    assert not np.array_equal(run("balms+drw(start=0.2)", recipe=toy_recipe(**{"second.epochs": 5}))[1], run("balms")[1])


@pytest.mark.reference
def test_weighted_rows_teach_the_rates_by_their_weights():
    criterion = ClassWeighted(BalancedSoftmaxLoss(bilevel.COUNTS), bilevel.COUNTS, 0.9)
    one, other = started(criterion=criterion), started()
    for loop in (one, other):
        loop.run_step(BATCH, bilevel.clock(2))
    for name, parameter in one.parameters().items():
        torch.testing.assert_close(one.went[name].detach(), parameter.detach(), rtol=1e-10, atol=1e-12)
        assert not torch.equal(one.went[name], other.went[name])


BASES = ["balms(base=ldam-drw)", "balms(base=meta-weight-net)", "la(base=balms)", "crt(base=balms)", "tau-norm(base=balms)"]


@pytest.mark.parametrize("text", BASES)
def test_stands_on_a_base_and_is_one(run, text):
    assert np.isfinite(run(text)[1]).all()


def test_adjusting_it_once_more_is_said():
    assert prior_left((13, 6, 3, 1), plan("balms").legs[-1], None) is None
    assert [n for n in plan("la(base=balms)").notes if "learnt rates has taken the class prior out" in n]
    assert plan("balms(places-lt)").warnings == ()


def test_a_base_of_branches_is_refused_before_anything_trains():
    base = Stages(lambda about: [Stage(net=Net(branches=Branches(2, 1)), criterion=CrossEntropyLoss())])
    with pytest.raises(Clash, match="trains one head anew, and its base leaves a head a branch") as refused:
        seam_runs.plan(replace(BALMS(), base=base))
    assert "\n" not in str(refused.value)


def test_the_plan_says_how_rows_are_drawn():
    said = plan("balms").sentences()[-1]
    assert "MetaSampled(BalancedSoftmaxLoss(tau=1))" in said
    assert "rows by LearntRateSampler(power=0)" in said
    assert "beside them meta rows by ClassBalancedSampler(per_class=1)" in said
    assert "every row once an epoch" not in said


@pytest.mark.parametrize("optimiser", [SGD(0.05), AdamW(1e-2)])
def test_trains_on_vectors_with_any_optimiser(optimiser):
    second = replace(seam_runs.RECIPE.second, net="features", augment=(), optimiser=optimiser, schedule=Constant(), epochs=8)
    recipe = replace(seam_runs.RECIPE, net="features", augment=(), second=second)
    outcome = seam_runs.train("balms", root=seam_runs.make_root(recipe, seam_runs.feature_splits()))
    first, last = outcome.logs[-1][0], outcome.logs[-1][-1]
    assert last["loss.rates"] < first["loss.rates"]


def test_a_predictor_is_the_network(run):
    outcome, _ = run("balms")
    assert type(outcome.predictor) is Chain
    assert not any("rate" in name for name in outcome.predictor.state_dict())
