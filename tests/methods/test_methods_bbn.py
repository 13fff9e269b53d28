"""BBN: a step against slow loops, its shares over a training, what rests at the ends of them, what it costs and leaves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tailwise.errors import BadData, BadValue, Clash
from tailwise.losses import ClassWeighted, CrossEntropyLoss
from tailwise.method import Net
from tailwise.methods.bbn import BBN, CumulativeLearning, cumulative_share
from tailwise.models import Blocks, Branches, Joined, LinearHead, build, resolve
from tailwise.objective import Clock, Sample
from tailwise.registry import parse_row
from tailwise.samplers import ReversedSampler
from tailwise.specification import fresh
from tailwise.training import Root, plan_method
from tailwise.training.line import make_loop
from tailwise.training.priors import prior_left
from tailwise.training.streams import StreamReader, cut, read_batch
from toy import COUNTS, toy_recipe, toy_splits
from training import seam_runs
from training.together_runs import in_float64

CPU = torch.device("cpu")
FIRST, SECOND = ("net.branches.0.", "net.branches.1.")


def clock(epoch: int, epochs: int = 5, total: int = 0, **fields) -> Clock:
    return Clock(epoch, epochs, 0, 5, total, seed=0, **fields)


def root_of(**fields) -> Root:
    recipe = toy_recipe(**fields)
    return Root(toy_splits(), recipe, recipe.net, 0, {"test": "yes"})


def plan(text: str, **fields):
    row = parse_row(text)
    return plan_method(root_of(**fields), row.method, row.modifiers)


def small_net() -> Joined:
    """Vectors of three numbers, a trunk of four units, branches of two, three classes; in float64."""
    torch.manual_seed(1)
    trunk = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    twins = [Blocks({"last": nn.Sequential(nn.Linear(4, 2), nn.Tanh())}, nn.Identity(), 2) for _ in range(2)]
    return Joined({"first": trunk}, twins, LinearHead().build(4, 3)).double()


def sample(labels: tuple[int, ...], seed: int, **extra) -> Sample:
    rows = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Sample((rows,), torch.tensor(labels), torch.arange(len(labels)), extra)


MAIN, REVERSED = sample((0, 0, 1, 0, 2), seed=2), sample((2, 1, 2, 0, 2), seed=3)
BATCH = {"main": MAIN, "reversed": REVERSED}


def objective(schedule: str = "parabolic", horizon: float = 1.0, criterion=None) -> CumulativeLearning:
    return CumulativeLearning(criterion or CrossEntropyLoss(), schedule, horizon)


def loss_of(made: CumulativeLearning, net: nn.Module, batch, now: Clock) -> torch.Tensor:
    terms = made.loss(net, batch, now).values()
    return sum(term.factor * term.numerator() / term.denominator() for term in terms)


def gradients(made: CumulativeLearning, net: nn.Module, batch, now: Clock) -> dict[str, torch.Tensor]:
    net.zero_grad()
    loss_of(made, net, batch, now).backward()
    return {name: p.grad.clone() for name, p in net.named_parameters()}


# --- the step -----------------------------------------------------------------------------------------------------------


def layer(rows, weight, bias) -> list[list[float]]:
    """`tanh(W x + b)`, one unit after the other."""
    return [[math.tanh(sum(w * x for w, x in zip(ws, row, strict=True)) + b) for ws, b in zip(weight, bias, strict=True)] for row in rows]


def slow_loss(net: Joined, a: float) -> float:
    """The formula, row by row: each stream through its branch, features by their shares, one softmax, two labels."""
    values = {name: tensor.tolist() for name, tensor in net.state_dict().items()}
    features = []
    for branch, stream in enumerate((MAIN, REVERSED)):
        hidden = layer(stream.images.tolist(), values["trunk.first.0.weight"], values["trunk.first.0.bias"])
        place = f"branches.{branch}.blocks.last.0"
        features.append(layer(hidden, values[f"{place}.weight"], values[f"{place}.bias"]))
    total = 0.0
    for i in range(5):
        joined = [2 * a * f for f in features[0][i]] + [2 * (1 - a) * f for f in features[1][i]]
        z = [
            sum(w * f for w, f in zip(ws, joined, strict=True)) + b
            for ws, b in zip(values["head.weight"], values["head.bias"], strict=True)
        ]
        log_sum = math.log(sum(math.exp(v) for v in z))
        total += a * (log_sum - z[int(MAIN.labels[i])]) + (1 - a) * (log_sum - z[int(REVERSED.labels[i])])
    return total / 5


@pytest.mark.reference
@pytest.mark.parametrize("epoch", range(5))
def test_loss_and_gradients_are_those_of_slow_loops(epoch):
    net, made, a = small_net(), objective(), 1 - (epoch / 5) ** 2
    assert float(loss_of(made, net, BATCH, clock(epoch)).detach()) == pytest.approx(slow_loss(net, a), rel=1e-12)
    for name, slopes in gradients(made, net, BATCH, clock(epoch)).items():
        parameter = dict(net.named_parameters())[name].data.view(-1)
        for place, slope in enumerate(slopes.view(-1).tolist()):
            values = []
            for step in (1e-5, -2e-5, 1e-5):
                parameter[place] += step
                values.append(slow_loss(net, a))
            assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-9), name


@pytest.mark.limit
@pytest.mark.parametrize(("schedule", "epoch", "rests"), [("parabolic", 0, SECOND), ("linear", 0, SECOND), ("increment", 0, FIRST)])
def test_a_branch_without_a_share_has_no_gradient_and_its_labels_no_say(schedule, epoch, rests):
    """At a = 1 the loss is the cross-entropy of W [2 f_c ; 0] + b."""
    net, made = small_net(), objective(schedule)
    here, there = ("main", "reversed") if rests == SECOND else ("reversed", "main")
    found = gradients(made, net, BATCH, clock(epoch))
    assert all(not g.any() for name, g in found.items() if f"net.{name}".startswith(rests))
    columns = slice(2, 4) if rests == SECOND else slice(0, 2)
    assert not found["head.weight"][:, columns].any()
    assert all(bool(g.any()) for name, g in found.items() if not f"net.{name}".startswith(rests))
    which = 0 if here == "main" else 1
    alone = torch.zeros(5, 4, dtype=torch.float64)
    alone[:, 2 * which : 2 * which + 2] = 2 * net.branch(which, net.body(BATCH[here].images))
    expected = nn.functional.cross_entropy(net.head(alone), BATCH[here].labels)
    torch.testing.assert_close(loss_of(made, net, BATCH, clock(epoch)), expected, rtol=1e-12, atol=0)
    others = {**BATCH, there: sample((1, 0, 0, 2, 1), seed=8)}
    again = gradients(made, net, others, clock(epoch))
    assert all(torch.equal(g, again[name]) for name, g in found.items())


@pytest.mark.limit
@pytest.mark.parametrize("tied", [True, False])
def test_half_and_half_of_one_image_is_what_the_network_predicts(tied):
    net, made = small_net(), objective("equal")
    if tied:
        net.branches[1].load_state_dict(net.branches[0].state_dict())
    same = {"main": MAIN, "reversed": MAIN}
    torch.testing.assert_close(made.logits(net, same, 0.5), net(MAIN.images).logits, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        loss_of(made, net, same, clock(3)), nn.functional.cross_entropy(net(MAIN.images).logits, MAIN.labels), rtol=1e-12, atol=0
    )


@pytest.mark.limit
def test_tied_branches_under_one_head_predict_as_one_branch_whatever_the_share():
    """With equal halves of the head the logits of one image are those of its one feature, at every share."""
    net, made = small_net(), objective()
    net.branches[1].load_state_dict(net.branches[0].state_dict())
    with torch.no_grad():
        net.head.weight[:, 2:] = net.head.weight[:, :2]
    same = {"main": MAIN, "reversed": MAIN}
    for a in (0.0, 0.3, 0.9, 1.0):
        torch.testing.assert_close(made.logits(net, same, a), net(MAIN.images).logits, rtol=1e-12, atol=1e-14)


def test_mixed_labels_are_of_the_first_stream_and_weights_of_each():
    net, made, now = small_net(), objective(), clock(3)
    plain = made.loss(net, BATCH, now)
    partners = torch.tensor([1, 2, 0, 0, 1])
    extra = {"mixed_targets": partners, "share": torch.full((5,), 0.7, dtype=torch.float64)}
    mixed = made.loss(net, {**BATCH, "main": replace(MAIN, extra=extra)}, now)
    logits = made.logits(net, BATCH, made.share(now))
    other = nn.functional.cross_entropy(logits, partners, reduction="none")
    torch.testing.assert_close(mixed["conventional"].values, 0.7 * plain["conventional"].values + 0.3 * other)
    assert torch.equal(mixed["re-balancing"].values, plain["re-balancing"].values)
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    weighted = made.loss(net, {**BATCH, "reversed": replace(REVERSED, extra={"weight": weights})}, now)["re-balancing"]
    wanted = (weights * plain["re-balancing"].values).sum() / weights.sum()
    torch.testing.assert_close(weighted.numerator() / weighted.denominator(), wanted)


# --- shares -------------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize(
    ("schedule", "first", "quarter", "half", "last"),
    [
        ("parabolic", 1.0, 0.9375, 0.75, 1 - 0.99**2),
        ("linear", 1.0, 0.75, 0.5, 0.01),
        ("cosine", 1.0, math.cos(math.pi / 8), math.sqrt(0.5), math.cos(0.495 * math.pi)),
        ("increment", 0.0, 0.0625, 0.25, 0.9801),
        ("equal", 0.5, 0.5, 0.5, 0.5),
    ],
)
def test_shares_at_the_first_and_last_epoch_and_between(schedule, first, quarter, half, last):
    made = objective(schedule)
    shares = [made.share(clock(epoch, 100)) for epoch in (0, 25, 50, 99)]
    assert shares == pytest.approx([first, quarter, half, last], rel=1e-12)


def test_time_past_the_horizon_is_at_its_end_and_before_the_horizon_nothing_ends():
    assert [objective(horizon=0.5).share(clock(e, 10)) for e in (0, 4, 5, 6, 9)] == pytest.approx([1.0, 0.36, 0, 0, 0])
    assert cumulative_share(3.0, "increment") == 1.0
    theirs = parse_row("bbn(inaturalist)").method
    for epochs, last in ((90, 1 - (89 / 100) ** 2), (180, 1 - (179 / 200) ** 2)):
        assert objective(horizon=theirs.horizon).share(clock(epochs - 1, epochs)) == pytest.approx(last, rel=1e-12)


def test_what_is_no_schedule_is_refused_in_a_line():
    with pytest.raises(BadValue, match=r"time alone decides the schedules parabolic.*'beta'"):
        cumulative_share(0.5, "beta")
    for text in ("bbn(schedule=sudden)", "bbn(horizon=0)"):
        with pytest.raises(BadValue, match="bbn"):
            parse_row(text)


def shares_of(run, monkeypatch, text: str, **fields) -> list[tuple[int, float]]:
    """(epoch, share) of every step that is trained."""
    seen, plain = [], CumulativeLearning.share
    monkeypatch.setattr(CumulativeLearning, "share", lambda self, now: seen.append((now.epoch, plain(self, now))) or seen[-1][1])
    run(text, recipe=toy_recipe(**fields))
    return seen


@pytest.mark.parametrize("text", ["bbn", "bbn+drw(start=0.6)"])
def test_a_training_moves_once_from_the_first_branch_to_the_second(run, monkeypatch, text):
    """Deferred weights continue the clock, so that they do not begin the way again."""
    seen = shares_of(run, monkeypatch, text)
    assert seen == [(epoch, pytest.approx(1 - (epoch / 5) ** 2)) for epoch in range(5) for _ in range(5)]


def test_a_drawn_share_is_one_for_the_whole_batch_and_another_at_every_step():
    made = objective("beta")
    assert made.share(clock(0, part=3, rows=7)) == made.share(clock(0))
    drawn = np.array([made.share(clock(0, total=step)) for step in range(2000)])
    assert len(set(drawn)) > 1990
    assert drawn.mean() == pytest.approx(0.5, abs=0.04)
    assert drawn.var() == pytest.approx(1 / (4 * 1.4), rel=0.05)  # of Beta(0.2, 0.2); of the uniform numbers it is 1/12
    assert made.share(clock(0)) != made.share(replace(clock(0), seed=1))


def test_the_loss_changes_nothing_and_gives_the_same_again():
    net, made = small_net(), objective("beta")
    first, again = (float(loss_of(made, net, BATCH, clock(2, total=9)).detach()) for _ in range(2))
    assert first == again
    assert made.state_dict() == {}


# --- streams ------------------------------------------------------------------------------------------------------------


def test_rows_as_they_come_stand_beside_as_many_reversed_ones():
    root = root_of()
    (leg,) = plan("bbn").legs
    assert (leg.stage.streams["main"].sampler, leg.stage.streams["reversed"].sampler) == (None, ReversedSampler())
    assert leg.shown == COUNTS
    readers = {name: StreamReader(name, stream, root, leg, CPU) for name, stream in leg.stage.streams.items()}
    batches = [read_batch(readers, leg, step, root.seed)[0] for step in range(leg.length)]
    lengths = [(len(batch["main"]), len(batch["reversed"])) for batch in batches]
    assert lengths == 5 * [(5, 5), (5, 5), (5, 5), (5, 5), (3, 3)]  # the last of an epoch is as short in both
    drawn = {name: np.bincount(torch.cat([batch[name].labels for batch in batches]), minlength=4) for name in leg.stage.streams}
    assert drawn["main"].tolist() == [5 * n for n in COUNTS]
    expected = np.array([1 / 13, 1 / 6, 1 / 3, 1])
    expected *= 115 / expected.sum()
    np.testing.assert_allclose(drawn["reversed"], expected, atol=3 * math.sqrt(115 / 4))
    assert drawn["reversed"].argmax() == 3
    part = [{name: len(rows) for name, rows in piece.items()} for piece in cut(batches[4], 2)]
    assert part == [{"main": 1, "reversed": 1}, {"main": 2, "reversed": 2}]  # rows of a pair stay together


@pytest.mark.parametrize("schedule", ["parabolic", "beta"])
def test_a_batch_in_parts_trains_as_a_whole_one(run, monkeypatch, schedule):
    monkeypatch.setattr(nn, "BatchNorm2d", lambda width: nn.GroupNorm(4, width))
    with in_float64():
        whole, parts = (
            run(f"bbn(schedule={schedule})", recipe=toy_recipe(epochs=3, accumulate=n), store=f"{n}")[0].state.tensors for n in (1, 2)
        )
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-9, atol=1e-11)


def test_a_step_costs_the_forwards_that_the_card_says():
    root = root_of()
    (leg,) = plan("bbn").legs
    loop = make_loop(root, leg, None, CPU)
    seen: dict[str, list[tuple[int, bool]]] = {"trunk": [], "0": [], "1": [], "head": []}
    watched = {
        "trunk": loop.net.trunk["stem"],
        "head": loop.net.head,
        **{str(k): b.blocks["stage3_1"] for k, b in enumerate(loop.net.branches)},
    }
    for name, module in watched.items():
        module.register_forward_hook(lambda module, given, out, name=name: seen[name].append((len(given[0]), out.requires_grad)))
    readers = {name: StreamReader(name, stream, root, leg, CPU) for name, stream in leg.stage.streams.items()}
    loop.run_step(*read_batch(readers, leg, 6, root.seed))
    assert seen == {"trunk": [(5, True), (5, True)], "0": [(5, True)], "1": [(5, True)], "head": [(5, True)]}
    assert BBN.card.cost.startswith("2 forwards")
    assert leg.images_seen == 2 * 23 * 5


# --- what it leaves -----------------------------------------------------------------------------------------------------


def test_what_is_left_is_the_network_and_no_state_beside_it(run):
    outcome, logits = run("bbn")
    assert type(outcome.predictor) is Joined
    owners = {name.split(".")[0] for name in outcome.predictor.state_dict()}
    assert owners == {"trunk", "branches", "head"}
    assert not any("head" in name for name in outcome.predictor.branches.state_dict())
    assert not any(name.startswith("objective.") for name in outcome.state.tensors)
    net, test = outcome.predictor.eval(), outcome.predictions().splits["test"]
    assert test.features.shape[1] == net.head.weight.shape[1] == 128
    np.testing.assert_allclose(
        test.features @ net.head.weight.detach().numpy().T + net.head.bias.detach().numpy(), logits, rtol=1e-4, atol=1e-4
    )


def test_twins_begin_unlike_and_both_have_learnt(run):
    start = make_loop(root_of(), plan("bbn").legs[0], None, CPU).net.state_dict()
    end = {n.removeprefix("net."): t for n, t in run("bbn")[0].state.tensors.items() if n.startswith("net.")}
    twins = [n for n in start if n.startswith("branches.0.") and "conv" in n]
    assert twins
    assert not any(torch.equal(start[n], start[n.replace("branches.0", "branches.1")]) for n in twins)
    assert not any(torch.equal(start[n], end[n]) for n in start)


def test_normalisation_of_the_trunk_sees_each_stream_as_a_batch(run):
    outcome, _ = run("bbn")
    moved = {name: int(t) for name, t in outcome.state.tensors.items() if name.endswith("num_batches_tracked")}
    assert {count for name, count in moved.items() if ".trunk." in name} == {2 * outcome.state.step}
    assert {count for name, count in moved.items() if ".branches." in name} == {outcome.state.step}


@pytest.mark.parametrize("text", ["crt(base=bbn)", "lws(base=bbn)", "mislas(base=bbn)"])
def test_a_second_stage_keeps_both_branches_and_moves_the_head_alone(run, text):
    before, _ = run("bbn")
    outcome, _ = run(f"{text[:-1]},shift=no)" if "mislas" in text else text)
    assert outcome.legs[0].line == before.legs[0].line
    assert outcome.trained == outcome.legs[1].length
    moved = {n for n, t in before.state.tensors.items() if n.startswith("net.") and not torch.equal(t, outcome.state.tensors[n])}
    assert moved == (set() if "lws" in text else {"net.head.weight", "net.head.bias"})


@pytest.mark.parametrize("text", ["la(base=bbn)", "tau-norm(base=bbn)", "ncm(base=bbn)", "bbn+sam+ema+best"])
def test_others_stand_on_it(run, text):
    outcome, logits = run(text)
    assert np.isfinite(logits).all()
    assert type(getattr(outcome.predictor, "net", outcome.predictor)) is Joined


def test_deferred_weights_weigh_the_labels_of_both_streams():
    first, second = plan("bbn+drw").legs
    assert first.line == plan("bbn").legs[0].line
    assert isinstance(second.stage.objective.criterion, ClassWeighted)
    net, weighted = small_net(), ClassWeighted(CrossEntropyLoss(), (6, 3, 1), 0.9)
    terms, plain = objective(criterion=weighted).loss(net, BATCH, clock(3)), objective().loss(net, BATCH, clock(3))
    for name, stream in (("conventional", MAIN), ("re-balancing", REVERSED)):
        assert terms[name].factor == plain[name].factor
        torch.testing.assert_close(terms[name].weights, weighted.class_weights[stream.labels])
        torch.testing.assert_close(terms[name].values, plain[name].values)


def test_what_prior_it_leaves_is_not_known_and_adjusting_it_is_remarked_on():
    assert prior_left(COUNTS, plan("bbn").legs[-1], None) is None
    assert plan("bbn").warnings == ()
    assert any("reversed rows favour rare classes already" in note for note in plan("la(base=bbn)").notes)


def test_the_plan_says_streams_and_schedule():
    (said,) = plan("bbn(schedule=linear)").sentences()
    assert "CumulativeLearning(CrossEntropyLoss, horizon=1, schedule=linear)" in said
    assert "beside them reversed rows by ReversedSampler" in said


def test_what_has_no_branches_is_refused_before_anything_trains():
    with pytest.raises(Clash, match="feature vectors pass no blocks") as refused:
        plan_method(seam_runs.make_root(splits=seam_runs.feature_splits()), parse_row("bbn").method)
    assert "\n" not in str(refused.value)
    with pytest.raises(BadData, match="leave no trunk"):
        build(resolve(Net(branches=Branches(2, 4, joined=True)), "resnet8"), (8, 8, 1), 4)


def test_its_knobs_reach_its_objective():
    (stage,) = parse_row("bbn(schedule=cosine,horizon=2)").method.stages(toy_splits().about(5))
    made = fresh(stage.objective)
    assert made.share(clock(4)) == pytest.approx(math.cos(math.pi / 2 * 0.4))
