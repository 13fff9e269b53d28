"""SADE: three skills, weights that unlabelled test images teach only where they may, what is said of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import tailwise as tw
from tailwise.cli import run as command
from tailwise.cli.train import print_run
from tailwise.errors import Clash
from tailwise.losses import CrossEntropyLoss, inverse_prior, skill_shifts
from tailwise.method import Net, Stage, Stream
from tailwise.methods.sade import LEAST, Aggregation, SkilledExperts, Weighed, weighed
from tailwise.models import Branched, Branches, CosineHead, build, resolve
from tailwise.objective import Clock, Sample
from tailwise.registry import parse_method
from tailwise.samplers import ClassBalancedSampler
from tailwise.store import Store
from tailwise.training import Root, RunSettings, plan_method, run_method
from tailwise.training.states import load_state
from toy import COUNTS, toy_recipe, toy_splits

NOW = Clock(0, 1, 0, 1, 0, 0)
ABOUT = toy_splits().about(5)
WHOLE = ["digits", "--split", "50/10/40", "--tail", "exponential:50", "--recipe", "demo"]
WHOLE += ["--set", "recipe.epochs=2", "--set", "recipe.second.epochs=2"]


def experts() -> Branched:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(resolve(Net(head=CosineHead(30.0), branches=Branches(3, stages=2, width=0.75)), "resnet8"), (8, 8, 1), 4)
    assert isinstance(net, Branched)
    return net.double().eval()


def sample(rows: int = 5, **extra: Tensor) -> Sample:
    images = torch.randn(rows, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Sample((images,), torch.tensor([0, 1, 2, 3, 0][:rows]), torch.arange(rows), extra)


def skilled(counts=COUNTS, tau: float = 2.0) -> SkilledExperts:
    objective = SkilledExperts(CrossEntropyLoss(), counts, tau)
    objective.build(experts(), ABOUT)
    return objective


def aggregation(weights: list[float] | None = None) -> Aggregation:
    objective = Aggregation()
    objective.build(experts(), ABOUT)
    if weights is not None:
        objective.weights.data.copy_(torch.tensor(weights))
    return objective.double()


def two_views(seed: int = 1) -> Sample:
    first = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Sample((first, first + 0.3 * first.flip(0)), None, torch.arange(5))


# --- the experts' loss ----------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("tau", [0.0, 1.0, 2.0])
def test_the_loss_is_the_formula_row_by_row(tau):
    net, rows = experts(), sample()
    found = skilled(tau=tau).loss(net, {"main": rows}, NOW).values.tolist()
    prior = [n / sum(COUNTS) for n in COUNTS]
    inverse = sorted(prior)  # the counts fall, so the most frequent class gets the least share
    for i, z in enumerate(net(rows.images).logits.tolist()):
        expected = 0.0
        for k in range(3):
            shifted = [
                z[k][c] + (math.log(prior[c] + 1e-9) if k else 0.0) - (tau * math.log(inverse[c] + 1e-9) if k == 2 else 0.0)
                for c in range(4)
            ]
            expected -= shifted[int(rows.labels[i])] - math.log(sum(map(math.exp, shifted)))
        assert found[i] == pytest.approx(expected, rel=1e-11)


@pytest.mark.reference
@pytest.mark.parametrize("counts", [(13, 6, 3, 1), (1, 6, 3, 13), (5, 5, 5, 5), (9, 8, 2, 4)])
def test_the_inverse_prior_is_the_prior_in_another_order(counts):
    found, prior = inverse_prior(counts).tolist(), [n / sum(counts) for n in counts]
    assert sorted(found) == sorted(prior)
    assert found[int(np.argmax(counts))] == min(prior)
    assert found[int(np.argmin(counts))] == max(prior)


def test_a_class_without_rows_has_no_rank_and_is_pushed_by_no_expert():
    counts = (9, 0, 8, 2)
    assert inverse_prior(counts).tolist() == pytest.approx([2 / 19, 0.0, 8 / 19, 9 / 19])
    shifts, without = skill_shifts(counts), skill_shifts((9, 8, 2))
    torch.testing.assert_close(shifts[:, [0, 2, 3]], without)
    assert shifts[:, 1].tolist() == pytest.approx([0.0, math.log(1e-9), math.log(1e-9)])


@pytest.mark.limit
def test_of_even_counts_all_experts_have_cross_entropys_loss():
    net, rows = experts(), sample()
    logits = net(rows.images).logits
    for tau in (0.0, 2.0):
        each = sum(cross_entropy(logits[:, k], rows.labels, reduction="none") for k in range(3))
        torch.testing.assert_close(skilled((7, 7, 7, 7), tau).loss(net, {"main": rows}, NOW).values, each)


@pytest.mark.limit
def test_without_tau_the_third_expert_is_like_the_second():
    shifts = skill_shifts(COUNTS, 0.0)
    assert torch.equal(shifts[2], shifts[1])
    assert shifts[0].tolist() == [0.0] * 4


def test_rows_weigh_and_labels_mix():
    net, weight = experts(), torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    heavy = skilled().loss(net, {"main": sample(weight=weight)}, NOW)
    values = skilled().loss(net, {"main": sample()}, NOW).values
    assert float((heavy.numerator() / heavy.denominator()).detach()) == pytest.approx(float(values[1:4].mean().detach()), rel=1e-12)
    other = torch.tensor([1, 2, 3, 0, 2])
    mixed = sample(mixed_targets=other, share=torch.full((5,), 0.25, dtype=torch.float64))
    second = skilled().loss(net, {"main": replace(sample(), targets=other)}, NOW).values
    torch.testing.assert_close(skilled().loss(net, {"main": mixed}, NOW).values, 0.25 * values + 0.75 * second)


# --- aggregation ----------------------------------------------------------------------------------------------------------


@pytest.mark.reference
def test_two_views_are_compared_by_their_weighed_answers():
    net, rows, a = experts(), two_views(), [0.5, -0.2, 0.1]
    found = aggregation(a).loss(net, {"main": rows}, NOW).values.tolist()
    shares = [math.exp(x) / sum(map(math.exp, map(float, torch.tensor(a)))) for x in torch.tensor(a).tolist()]
    for i in range(5):
        answers = []
        for view in rows.views:
            z = net(view).logits[i].tolist()
            summed = [sum(shares[k] * z[k][c] for k in range(3)) for c in range(4)]
            answers.append([math.exp(s) / sum(map(math.exp, summed)) for s in summed])
        one, other = answers
        cosine = sum(p * q for p, q in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)
        assert found[i] == pytest.approx(-cosine, rel=1e-6)


def test_only_the_weights_learn():
    net, objective = experts(), aggregation()
    objective.loss(net, {"main": two_views()}, NOW).values.sum().backward()
    assert objective.weights.grad is not None
    assert objective.weights.grad.abs().max() > 0
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.limit
def test_experts_that_agree_leave_the_weights_as_they_are():
    net, objective = experts(), aggregation()
    for branch in net.branches[1:]:
        branch.load_state_dict(net.branches[0].state_dict())
    objective.loss(net, {"main": two_views()}, NOW).values.sum().backward()
    assert objective.weights.grad.abs().max() < 1e-12
    torch.testing.assert_close(
        weighed(net(two_views().views[0]).logits, objective.weights), net.branches[0](net.body(two_views().views[0])).logits
    )


def test_nothing_moves_once_an_expert_has_next_to_no_weight():
    objective, net = aggregation([0.0, 0.0, math.log(LEAST)]), experts()
    objective.event("epoch_start", None)
    assert not objective.resting
    objective.event("epoch_end", None)
    assert objective.resting  # its share is less, since the others have theirs
    assert objective.loss(net, {"main": two_views()}, NOW).values.shape == (0,)
    enough = aggregation([0.0, 0.0, math.log(0.2)])
    enough.event("epoch_end", None)
    assert not enough.resting


# --- what may be used, and what is said ------------------------------------------------------------------------------------


def allowed(splits=None):
    return replace(splits or toy_splits(), allowed=frozenset({"test"}))


def trained(tmp_path, splits, store: str):
    root = Root(splits, toy_recipe(), "resnet8", 0, {})
    return run_method(root, parse_method("sade(aggregate=yes)"), (), RunSettings(Store(tmp_path / store)))[0]


def test_the_test_images_are_refused_unless_they_are_allowed(capsys):
    with pytest.raises(Clash, match=r"without their labels.*--allow test"):
        plan_method(Root(toy_splits(), toy_recipe(), "resnet8", 0, {}), parse_method("sade(aggregate=yes)"))
    first, second = plan_method(Root(allowed(), toy_recipe(), "resnet8", 0, {}), parse_method("sade(aggregate=yes)")).legs
    assert second.stage.streams["main"].split == "test"
    assert [entry.pattern for entry in second.learn] == ["objective.weights"]
    plain = plan_method(Root(toy_splits(), toy_recipe(), "resnet8", 0, {}), parse_method("sade")).legs
    assert [leg.line for leg in plain] == [first.line]  # without aggregation there is one stage, and it is shared
    assert command(["train", *WHOLE, "--method", "sade(aggregate=yes)"]) == 2
    assert capsys.readouterr().err.count("--allow test") == 1


def test_labels_of_the_test_images_reach_nothing_that_is_learnt(tmp_path):
    """Other labels, the same images: the same weights, to the bit."""
    splits = allowed()
    rows = splits.rows["test"]
    others = replace(splits, rows={**splits.rows, "test": replace(rows, targets=rows.targets[::-1].copy())})
    one, other = (trained(tmp_path, found, name).state.tensors for name, found in (("one", splits), ("other", others)))
    assert all(torch.equal(t, other[name]) for name, t in one.items())


def test_labels_of_the_test_images_draw_nothing_either():
    stage = Stage(criterion=CrossEntropyLoss(), streams={"main": Stream(split="test", labelled=False, sampler=ClassBalancedSampler())})
    with pytest.raises(Clash, match="would train on split 'test', which is measured on"):
        allowed().check_streams(stage)


def test_aggregation_leaves_the_experts_and_moves_their_weights(tmp_path):
    outcome = trained(tmp_path, allowed(), "one")
    first, last = outcome.legs
    found = load_state(outcome.settings.store, first.line, first.stop)
    assert found is not None
    after = outcome.state.tensors
    assert all(torch.equal(t, after[name]) for name, t in found.tensors.items() if name.startswith("net."))
    assert not torch.allclose(after["objective.weights"], torch.full((3,), 1 / 3))
    names = set(outcome.predictor.state_dict())
    assert {"weights"} == {name for name in names if not name.startswith("net.")}
    assert isinstance(outcome.predictor, Weighed)
    test = outcome.predictions().split("test")
    shares = torch.softmax(after["objective.weights"], 0).numpy()
    np.testing.assert_allclose(np.einsum("k,nkc->nc", shares, test.experts), test.logits, atol=1e-5 * np.abs(test.logits).max())
    assert last.stage.start.clock == "restart"


def test_everything_that_is_measured_on_them_says_so(tmp_path, capsys):
    out = str(tmp_path / "s")
    words = ["compare", *WHOLE, "--seeds", "1", "--methods", "ce,sade,sade(aggregate=yes)", "--allow", "test"]
    assert command([*words, "--dry-run"]) == 0
    assert "every row of test once an epoch, without its label" in " ".join(capsys.readouterr().out.split())
    assert command([*words, "--out", out]) == 0
    note = "learnt on the images of test too, without their labels"
    printed = capsys.readouterr().out
    assert printed.count(f"sade(aggregate=True): {note}") == 1
    for name in ("report.md", "report.json", "report.csv"):
        assert note in (tmp_path / "s" / name).read_text()
    records = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "s/runs").glob("*/run.json")}
    assert {name: record["learnt_on"] for name, record in records.items()} == {
        "ce-seed0": "",
        "sade-seed0": "",
        "sade-aggregate-True-seed0": note,
    }
    assert command(["report", str(tmp_path / "s/runs/sade-aggregate-True-seed0")]) == 0
    assert note in capsys.readouterr().out
    alone = [*WHOLE, "--seeds", "1", "--methods", "sade(aggregate=yes)", "--allow", "test", "--out", str(tmp_path / "alone")]
    assert command(["compare", *alone]) == 0
    assert "On test, which chose nothing, though the method learnt on the images of test too, without their labels" in " ".join(
        capsys.readouterr().out.split()
    )
    run = tw.train(
        tw.read("digits"),
        "sade(aggregate=yes)",
        recipe="demo",
        settings=["recipe.epochs=1", "recipe.second.epochs=1"],
        allow=["test"],
        out=tmp_path / "r",
    )
    assert run.record["learnt_on"] == note
    print_run(run, done=True)
    assert note in capsys.readouterr().out


def test_a_run_that_learnt_on_them_predicts_from_its_folder(tmp_path):
    from PIL import Image

    run = tw.train(
        tw.read("digits"),
        "sade(aggregate=yes)",
        recipe="demo",
        settings=["recipe.epochs=1", "recipe.second.epochs=1"],
        allow=["test"],
        out=tmp_path / "r",
    )
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / "x.png")
    (answer,) = tw.predict(run, [tmp_path / "x.png"])
    assert len(answer.classes) == 5
    assert 0.5 <= sum(answer.scores) <= 1 + 1e-6  # the five largest of ten
