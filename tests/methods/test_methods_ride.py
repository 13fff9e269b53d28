"""RIDE: what its experts, teacher and router compute, what learns in which stage, what it costs and leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tailwise.errors import BadValue, Clash
from tailwise.losses import ClassWeighted, CrossEntropyLoss, FrequencyWeighted, LDAMLoss, class_temperatures, divergences, diversity
from tailwise.method import Net
from tailwise.methods.ride import DISTILLED, HELPED, Asking, DiverseExperts, Routed, Router, helps, running_means
from tailwise.models import Branched, Branches, build, resolve
from tailwise.objective import Clock, Sample
from tailwise.registry import parse_method, parse_row
from tailwise.training import Outcome, Root, plan_method
from tailwise.training.states import load_state
from toy import COUNTS, toy_recipe, toy_splits

NOW = Clock(0, 1, 0, 1, 0, 0)
ABOUT = toy_splits().about(5)


def experts(count: int = 3, width: float = 0.75) -> Branched:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(resolve(Net(branches=Branches(count, stages=2, width=width)), "resnet8"), (8, 8, 1), 4)
    assert isinstance(net, Branched)
    return net.double().eval()


def sample(rows: int = 5, **extra: Tensor) -> Sample:
    images = torch.randn(rows, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Sample((images,), torch.tensor([0, 1, 2, 3, 0][:rows]), torch.arange(rows), extra)


def built(criterion: object = None, push: float = 0.45, teacher: int = 0, net: Branched | None = None) -> DiverseExperts:
    objective = DiverseExperts(criterion or CrossEntropyLoss(), push, 0.5, teacher)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        objective.build(net or experts(), ABOUT)
    return objective.double()


def legs(text: str):
    return plan_method(Root(toy_splits(), toy_recipe(), "resnet8", 0, {}), parse_method(text)).legs


# --- the experts' loss ----------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("criterion", [CrossEntropyLoss(), LDAMLoss(COUNTS, 0.5, 30.0), ClassWeighted(LDAMLoss(COUNTS, 0.5, 30.0), COUNTS)])
def test_terms_are_those_of_each_expert_summed(criterion):
    net, rows = experts(), sample()
    logits = net(rows.images).logits
    terms = built(criterion).loss(net, {"main": rows}, NOW)
    each = [criterion.term(logits[:, k], rows.labels) for k in range(3)]
    expected = sum(float((t.numerator() / t.denominator()).detach()) for t in each)
    found = terms["class"]
    assert float((found.numerator() / found.denominator()).detach()) == pytest.approx(expected, rel=1e-12)
    temperatures = class_temperatures(COUNTS, 0.5 if isinstance(criterion, ClassWeighted) else 0.0)
    scale = 1.0 if isinstance(criterion, CrossEntropyLoss) else 30.0
    torch.testing.assert_close(terms["diversity"].values, diversity(scale * logits, temperatures))
    assert (terms["class"].factor, terms["diversity"].factor) == (1.0, -0.45)
    assert set(terms) == {"class", "diversity"}


def test_without_a_push_experts_learn_by_the_loss_of_their_mean():
    net, rows = experts(), sample()
    terms = built(push=0.0).loss(net, {"main": rows}, NOW)
    mean = torch.nn.functional.cross_entropy(net(rows.images).logits.mean(1), rows.labels, reduction="none")
    torch.testing.assert_close(terms["class"].values, 3 * mean)
    assert terms["diversity"].values.abs().max() < 1e-12


def test_rows_weigh_in_all_terms():
    net, weight = experts(), torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    heavy = built(teacher=2).loss(net, {"main": sample(weight=weight)}, NOW)
    rows = sample()
    three = Sample((rows.images[1:4],), rows.labels[1:4], rows.index[1:4])
    alone = built(teacher=2).loss(net, {"main": three}, NOW)
    for name in ("class", "diversity", "teacher"):
        one, other = heavy[name], alone[name]
        assert float((one.numerator() / one.denominator()).detach()) == pytest.approx(
            float((other.numerator() / other.denominator()).detach()), rel=1e-12
        )


def test_mixed_labels_are_mixed_for_every_expert():
    net = experts()
    mixed = {"mixed_targets": torch.tensor([1, 2, 3, 0, 2]), "share": torch.full((5,), 0.25, dtype=torch.float64)}
    found = built().loss(net, {"main": sample(**mixed)}, NOW)["class"].values
    rows = sample()
    other = replace(rows, targets=mixed["mixed_targets"])
    first, second = (built().loss(net, {"main": s}, NOW)["class"].values for s in (rows, other))
    torch.testing.assert_close(found, 0.25 * first + 0.75 * second)


def test_the_teacher_rests_and_is_learnt_from_by_each_expert():
    net, rows = experts(), sample()
    objective = built(teacher=2, net=net)
    assert len(objective.teacher_net.branches) == 2
    assert not any(p.requires_grad for p in objective.teacher_net.parameters())
    with torch.no_grad():
        for p in objective.teacher_net.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3), dtype=p.dtype))
    term = objective.loss(net, {"main": rows}, NOW)["teacher"]
    aims = objective.teacher_net(rows.images).logits.mean(1)
    torch.testing.assert_close(term.values, divergences(aims / DISTILLED, net(rows.images).logits / DISTILLED))
    assert term.factor == DISTILLED**2
    term.values.sum().backward()
    assert all(p.grad is None for p in objective.teacher_net.parameters())
    assert net.branches[0].head.weight.grad is not None


# --- the router -----------------------------------------------------------------------------------------------------------


@pytest.mark.reference
def test_help_is_a_truth_table():
    """Right after 1, 2, 3 experts -> whether a further one helps after the first, after the second."""
    table = {
        (0, 0, 0): (0, 0),
        (0, 0, 1): (1, 1),
        (0, 1, 0): (1, 0),
        (0, 1, 1): (1, 0),
        (1, 0, 0): (0, 0),
        (1, 0, 1): (0, 1),
        (1, 1, 0): (0, 0),
        (1, 1, 1): (0, 0),
    }
    means = torch.tensor([[[1.0, 0.0] if right else [0.0, 1.0] for right in case] for case in table])
    assert helps(means, torch.zeros(8, dtype=torch.long)).long().tolist() == [list(helped) for helped in table.values()]


def test_means_run_from_the_first_expert():
    z = torch.tensor([[[2.0, 0.0], [4.0, 2.0], [0.0, 4.0]]])
    assert running_means(z).tolist() == [[[2.0, 0.0], [3.0, 1.0], [2.0, 2.0]]]


class Chance(Asking):
    """Asks where it is told to, expert by expert."""

    def __init__(self, asked: list[list[bool]]) -> None:
        super().__init__(len(asked) + 1, 48, 4)
        self.asked = [list(row) for row in asked]

    def forward(self, k: int, mean: Tensor, features: Tensor) -> Tensor:
        return torch.tensor([1.0 if asked else -1.0 for asked in self.asked[k]][: len(mean)])


def test_a_row_takes_as_many_experts_as_are_asked():
    """All rows are asked of after expert 0; of the two that go on, the second after expert 1."""
    net, rows = experts(), sample(4)
    z = net(rows.images).logits.detach()
    routed = Routed(net, Chance([[True, False, True, False], [False, True]]), 30.0)
    logits, used = routed.route(rows.images)
    assert used.tolist() == [2, 1, 3, 1]
    expected = [z[0, :2].mean(0), z[1, 0], z[2].mean(0), z[3, 0]]
    torch.testing.assert_close(logits, 30.0 * torch.stack(expected))
    torch.testing.assert_close(routed(rows.images), logits)


def test_rows_that_need_no_further_expert_run_the_first_alone():
    net = experts()
    ran: list[int] = []
    for k, branch in enumerate(net.branches):
        branch.register_forward_hook(lambda module, given, made, k=k: ran.append((k, len(given[0]))))
    Routed(net, Chance([[False] * 4, [True] * 4]), 1.0)(sample(4).images)
    assert ran == [(0, 4)]
    ran.clear()
    Routed(net, Chance([[True, False, False, False], [True]]), 1.0)(sample(4).images)
    assert ran == [(0, 4), (1, 1), (2, 1)]


def test_what_asks_looks_at_the_mean_so_far_and_at_the_expert_that_spoke_last():
    """In training and in prediction alike: with all rows asked of, the router's answers on the way are those of its loss."""
    net, rows = experts(), sample()
    objective = Router(30.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective.build(net, ABOUT)
    objective.double()
    objective.asking.last.bias.data.fill_(1e3)
    seen: list[Tensor] = []
    objective.asking.register_forward_hook(lambda module, given, made: seen.append(made.detach()))
    term = objective.loss(net, {"main": rows}, NOW)
    trained, seen[:] = list(seen), []
    _, used = objective.predictor(net).route(rows.images)
    assert used.tolist() == [3] * 5
    for one, other in zip(trained, seen, strict=True):
        torch.testing.assert_close(one, other)
    helped = helps(running_means(net(rows.images).logits), rows.labels)
    by_hand = []
    for row, wanted in zip(torch.stack(trained, 1), helped, strict=True):
        losses = [-HELPED * a.sigmoid().log() if h else torch.nn.functional.softplus(a) for a, h in zip(row, wanted, strict=True)]
        by_hand.append(float(sum(losses)) / 2)
    assert term.values.tolist() == pytest.approx(by_hand, rel=1e-9)


# --- stages ---------------------------------------------------------------------------------------------------------------


def test_what_learns_in_which_stage():
    first, deferred, router = legs("ride(router=yes)")
    assert isinstance(first.stage.objective, DiverseExperts)
    assert isinstance(deferred.stage.objective.criterion, ClassWeighted)
    assert [entry.pattern for entry in router.learn] == ["objective.*"]
    assert (first.net.branches.count, first.net.branches.width) == (3, 0.75)
    assert router.net == first.net
    assert [leg.line for leg in legs("ride")] == [first.line, deferred.line]  # the router begins where they end


def state_at(outcome: Outcome, leg: int):
    found = load_state(outcome.settings.store, outcome.legs[leg].line, outcome.legs[leg].stop)
    assert found is not None
    return found.tensors


def test_the_router_leaves_the_experts_as_they_are(run):
    outcome, _ = run("ride(router=yes)")
    before, after = state_at(outcome, 1), state_at(outcome, 2)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("net."))
    assert any(name.startswith("objective.asking.") for name in after)


