"""MiSLAS: its second stage replayed by hand, what moves in it and what rests, shifted statistics, limits, bases, cost."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tailwise.errors import BadValue, Clash
from tailwise.losses import ClassWeighted, CrossEntropyLoss, LabelAwareSmoothingLoss
from tailwise.method import Learn, Net, Stage
from tailwise.methods.mislas import MiSLAS
from tailwise.mixing import Mixup
from tailwise.models import Branches, Chain
from tailwise.models.heads import linear_weights
from tailwise.registry import parse_row
from tailwise.samplers import ClassBalancedSampler
from tailwise.training import Root, plan_method
from tailwise.training.line import make_loop, parent_of
from tailwise.training.priors import prior_left
from tailwise.training.streams import StreamReader, read_batch
from toy import COUNTS, toy_recipe, toy_splits
from training import seam_runs
from training.seam_objectives import Stages
from training.together_runs import in_float64

CPU = torch.device("cpu")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def plan(text: str, **fields):
    recipe, row = toy_recipe(**fields), parse_row(text)
    return plan_method(Root(toy_splits(), recipe, recipe.net, 0, {"test": "yes"}), row.method, row.modifiers)


def network(outcome) -> dict[str, torch.Tensor]:
    return {n: t for n, t in outcome.state.tensors.items() if n.startswith("net.")}


def moved(before, after) -> set[str]:
    old = network(before)
    return {n for n, t in network(after).items() if n not in old or not torch.equal(t, old[n])}


def batches(outcome, which: int = -1):
    """All batches of a leg, as they were trained on."""
    leg, root = outcome.legs[which], outcome.root
    readers = {name: StreamReader(name, stream, root, leg, CPU) for name, stream in leg.stage.streams.items()}
    return [read_batch(readers, leg, step, root.seed)[0]["main"] for step in range(leg.length)]


# --- the second stage ---------------------------------------------------------------------------------------------------


def slow_share(n: int, head: float, tail: float) -> float:
    return tail + (head - tail) * math.sin(math.pi / 2 * (n - min(seam_runs.COUNTS)) / (max(seam_runs.COUNTS) - min(seam_runs.COUNTS)))


@pytest.mark.reference
@pytest.mark.parametrize(
    ("text", "head", "tail", "rate"), [("mislas", 0.4, 0.1, 0.2), ("mislas(smooth_head=0.3,smooth_tail=0,rate=0.5)", 0.3, 0.0, 0.5)]
)
def test_the_second_stage_is_that_of_slow_loops(text, head, tail, rate):
    """On vectors: each row's s_k (w_k h + b_k), smoothed labels, momentum, decay, and the cosine of the epochs at both rates."""
    second = replace(seam_runs.RECIPE.second, net="features", augment=(), epochs=3)
    second = replace(second, optimiser=replace(second.optimiser, weight_decay=0.01))
    recipe = replace(seam_runs.RECIPE, net="features", augment=(), second=second)
    with in_float64():
        outcome = seam_runs.train(text, root=seam_runs.make_root(recipe, seam_runs.feature_splits()))
        base = seam_runs.train("mixup", root=seam_runs.make_root(recipe, seam_runs.feature_splits()))
        shown = batches(outcome)
    weight, bias = (base.state.tensors[f"net.head.{kind}"].numpy().copy() for kind in ("weight", "bias"))
    held = {"weight": weight, "bias": bias, "scale": np.ones(4)}
    paces = {name: np.zeros_like(values) for name, values in held.items()}
    assert len(shown) == 12
    for step, batch in enumerate(shown):
        slopes = {name: np.zeros_like(values) for name, values in held.items()}
        for h, y in zip(batch.images.double().numpy(), batch.labels.tolist(), strict=True):
            inner = held["weight"] @ h + held["bias"]
            z = held["scale"] * inner
            p = np.exp(z) / np.exp(z).sum()
            share = slow_share(seam_runs.COUNTS[y], head, tail)
            for k in range(4):
                g = (p[k] - (1 - share if k == y else share / 3)) / len(batch)
                slopes["scale"][k] += g * inner[k]
                slopes["weight"][k] += g * held["scale"][k] * h
                slopes["bias"][k] += g * held["scale"][k]
        lr = 0.05 * 0.5 * (1 + math.cos(math.pi * (step // 4) / 3))
        for name, values in held.items():
            paces[name] = 0.9 * paces[name] + slopes[name] + 0.01 * values
            values -= lr * (1 if name == "scale" else rate) * paces[name]
    for name, values in held.items():
        np.testing.assert_allclose(outcome.state.tensors[f"net.head.{name}"].numpy(), values, rtol=1e-9, atol=1e-12)
        slot = outcome.state.tensors[f"opt/main/net.head.{name}/momentum_buffer"].numpy()
        np.testing.assert_allclose(slot, paces[name], rtol=1e-9, atol=1e-12)


def test_its_two_stages_are_what_the_paper_says():
    first, second = plan("mislas(per_class=2)").legs
    assert [leg.line for leg in plan("mixup").legs] == [first.line]
    assert first.stage.mixing == Mixup(1.0)
    assert second.stage.mixing is None
    assert second.stage.streams["main"].sampler == ClassBalancedSampler(2)
    assert second.stage.learn == (Learn("net.head.scale"), Learn("net.head.*", rate=0.2))
    assert second.recipe == toy_recipe().second
    criterion = second.stage.objective.criterion
    assert isinstance(criterion, LabelAwareSmoothingLoss)
    assert criterion.counts == COUNTS  # of the images, where the rows that are shown are even
    assert len(set(second.shown)) == 1
    assert criterion.smoothing.tolist() == sorted(criterion.smoothing.tolist(), reverse=True)
    assert criterion.smoothing[[0, 3]].tolist() == pytest.approx([0.4, 0.1])


def test_balanced_rows_come_a_few_of_a_class_in_a_row(run):
    outcome, _ = run("mislas(per_class=2)", recipe=toy_recipe(**{"second.batch_size": 23}))
    (batch,) = batches(outcome)
    pairs = batch.labels[:22].reshape(11, 2)
    assert torch.equal(pairs[:, 0], pairs[:, 1])
    assert sorted(torch.bincount(batch.labels).tolist())[0] >= 4


# --- what moves, what rests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", ["yes", "no"])
def test_scales_and_classifier_learn_and_statistics_move_where_they_are_shifted(run, shift):
    base, _ = run("mixup")
    outcome, _ = run(f"mislas(shift={shift})")
    statistics = {n for n in network(base) if n.endswith(STATISTICS)}
    assert len(statistics) > 10
    assert moved(base, outcome) == {"net.head.weight", "net.head.bias", "net.head.scale"} | (statistics if shift == "yes" else set())
    counts = {int(t) for n, t in network(outcome).items() if n.endswith("num_batches_tracked")}
    assert counts == {25 + 5 if shift == "yes" else 25}
    slots = {name.rpartition("/")[0] for name in outcome.state.tensors if name.startswith("opt/")}
    assert slots == {f"opt/main/net.head.{name}" for name in ("weight", "bias", "scale")}


@pytest.mark.reference
def test_shifted_statistics_go_on_with_those_of_the_balanced_rows(run):
    base, _ = run("mixup")
    outcome, _ = run("mislas")
    stem = base.predictor.blocks["stem"]
    mean, var = (network(base)[f"net.blocks.stem.norm.{kind}"].double() for kind in STATISTICS[:2])
    for batch in batches(outcome):
        maps = stem.conv(batch.images).detach().double().permute(1, 0, 2, 3).flatten(1)
        mean, var = 0.9 * mean + 0.1 * maps.mean(1), 0.9 * var + 0.1 * maps.var(1, unbiased=True)
    torch.testing.assert_close(network(outcome)["net.blocks.stem.norm.running_mean"].double(), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(outcome)["net.blocks.stem.norm.running_var"].double(), var, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shift", ["yes", "no"])
def test_shifting_normalises_by_the_batch_and_resting_does_not(run, shift):
    """So with it a row's logits depend on who else is in the batch, in the second stage alone."""
    outcome, _ = run(f"mislas(shift={shift})")
    leg = outcome.legs[1]
    loop = make_loop(outcome.root, leg, parent_of(outcome.root, leg, outcome.settings, outcome.legs), CPU)
    first = batches(outcome)[0].images
    together, alone = loop.net(first).logits[:2], loop.net(first[:2]).logits
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5) == (shift == "no")
    net = outcome.predictor.eval()
    torch.testing.assert_close(net(first).logits[:2], net(first[:2]).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.reference
def test_its_scales_fold_into_a_linear_head_exactly(run):
    outcome, logits = run("mislas")
    head = copy.deepcopy(outcome.predictor.head).double()
    features = torch.randn(6, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight, bias = linear_weights(head)
    torch.testing.assert_close(features @ weight.T + bias, head(features), rtol=1e-12, atol=1e-12)
    predictions = outcome.predictions()
    test = predictions.splits["test"]
    np.testing.assert_allclose(test.features @ predictions.head_weight.T + predictions.head_bias, logits, rtol=1e-4, atol=1e-5)
    assert len(set(network(outcome)["net.head.scale"].tolist())) == 4


def test_what_is_left_is_the_network_and_nothing_beside_it(run):
    outcome, _ = run("mislas")
    assert type(outcome.predictor) is Chain
    assert {n for n in outcome.predictor.state_dict() if n.startswith("head")} == {"head.weight", "head.bias", "head.scale"}
    assert not any(name.startswith("objective.") for name in outcome.state.tensors)


def test_stopped_in_its_second_stage_it_ends_in_the_same_bits(run):
    """Two rates, momentum of three tensors, and statistics that are on their way."""
    recipe = toy_recipe(**{"second.epochs": 2})
    whole, logits = run("mislas", store="whole", recipe=recipe)
    calls, stops = 0, {27, 31, 34}

    def ask() -> bool:
        nonlocal calls
        calls += 1
        return calls in stops

    stopped = 0
    while True:
        try:
            resumed, again = run("mislas", store="stopped", recipe=recipe, interrupted=ask)
            break
        except KeyboardInterrupt:
            stopped += 1
    assert stopped == 3
    assert seam_runs.differing(whole, resumed) == []
    assert np.array_equal(logits, again)
    assert resumed.log() == whole.log()


def test_forwards_are_as_many_as_the_card_says_and_none_goes_back_through_the_backbone(run, monkeypatch):
    run("mixup")
    calls, plain = [], Chain.forward

    def forward(self, images):
        out = plain(self, images)
        calls.append((len(images), out.features.requires_grad, out.logits.requires_grad))
        return out

    monkeypatch.setattr(Chain, "forward", forward)
    outcome, _ = run("mislas")
    assert MiSLAS.card.cost == "1 forward; in stage 2 without backward through the backbone"
    assert outcome.trained == 5  # the first stage is there already
    assert calls[:5] == [(5, False, True)] * 4 + [(3, False, True)]
    assert not any(learns for _, _, learns in calls[5:])


# --- limits -------------------------------------------------------------------------------------------------------------


@pytest.mark.limit
def test_without_smoothing_shift_and_a_classifier_that_moves_it_is_learnable_weight_scaling(run):
    limit, logits = run("mislas(base=mixup,smooth_head=0,smooth_tail=0,rate=1e-30,shift=no)")
    simpler, expected = run("lws(base=mixup)")
    assert moved(simpler, limit) <= {"net.head.scale"}
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.limit
def test_a_second_stage_that_does_not_learn_leaves_the_base_but_for_its_statistics(run):
    still = toy_recipe(**{"second.optimiser.rate": 1e-30})
    base, logits = run("mixup", recipe=still)
    rests, resting = run("mislas(shift=no)", recipe=still)
    shifts, shifted = run("mislas", recipe=still)
    assert np.array_equal(resting, logits)
    assert moved(base, rests) == {"net.head.scale"}
    assert {n.rpartition(".")[2] for n in moved(rests, shifts)} == set(STATISTICS)
    assert not np.array_equal(shifted, logits)


@pytest.mark.limit
def test_on_even_counts_all_labels_are_smoothed_by_the_tails_share(run):
    even = toy_splits((5, 5, 5, 5))
    (_, one), (_, other), (_, third) = (run(text, splits=even) for text in ("mislas", "mislas(smooth_head=0.2)", "mislas(smooth_tail=0.2)"))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, third)


def test_smoothing_makes_frequent_classes_less_sure(run):
    """Head 0.6 and tail 0: rows of the largest class are given a smaller probability than without smoothing, by the same base."""
    recipe = toy_recipe(**{"second.epochs": 20})
    shares = []
    for text in ("mislas(smooth_head=0.6,smooth_tail=0)", "mislas(smooth_head=0,smooth_tail=0)"):
        outcome, _ = run(text, recipe=recipe)
        with torch.no_grad():
            shown = torch.cat([batch.images[batch.labels == 0] for batch in batches(outcome)])
            shares.append(float(torch.softmax(outcome.predictor.eval()(shown).logits, 1)[:, 0].mean()))
    assert shares[0] < shares[1] - 0.1


# --- bases, modifiers, refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["ce", "balanced-softmax", "bbn", "paco", "crt"])
def test_goes_over_any_base_with_a_linear_head_and_shares_its_training(run, base):
    alone, _ = run(base)
    outcome, logits = run(f"mislas(base={base})")
    assert outcome.trained == outcome.legs[-1].length
    assert [leg.line for leg in outcome.legs[:-1]] == [leg.line for leg in alone.legs]
    assert np.isfinite(logits).all()


BRANCHED = Stages(lambda about: [Stage(net=Net(branches=Branches(2, 1)), criterion=CrossEntropyLoss())])


@pytest.mark.parametrize(
    ("base", "left"),
    [
        (parse_row("ldam").method, "normalised"),
        (parse_row("ldam-drw").method, "normalised"),
        (parse_row("lws").method, "ScaledLinearHead"),
        (parse_row("mislas").method, "ScaledLinearHead"),
        (BRANCHED, "a head a branch"),
    ],
    ids=["ldam", "ldam-drw", "lws", "mislas", "branches"],
)
def test_a_head_that_it_cannot_scale_is_refused_before_anything_trains(base, left):
    with pytest.raises(Clash, match=f"scales one linear head, and its base leaves {left}") as refused:
        seam_runs.plan(MiSLAS(base=base))
    assert "\n" not in str(refused.value)


def test_a_base_that_ends_with_a_correction_of_predictions_is_refused():
    with pytest.raises(Clash, match="mislas"):
        plan("mislas(base=la)")


@pytest.mark.parametrize(
    "text", ["tau-norm(base=mislas)", "la(base=mislas)", "ncm(base=mislas)", "crt(base=mislas)", "mislas+sam+ema+best"]
)
def test_others_stand_on_it(run, text):
    outcome, logits = run(text)
    assert np.isfinite(logits).all()
    assert type(getattr(outcome.predictor, "net", outcome.predictor)) is Chain


def test_deferred_weights_go_over_the_smoothed_labels_of_the_second_stage():
    *legs, last = plan("mislas+drw(start=0.5)", **{"second.epochs": 2}).legs
    assert isinstance(last.stage.objective.criterion, ClassWeighted)
    assert isinstance(last.stage.objective.criterion.criterion, LabelAwareSmoothingLoss)
    assert not any(isinstance(leg.stage.objective.criterion, ClassWeighted) for leg in legs)
    assert (last.stage.frozen_norm, [leg.stage.mixing is None for leg in legs]) == ("train", [False, True])


def test_rows_are_mixed_in_its_first_stage_by_itself_and_over_another_base_in_both():
    with pytest.raises(Clash, match="mixup would replace the Mixup"):
        plan("mislas+mixup")
    assert [leg.stage.mixing for leg in plan("mislas(base=ce)+mixup").legs] == [Mixup(1.0)] * 2


def test_it_leaves_an_even_prior_so_that_an_adjustment_has_nothing_to_do(run):
    assert prior_left(COUNTS, plan("mislas").legs[-1], None) == pytest.approx([0.25] * 4)
    assert plan("mislas").warnings == plan("mislas").notes == ()
    assert any("has nothing to adjust" in note for note in plan("la(base=mislas)").notes)


@pytest.mark.parametrize("counts", [(1, 1), (4, 0, 1), (9, 2)], ids=str)
def test_few_images_and_few_classes_train(run, counts):
    outcome, logits = run("mislas", splits=toy_splits(counts), recipe=toy_recipe(batch_size=2, **{"second.batch_size": 2}))
    assert np.isfinite(logits).all()
    assert all(math.isfinite(record["loss"]) for record in outcome.log())


def test_without_normalisation_there_is_nothing_to_shift(run, monkeypatch):
    monkeypatch.setattr(nn, "BatchNorm2d", lambda width: nn.GroupNorm(4, width))
    (_, one), (_, other) = run("mislas", store="one"), run("mislas(shift=no)", store="other")
    assert np.array_equal(one, other)


# --- what it says -------------------------------------------------------------------------------------------------------


def test_the_plan_says_smoothing_rates_and_shift():
    said = plan("mislas(shape=convex)").sentences()[-1]
    assert "LabelAwareSmoothingLoss(smooth_head=0.4, smooth_tail=0.1, shape=convex)" in said
    assert "rows by ClassBalancedSampler(per_class=4)" in said
    assert "only net.head.scale, net.head.* at 0.2 of the rate learn" in said
    assert "normalisation of what rests goes on" in said
    assert "goes on" not in plan("mislas(shift=no)").sentences()[-1]


def test_published_settings_go_by_their_presets():
    settings = {name: parse_row(f"mislas({name})").method for name in MiSLAS.card.presets}
    numbers = {name: (m.smooth_head, m.smooth_tail, m.rate, m.shift, m.base.alpha) for name, m in settings.items()}
    assert numbers == {
        "cifar10-lt": (0.3, 0.0, 0.5, False, 1.0),
        "imagenet-lt": (0.3, 0.0, 0.05, True, 0.2),
        "places-lt": (0.4, 0.1, 0.05, True, 0.2),
        "inaturalist": (0.3, 0.0, 0.05, True, 0.2),
    }


@pytest.mark.parametrize(
    "text",
    ["mislas(smooth_head=1)", "mislas(smooth_tail=-0.1)", "mislas(rate=0)", "mislas(shape=0)", "mislas(shape=bent)", "mislas(per_class=0)"],
)
def test_settings_out_of_range_are_refused_in_a_line(text):
    with pytest.raises(BadValue, match="mislas") as refused:
        parse_row(text)
    assert "\n" not in str(refused.value)
