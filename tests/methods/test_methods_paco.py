"""PaCo: what its objective computes and moves, what it costs, what it refuses, what may stand on it."""

from __future__ import annotations

import copy
from collections import deque

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tailwise.errors import Clash
from tailwise.losses import paco_losses
from tailwise.method import Net
from tailwise.methods.paco import Projection
from tailwise.models import build, resolve
from tailwise.objective import Clock, Sample
from tailwise.registry import parse_row
from tailwise.specification import fresh
from tailwise.training import Root, plan_method
from tailwise.training.joint import Joint, set_modes
from tailwise.training.line import make_loop
from tailwise.training.streams import StreamReader, read_batch
from toy import COUNTS, toy_recipe, toy_splits
from training import seam_runs

CPU = torch.device("cpu")
NOW = Clock(0, 5, 0, 5, 0, seed=0)


def made(text: str = "paco(queue=6,width=3,temperature=0.3,alpha=0.2)"):
    """A tiny network and the objective of a row on it, in the modes of training."""
    about = toy_splits().about(5)
    (stage,) = parse_row(text).method.stages(about)
    torch.manual_seed(0)
    net = build(resolve(Net(), "resnet8"), (8, 8, 1), 4)
    objective = fresh(stage.objective, counts=COUNTS)
    objective.build(net, about)
    set_modes(Joint(net, objective), "eval")
    return net, objective


def sample(labels=(0, 0, 1, 3, 0), seed: int = 0, **extra) -> Sample:
    random = torch.Generator().manual_seed(seed)
    views = tuple(torch.randn(len(labels), 1, 8, 8, generator=random) for _ in range(2))
    return Sample(views, torch.tensor(labels), torch.arange(len(labels)), extra)


def state(objective) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in objective.state_dict().items()}


def root_of(recipe=None) -> Root:
    recipe = recipe or toy_recipe()
    return Root(toy_splits(), recipe, recipe.net, 0, {"test": "yes"})


def plan(text: str, recipe=None):
    row = parse_row(text)
    return plan_method(root_of(recipe), row.method, row.modifiers)


# --- the loss -----------------------------------------------------------------------------------------------------------