def test_the_teacher_is_what_was_trained_before_and_the_students_begin_anew(run):
    outcome, _ = run("ride(experts=2,teacher=3)")
    assert [len(leg.net.branches.heads) for leg in outcome.legs] == [3, 3, 2, 2]
    taught, last = state_at(outcome, 1), state_at(outcome, 3)
    learnt = {name: t for name, t in taught.items() if name.startswith("net.")}
    assert all(torch.equal(t, last[name.replace("net.", "objective.teacher_net.", 1)]) for name, t in learnt.items())
    student = outcome.legs[2]
    assert (student.stage.start.clock, student.epoch) == ("restart", 0)
    weight = "net.branches.0.head.weight"
    assert not torch.equal(last[weight], taught[weight])


def test_alone_it_has_the_tensors_of_its_base(run):
    """K = 1: the mean is the expert, and nobody is asked."""
    one, logits = run("ride(experts=1,width=1,base=ce)", store="one")
    other, plain = run("ce", store="other")
    same = {name.replace("net.branches.0.", "net.").replace("net.trunk.", "net.blocks."): t for name, t in one.state.tensors.items()}
    assert {n for n in same if n.startswith("net.")} == {n for n in other.state.tensors if n.startswith("net.")}
    assert logits.shape == plain.shape


def test_deferred_weights_as_a_modifier_are_its_own(run):
    _, own = run("ride", store="own")
    _, modified = run("ride(base=ldam)+drw", store="modified")
    assert np.array_equal(own, modified)


