"""What a later stage keeps, begins anew, or refuses to lose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from tailwise.errors import Clash
from tailwise.losses import ClassWeighted, CrossEntropyLoss
from tailwise.method import About, Net, Stage, Start
from tailwise.models import Branches
from tailwise.training.line import make_loop
from tailwise.training.plan import Leg, plan_method
from tailwise.training.states import State
from training import seam_objectives as seams
from training.seam_runs import make_root, train

CPU = torch.device("cpu")


def two(second: Stage, first: Stage | None = None) -> seams.Stages:
    return seams.Stages(lambda about: [first or Stage(criterion=CrossEntropyLoss(), until=0.4), second])


def weighted(**fields: Any) -> Stage:
    return Stage(criterion=ClassWeighted(CrossEntropyLoss(), (9.0, 4.0, 2.0, 1.0)), **fields)


def begun(method: seams.Stages, seed: int = 0) -> tuple[Any, State, tuple[Leg, ...]]:
    """The loop of the second stage as it begins, and the state that the first left."""
    root = make_root(seed=seed)
    legs = plan_method(root, method).legs
    first = train(seams.Stages(lambda about: list(method.stages(about))[:1]), root=root).state
    return make_loop(root, legs[1], first, CPU), first, legs


def test_a_continuing_stage_takes_up_network_momentum_and_clock() -> None:
    loop, first, legs = begun(two(weighted()))
    state = dict(loop.tensors())
    assert state.keys() == first.tensors.keys()
    assert all(torch.equal(state[n], t) for n, t in first.tensors.items())
    assert (legs[1].epoch, legs[1].origin, legs[1].base) == (2, 8, 0)


def test_an_average_goes_on_beside_the_live_weights() -> None:
    from tailwise.optim import EMA

    first = Stage(criterion=CrossEntropyLoss(), until=0.4, average=EMA(0.5))
    loop, before, _ = begun(two(weighted(average=EMA(0.5)), first))
    state = dict(loop.tensors())
    assert all(torch.equal(state[n], t) for n, t in before.tensors.items())


def test_a_stage_that_restarts_begins_from_the_average() -> None:
    from tailwise.optim import EMA

    first = Stage(criterion=CrossEntropyLoss(), until=0.4, average=EMA(0.5))
    loop, before, _ = begun(two(weighted(recipe="second", start=Start(clock="restart")), first))
    assert torch.equal(loop.net.head.weight, before.tensors["average/net.head.weight"])
    assert not torch.equal(loop.net.head.weight, before.tensors["net.head.weight"])


def test_what_is_reset_is_new_and_the_rest_is_kept() -> None:
    loop, first, _ = begun(two(weighted(start=Start(reset=("net.head.*",)))))
    kept = {n for n, t in dict(loop.joint.state_dict()).items() if torch.equal(t, first.tensors[n])}
    assert kept == {n for n in loop.joint.state_dict() if not n.startswith("net.head.")}


def test_reset_values_are_a_function_of_seed_name_and_step() -> None:
    method = two(weighted(start=Start(reset=("net.head.*",))))
    loop, _, legs = begun(method)
    again, _, _ = begun(method)
    other_seed, _, _ = begun(method, seed=1)
    at_start = make_loop(make_root(), legs[0], None, CPU)
    assert torch.equal(loop.net.head.weight, again.net.head.weight)
    assert not torch.equal(loop.net.head.weight, other_seed.net.head.weight)
    assert not torch.equal(loop.net.head.weight, at_start.net.head.weight)


def test_initial_values_do_not_depend_on_the_method() -> None:
    root = make_root()
    loops = [make_loop(root, plan_method(root, method).legs[0], None, CPU) for method in (seams.remembering(), seams.bilevel())]
    one, other = (loop.net.state_dict() for loop in loops)
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_branches_begin_differently() -> None:
    root = make_root()
    net = make_loop(root, plan_method(root, seams.two_streams()).legs[0], None, CPU).net
    one, other = (branch.state_dict() for branch in net.branches)
    assert not torch.equal(one["head.weight"], other["head.weight"])
    assert not torch.equal(one["blocks.stage3_1.conv1.weight"], other["blocks.stage3_1.conv1.weight"])


def test_a_reset_that_names_nothing_is_refused() -> None:
    with pytest.raises(Clash, match=r"'net\.haed\.\*'"):
        train(two(weighted(start=Start(reset=("net.haed.*",)))))


def test_a_lost_tensor_is_refused_unless_dropped() -> None:
    normalised = Net(head="normalised")
    with pytest.raises(Clash, match=r"net\.head\.bias.*drop"):
        train(two(weighted(net=normalised, start=Start(reset=("net.head.weight",)))))
    kept = train(two(weighted(net=normalised, start=Start(clock="restart", reset=("net.head.weight",), drop=("net.head.bias",)))))
    assert "net.head.bias" not in kept.state.tensors


def test_a_new_tensor_is_refused_unless_reset() -> None:
    first = Stage(criterion=CrossEntropyLoss(), net=Net(head="normalised"), until=0.4)
    with pytest.raises(Clash, match=r"net\.head\.bias is new"):
        train(two(weighted(net=Net(head="linear"), start=Start(clock="restart")), first))
    made = train(two(weighted(net=Net(head="linear"), start=Start(clock="restart", reset=("net.head.bias",))), first))
    assert "net.head.bias" in made.state.tensors


def test_a_network_of_another_form_is_refused() -> None:
    branched = Net(branches=Branches(2, 1))
    with pytest.raises(Clash, match="is new in this stage"):
        train(two(Stage(objective=seams.Queued(), net=branched)))


def test_a_later_stage_keeps_the_network_that_it_finds() -> None:
    first = Stage(criterion=CrossEntropyLoss(), net=Net(head="normalised"), until=0.4)
    assert "net.head.bias" not in train(two(weighted(), first)).state.tensors


def test_an_objectives_state_is_carried_by_name() -> None:
    first = Stage(objective=seams.Queued(), until=0.4)
    done = train(two(Stage(objective=seams.Queued(), frozen_norm="train"), first))
    assert done.state.tensors["objective.queue"].tolist() == [20.0, 20.0, 20.0]
    anew = train(two(Stage(objective=seams.Queued(), start=Start(reset=("objective.queue",))), first))
    assert anew.state.tensors["objective.queue"].tolist() == [12.0, 12.0, 12.0]


def test_an_objectives_state_of_another_shape_is_refused() -> None:
    first = Stage(objective=seams.Queued(3), until=0.4)
    with pytest.raises(Clash, match=r"objective\.queue was \(3,\).*\(4,\).*reset"):
        train(two(Stage(objective=seams.Queued(4)), first))
    assert (
        len(train(two(Stage(objective=seams.Queued(4), start=Start(reset=("objective.queue",))), first)).state.tensors["objective.queue"])
        == 4
    )


def test_constants_of_a_stage_are_its_own() -> None:
    def make(about: About) -> Iterable[Stage]:
        yield Stage(criterion=ClassWeighted(CrossEntropyLoss(), about.counts.real, 0.0), until=0.4)
        yield Stage(criterion=ClassWeighted(CrossEntropyLoss(), about.counts.real, 0.999))

    loop, _, _ = begun(seams.Stages(make))
    weights = loop.objective.criterion.class_weights
    assert float(weights.max() / weights.min()) > 2


def test_what_is_reset_has_no_momentum_of_its_past() -> None:
    loop, _, _ = begun(two(weighted(start=Start(reset=("net.head.*",)))))
    assert loop.net.head.weight not in loop.optimisers["main"].state


def test_what_is_reset_has_no_average_of_its_past() -> None:
    from tailwise.optim import EMA

    first = Stage(criterion=CrossEntropyLoss(), until=0.4, average=EMA(0.5))
    loop, _, _ = begun(two(weighted(average=EMA(0.5), start=Start(reset=("net.head.*",))), first))
    assert torch.equal(loop.averaged["net.head.weight"], loop.net.head.weight)