@pytest.mark.reference
def test_the_loss_is_that_of_queries_keys_and_queue_with_the_log_prior():
    net, objective = made()
    net.eval()
    objective.eval()
    with torch.no_grad():  # the copy lags behind, and half of the queue is filled
        for tensor in objective.copy.parameters():
            tensor.mul_(0.9)
    objective.queue[:3] = normalize(torch.randn(3, 3), dim=1)
    objective.labels[:3] = torch.tensor([0, 3, 1])
    main = sample()
    term = objective.loss(net, {"main": main}, NOW)
    queries = objective.projection(net(main.views[0]).features)
    slow = objective.copy["net"]
    keys = objective.copy["projection"](slow.pool(slow.body(main.views[1])))
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(5))
    prior = torch.tensor(COUNTS) / sum(COUNTS)
    expected = paco_losses(
        net(main.views[0]).logits + prior.log(),
        main.labels,
        queries,
        torch.cat([keys, objective.queue[:3]]),
        torch.cat([main.labels, objective.labels[:3]]),
        alpha=0.2,
        temperature=0.3,
    )
    assert term.divisor == "batch"
    torch.testing.assert_close(term.values, expected.mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(objective.take_kept()["keys"], keys)


@pytest.mark.reference
def test_generalised_both_views_are_anchors_and_the_second_is_kept():
    net, objective = made("paco(queue=6,width=3,temperature=0.3,alpha=0.2,tau=0.5,generalised=true)")
    net.eval()
    objective.eval()
    assert not hasattr(objective, "copy")
    main = sample()
    term = objective.loss(net, {"main": main}, NOW)
    outs = [net(view) for view in main.views]
    rows = [objective.projection(out.features) for out in outs]
    prior = torch.tensor(COUNTS) / sum(COUNTS)
    expected = paco_losses(
        torch.cat([out.logits for out in outs]) + 0.5 * prior.log(),
        main.labels.repeat(2),
        torch.cat(rows),
        torch.zeros(0, 3),
        main.labels[:0],
        alpha=0.2,
        temperature=0.3,
    )
    torch.testing.assert_close(term.values, expected.mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(objective.take_kept()["keys"], rows[1])


def test_weights_of_rows_weigh_their_losses():
    net, objective = made()
    net.eval()
    objective.eval()

    def loss(weights) -> float:
        return float(objective.loss(net, {"main": sample(weight=torch.tensor(weights))}, NOW).values.detach())

    single = [loss(np.eye(5, dtype=np.float32)[i]) for i in range(5)]
    assert float(objective.loss(net, {"main": sample()}, NOW).values.detach()) == pytest.approx(np.mean(single), rel=1e-5)
    assert loss([1.0, 2.0, 0.0, 0.5, 1.0]) == pytest.approx(np.average(single, weights=[1, 2, 0, 0.5, 1]), rel=1e-5)
    assert loss([0.0] * 5) == 0.0


@pytest.mark.parametrize("text", ["paco(queue=6)", "paco(gpaco,queue=6)"])
def test_the_loss_changes_nothing_but_normalisation(text):
    net, objective = made(text)
    before = state(objective)
    first, again = (float(objective.loss(net, {"main": sample()}, NOW).values.detach()) for _ in range(2))
    assert first == again
    moved = {name for name, tensor in objective.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {f"projection.norm.{kind}" for kind in ("running_mean", "running_var", "num_batches_tracked")}


@pytest.mark.parametrize("text", ["paco", "paco(gpaco)"])
def test_every_network_parameter_learns_and_the_copy_does_not(text):
    net, objective = made(text)
    objective.loss(net, {"main": sample()}, NOW).values.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for name, p in net.named_parameters() if "bias" not in name)
    assert all(p.grad is not None and bool(p.grad.any()) for name, p in objective.projection.named_parameters() if "weight" in name)
    assert not any(p.requires_grad for name, p in objective.named_parameters() if name.startswith("copy."))
    assert not objective.queue.requires_grad


def test_one_row_is_projected_by_stored_statistics_and_moves_none():
    projection = Projection(4, 3).train()
    projection(torch.randn(6, 4))
    before = copy.deepcopy(projection.state_dict())
    one = projection(torch.tensor([[1.0, -2.0, 0.5, 3.0]]))
    assert all(torch.equal(t, before[n]) for n, t in projection.state_dict().items())
    assert torch.equal(one, projection.eval()(torch.tensor([[1.0, -2.0, 0.5, 3.0]])))
    projection.train()(torch.randn(6, 4))
    assert not torch.equal(projection.norm.running_mean, before["norm.running_mean"])


# --- state --------------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("sizes", [(2, 2, 2, 2, 2), (4, 4, 1), (6, 6), (7, 3), (13, 1, 1)], ids=str)
def test_the_queue_is_first_in_first_out_whatever_the_batches(sizes):
    net, objective = made()
    expected: deque[tuple[float, int]] = deque(maxlen=6)
    number = 0
    for size in sizes:
        rows = torch.arange(number, number + size)
        objective.settle(net, {"keys": rows[:, None].float().repeat(1, 3), "labels": rows % 4}, NOW)
        expected.extend((float(i), int(i % 4)) for i in rows)
        number += size
        held = {(float(key[0]), int(label)) for key, label in zip(objective.queue, objective.labels, strict=True) if label >= 0}
        assert held == set(expected)


@pytest.mark.reference
def test_the_copy_follows_by_its_momentum_statistics_included():
    net, objective = made("paco(momentum=0.75)")
    before = {name: tensor.clone() for name, tensor in objective.copy.state_dict().items()}
    with torch.no_grad():
        for module in (net, objective.projection):
            for tensor in module.state_dict().values():
                tensor.add_(torch.ones_like(tensor))
    live = {f"net.{n}": t for n, t in net.state_dict().items()} | {
        f"projection.{n}": t for n, t in objective.projection.state_dict().items()
    }
    objective.settle(net, {"keys": torch.zeros(0, 32), "labels": torch.zeros(0, dtype=torch.int64)}, NOW)
    for name, tensor in objective.copy.state_dict().items():
        wanted = 0.75 * before[name] + 0.25 * live[name] if tensor.is_floating_point() else live[name]
        torch.testing.assert_close(tensor, wanted, rtol=1e-5, atol=1e-6)
    assert not any(name.startswith("net.head") for name in before)


def test_a_step_under_sam_queues_each_row_once(run):
    outcome, _ = run("paco(queue=200)+sam", recipe=toy_recipe(epochs=1))
    labels = outcome.state.tensors["objective.labels"]
    assert np.bincount(labels[labels >= 0]).tolist() == list(COUNTS)
    assert int(outcome.state.tensors["objective.at"]) == 23


def test_state_is_what_the_card_says_and_momentum_of_the_copy_is_not_in_it(run):
    names = set(run("paco")[0].state.tensors)
    assert {"objective.queue", "objective.labels", "objective.at", "objective.copy.net.blocks.stem.conv.weight"} <= names
    assert "opt/main/objective.projection.first.weight/momentum_buffer" in names
    assert not any(name.startswith("opt/") and "copy" in name for name in names)
    assert "objective.shift" not in names  # a constant of the counts
    assert not any("copy" in name for name in run("paco(gpaco)")[0].state.tensors)


# --- limits, views, cost ------------------------------------------------------------------------------------------------


@pytest.mark.limit
@pytest.mark.parametrize("tau", ["", ",tau=0"])
def test_without_features_it_trains_balanced_softmax(run, tau):
    one, logits = run(f"paco(alpha=0,gamma=0{tau})")
    other, expected = run("ce" if tau else "balanced-softmax")
    np.testing.assert_allclose(logits, expected, rtol=2e-3, atol=2e-3)
    assert one.log()[-1]["loss"] == pytest.approx(other.log()[-1]["loss"], rel=1e-3)


def test_the_first_view_is_everyones_and_the_second_has_other_colours_at_its_own_place():
    root = root_of(toy_recipe(batch_size=23))

    def views(text: str):
        leg = plan(text, root.recipe).legs[0]
        readers = {name: StreamReader(name, stream, root, leg, CPU) for name, stream in leg.stage.streams.items()}
        return read_batch(readers, leg, 0, root.seed)[0]["main"].views

    (alone,), (first, second) = views("ce"), views("paco")
    assert torch.equal(alone, first)
    flat = [view.reshape(23, -1).sort(1).values for view in (first, second)]
    assert (flat[0] != flat[1]).any(1).sum() > 20  # not a shift alone: other brightness


@pytest.mark.parametrize(("text", "expected"), [("paco", [(5, True), (5, False)]), ("paco(gpaco)", [(10, True)])])
def test_a_step_of_five_rows_costs_the_forwards_that_the_card_says(text, expected):
    root = root_of()
    leg = plan(text).legs[0]
    loop = make_loop(root, leg, None, CPU)
    seen: list[tuple[int, bool]] = []
    copies = [loop.objective.copy["net"]] if hasattr(loop.objective, "copy") else []
    for module in (loop.net, *copies):
        module.blocks["stem"].register_forward_hook(lambda module, given, out: seen.append((len(given[0]), out.requires_grad)))
    readers = {name: StreamReader(name, stream, root, leg, CPU) for name, stream in leg.stage.streams.items()}
    loop.run_step(*read_batch(readers, leg, 0, root.seed))
    assert seen == expected
    assert parse_row(text).method.card.cost.startswith("2 forwards")
    assert leg.images_seen == 2 * 23 * 5


# --- what it refuses, what stands on it -----------------------------------------------------------------------------------


def test_feature_vectors_are_refused_before_anything_is_trained():
    root = seam_runs.make_root(splits=seam_runs.feature_splits())
    with pytest.raises(Clash, match="paco learns features by comparing two views of an image, and these rows are features already"):
        plan_method(root, parse_row("paco").method)


def test_a_batch_is_never_cut():
    with pytest.raises(Clash, match="compares the rows of a batch"):
        plan("paco", toy_recipe(accumulate=2))


@pytest.mark.parametrize(("modifier", "said"), [("drw", "drw weights the rows of a criterion, and"), ("mixup", "mixup needs a criterion")])
def test_modifiers_of_a_criterion_are_refused_in_a_line(modifier, said):
    with pytest.raises(Clash, match=f"{said}.*ParametricContrast has none"):
        plan(f"paco+{modifier}")


@pytest.mark.parametrize("text", ["crt(base=paco)", "lws(base=paco)", "tau-norm(base=paco)", "ncm(base=paco)", "paco+sam+ema+best"])
def test_others_stand_on_it_and_nothing_of_it_is_left(run, text):
    outcome, logits = run(text)
    assert np.isfinite(logits).all()
    assert not any(word in name for name in outcome.predictor.state_dict() for word in ("copy", "queue", "projection"))
    alone, _ = run("paco", store="alone")
    assert outcome.legs[0].line == alone.legs[0].line or "+" in text  # what is below is trained once


def test_the_plan_says_views_and_variant_and_warns_of_a_prior_taken_twice():
    assert "2 views of each row" in plan("paco").sentences()[0]
    assert "generalised" in plan("paco(gpaco)").sentences()[0]
    assert "generalised" not in plan("paco").sentences()[0]
    (warning,) = plan("la(base=paco)").warnings
    assert "ParametricContrast, LogitAdjustment" in warning
    assert plan("paco").warnings == ()


def test_published_settings_go_by_their_presets():
    changed = parse_row("paco(imagenet-lt)").method
    assert (changed.alpha, changed.temperature, changed.queue, changed.width) == (0.05, 0.2, 8192, 128)
    assert parse_row("paco(gpaco)").method.generalised