def test_what_it_cannot_stand_on_is_refused():
    for base, what in (("ride", "DiverseExperts, an objective of its own"), ("bbn", "an objective of its own"), ("paco", "of its own")):
        with pytest.raises(Clash, match=f"ride gives each expert a criterion.*{what}"):
            list(parse_method(f"ride(base={base})").stages(ABOUT))
    for base in ("crt", "mislas", "lws"):
        with pytest.raises(Clash, match=r"experts stay what they are, and stage .* changes or trains a head alone"):
            legs(f"ride(base={base})")
    with pytest.raises(Clash, match="no second expert for its router"):
        legs("ride(experts=1,router=yes)")
    for text in ("ride(router=yes)+mixup", "ride(router=yes,base=ldam)+drw"):  # a router has no criterion that mixes or weights rows
        row = parse_row(text)
        with pytest.raises(Clash, match="Router has none"):
            plan_method(Root(toy_splits(), toy_recipe(), "resnet8", 0, {}), row.method, row.modifiers)


def test_class_temperatures_come_with_any_weights_by_class():
    for criterion, differ in ((FrequencyWeighted(CrossEntropyLoss(), COUNTS), True), (CrossEntropyLoss(), False)):
        assert (len(built(criterion).temperatures.unique()) > 1) is differ
    with pytest.raises(BadValue, match="at a spread of 1"):
        class_temperatures((3, 0), 1.0)


