"""What learns, what rests, and what is never woken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tailwise.errors import BadValue
from tailwise.losses import CrossEntropyLoss
from tailwise.method import Learn, Stage, Start
from tailwise.training.joint import Joint, choose_learning, set_modes
from tailwise.training.line import make_loop
from tailwise.training.plan import plan_method
from training import seam_objectives as seams
from training.seam_runs import make_root, train

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def two_stages(frozen_norm: str, learn: tuple[Learn, ...] = (Learn("net.head.*"),)) -> seams.Stages:
    return seams.Stages(
        lambda about: [
            Stage(criterion=CrossEntropyLoss(), until=0.4),
            Stage(criterion=CrossEntropyLoss(), learn=learn, frozen_norm=frozen_norm),  # type: ignore[arg-type]
        ]
    )


@pytest.mark.parametrize("frozen_norm", ["eval", "train"])
def test_frozen_parameters_stay_and_statistics_move_only_when_asked(frozen_norm: str) -> None:
    first = train(seams.Stages(lambda about: [Stage(criterion=CrossEntropyLoss(), until=0.4)])).state.tensors
    after = train(two_stages(frozen_norm)).state.tensors
    body = [n for n in after if n.startswith("net.blocks.")]
    moved = {n for n in body if not torch.equal(after[n], first[n])}
    assert moved == ({n for n in body if n.endswith(STATISTICS)} if frozen_norm == "train" else set())
    assert not torch.equal(after["net.head.weight"], first["net.head.weight"])


def test_the_optimiser_holds_exactly_what_learns() -> None:
    state = train(two_stages("eval")).state.tensors
    assert sorted(n for n in state if n.startswith("opt/")) == [
        "opt/main/net.head.bias/momentum_buffer",
        "opt/main/net.head.weight/momentum_buffer",
    ]


def test_a_part_that_rests_is_in_eval_mode_and_its_dropout_too() -> None:
    frozen = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)).requires_grad_(False)
    module = nn.Sequential(frozen, nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    set_modes(module, "eval")
    assert [m.training for m in module.modules()] == [True, False, False, False, False, True, True, True]
    set_modes(module, "train")
    assert [m.training for m in module.modules()] == [True, False, False, True, False, True, True, True]


def test_norms_between_learning_layers_may_rest_by_themselves() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module[1].requires_grad_(False)
    set_modes(module, "eval")
    assert (module.training, module[0].training, module[1].training) == (True, True, False)


def test_what_an_objective_froze_is_never_woken() -> None:
    root = make_root()
    leg = plan_method(root, seams.remembering()).legs[0]
    loop = make_loop(root, leg, None, torch.device("cpu"))
    slow = loop.objective.slow
    assert not any(p.requires_grad for p in slow.parameters())
    assert not any(m.training for m in slow.modules())
    assert not any("slow" in name for name in loop.learning)
    state = train(seams.remembering()).state.tensors
    assert not any("slow" in n for n in state if n.startswith("opt/"))


def test_a_momentum_copy_moves_by_settle_alone() -> None:
    still = seams.Stages(lambda about: [Stage(objective=seams.Remembering(momentum=1.0), streams=_two_views())])
    root = make_root()
    leg = plan_method(root, still).legs[0]
    start = {n: t.clone() for n, t in make_loop(root, leg, None, torch.device("cpu")).objective.slow.state_dict().items()}
    after = train(still).state.tensors
    assert all(torch.equal(after[f"objective.slow.{n}"], t) for n, t in start.items())


def _two_views() -> dict[str, Any]:
    from tailwise.method import Stream

    return {"main": Stream(views=("recipe", "recipe"))}


def test_the_first_pattern_that_matches_decides() -> None:
    joint = Joint(nn.ModuleDict({"head": nn.Linear(2, 2), "body": nn.Linear(2, 2)}), seams.Queued())
    head, rest = Learn("net.head.*", rate=10.0), Learn("net.*")
    chosen = choose_learning(joint, (head, rest))
    assert sorted(chosen[head]) == ["net.head.bias", "net.head.weight"]
    assert sorted(chosen[rest]) == ["net.body.bias", "net.body.weight"]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(BadValue, match=r"'net\.haed\.\*'"):
        train(two_stages("eval", (Learn("net.haed.*"),)))


def test_an_optimiser_that_is_not_described_is_refused() -> None:
    with pytest.raises(BadValue, match="'other'"):
        train(two_stages("eval", (Learn(optimiser="other"),)))


def test_rates_are_factors_on_the_schedule() -> None:
    root = make_root()
    leg = plan_method(root, two_stages("eval", (Learn("net.head.*", rate=10.0), Learn()))).legs[1]
    loop = make_loop(root, leg, train(two_stages("eval")).state, torch.device("cpu"))
    from tailwise.objective import Clock

    loop._set_rate(Clock(4, 5, 0, 4, 16, 0))
    assert [g["lr"] for g in loop.optimisers["main"].param_groups] == pytest.approx([0.05, 0.005])


def test_an_optimiser_of_its_own_keeps_its_rate() -> None:
    state = train(seams.bilevel()).state.tensors
    own = {n.split("/")[1] for n in state if n.startswith("opt/") and "objective.weigh" in n}
    main = {n.split("/")[1] for n in state if n.startswith("opt/") and "/net." in n}
    assert (own, main) == ({"weigh"}, {"main"})


def test_a_bilevel_step_teaches_its_weights() -> None:
    root = make_root()
    leg = plan_method(root, seams.bilevel()).legs[0]
    start = {f"objective.{n}": t.clone() for n, t in make_loop(root, leg, None, torch.device("cpu")).objective.state_dict().items()}
    after = train(seams.bilevel()).state.tensors
    assert all(not torch.equal(after[n], t) for n, t in start.items())


@pytest.mark.parametrize("method", [seams.growing, seams.two_streams, seams.remembering, seams.bilevel])
def test_the_predictor_holds_nothing_of_the_objective(method: Any) -> None:
    outcome = train(method())
    net = {n.removeprefix("net."): t for n, t in outcome.state.tensors.items() if n.startswith("net.")}
    held = {n.removeprefix("net."): t for n, t in outcome.predictor.state_dict().items()}
    assert held.keys() == net.keys()
    assert all(torch.equal(held[n], net[n]) for n in held)
    assert not any(isinstance(m, type(outcome.leg.stage.objective)) for m in outcome.predictor.modules())
    assert not outcome.predictor.training
    assert outcome.logits("val").shape == (24, 4)


def test_a_restarted_stage_begins_its_optimiser_anew() -> None:
    root = make_root()
    legs = plan_method(root, seams.head_again()).legs
    before = train(seams.remembering()).state
    loop = make_loop(root, legs[1], before, torch.device("cpu"))
    assert loop.optimisers["main"].state == {}
    assert Start().clock == "continue"


def test_layers_made_from_an_objectives_fields_are_seeded() -> None:
    @seams.dataclass(eq=False)
    class Early(seams.Queued):
        def __post_init__(self) -> None:
            self.layer = nn.Linear(2, 2)

    method = seams.Stages(lambda about: [Stage(objective=Early())])
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(train(method).state.tensors["objective.layer.weight"])
    assert torch.equal(made[0], made[1])


def test_dropout_in_a_virtual_step_is_seeded() -> None:
    method = seams.Stages(lambda about: [_with_dropout(stage) for stage in seams.bilevel().stages(about)])
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(train(method).state.tensors["objective.weigh.0.weight"])
    assert torch.equal(made[0], made[1])


class _Dropping(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.dropout(features, 0.5, self.training))


@seams.dataclass(frozen=True)
class DroppingHead:
    """A head with dropout."""

    def build(self, width: int, classes: int) -> nn.Module:
        return _Dropping(width, classes)


def _with_dropout(stage: Stage) -> Stage:
    from dataclasses import replace

    from tailwise.method import Net

    return replace(stage, net=Net(head=DroppingHead()))


def test_dropout_in_the_loss_is_seeded_by_the_step() -> None:
    from tailwise.method import Net

    method = seams.Stages(lambda about: [Stage(criterion=CrossEntropyLoss(), net=Net(head=DroppingHead()))])
    torch.manual_seed(1)
    first = train(method)
    torch.manual_seed(2)
    from training.seam_runs import differing

    assert differing(first, train(method)) == []