@pytest.mark.parametrize("text", ["crt(base=ride)", "la(base=ride)"])
def test_what_may_stand_on_it_does(run, text):
    _, logits = run(text)
    assert np.isfinite(logits).all()


def test_class_means_are_taken_of_the_experts_features_side_by_side(run):
    outcome, _ = run("ncm(base=ride)")
    features = outcome.predictions().splits["test"].features
    assert features.shape == (len(toy_splits().rows["test"]), 3 * 48)  # three quarters of 64 channels, of each


@pytest.mark.parametrize("text", ["balms(base=ride)", "lws(base=ride)", "mislas(base=ride)"])
def test_what_may_not_is_refused(text):
    with pytest.raises(Clash, match=r"branch|head"):
        legs(text)


# --- cost, what is left -----------------------------------------------------------------------------------------------------


def test_a_step_costs_a_trunk_and_the_experts(run):
    net = experts()
    ran = dict.fromkeys(("trunk", "experts"), 0)

    def count(what: str):
        def hook(module: nn.Module, given: tuple, made: object) -> None:
            ran[what] += 1

        return hook

    net.trunk["stem"].register_forward_hook(count("trunk"))
    for branch in net.branches:
        branch.register_forward_hook(count("experts"))
    built(net=net)  # a teacher's copies would count their own
    built(net=net).loss(net, {"main": sample()}, NOW)
    assert ran == {"trunk": 1, "experts": 3}
    assert parse_row("ride").method.card.cost.startswith("1 forward of the trunk, and one of the last stages for each expert")


@pytest.mark.parametrize(("text", "asks"), [("ride", False), ("ride(experts=2,teacher=3)", False), ("ride(router=yes)", True)])
def test_nothing_but_experts_and_router_is_exported(run, text, asks):
    outcome, _ = run(text)
    names = set(outcome.predictor.state_dict())
    assert not any("teacher" in name or "temperatures" in name for name in names)
    assert any("asking" in name for name in names) is asks
    assert any(".branches.0.head.weight" in name for name in names)
