"""What bilevel methods ask of the loop: where a step would go, twice differentiable; rows that are chosen by what is learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

import bilevel
from tailwise.errors import Clash
from tailwise.losses import CrossEntropyLoss
from tailwise.method import Learn, Stage, Stream
from tailwise.methods.balms import BALMS
from tailwise.methods.meta_weight_net import MetaWeightNet
from tailwise.mixing import Mixup
from tailwise.objective import Clock, Out, Supervised
from tailwise.optim import SGD
from tailwise.training.streams import StreamReader, read_batch
from training import seam_objectives as seams
from training import seam_runs

MAIN, META = bilevel.sample(4, [0, 1, 2, 0], seed=1), bilevel.sample(3, [0, 1, 2], seed=2)


@pytest.mark.parametrize("clip", [None, 0.05, 50.0])
def test_ahead_is_where_the_step_goes(clip):
    loop = bilevel.make_loop(MetaWeightNet(), optimiser=SGD(0.5, 0.9, 0.1), clip=clip)
    for step in (1, 2):
        loop.now = bilevel.clock(step)
        slopes = loop.slopes(cross_entropy(loop.net(MAIN.images).logits, MAIN.labels))
        ahead = loop.ahead(slopes)
        plain = loop.ahead(slopes, plain=True)
        before = {name: p.detach().clone() for name, p in loop.parameters().items()}
        loop.apply({name: g.detach().clone() for name, g in slopes.items()}, only="main")  # clipping is in place
        for name, parameter in loop.parameters().items():
            torch.testing.assert_close(ahead[name].detach(), parameter.detach(), rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(plain[name].detach(), before[name] - 0.5 * slopes[name].detach(), rtol=1e-12, atol=1e-14)


def test_every_parameter_goes_by_its_own_rate_and_one_without_a_slope_rests():
    method = MetaWeightNet()
    loop = bilevel.make_loop(method, optimiser=SGD(0.5, 0.0, 0.1))
    entries = (Learn("objective.*", optimiser="meta"), Learn("net.head.bias", rate=0.1), Learn())
    loop = bilevel.Watched(loop.joint, replace(loop.leg, stage=replace(loop.leg.stage, learn=entries)), 0, loop.device)
    ones = {"net.head.bias": torch.ones(3, dtype=torch.float64)}
    ahead = loop.ahead(ones, plain=True)
    torch.testing.assert_close(ahead["net.head.bias"].detach(), loop.net.head.bias.detach() - 0.05)
    assert ahead["net.head.weight"] is loop.net.head.weight


@dataclass(frozen=True)
class NoLook:
    """An optimiser of somebody's own."""

    rate: float = 0.1
    weight_decay: float = 0.0

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(groups, lr=self.rate)


def test_an_optimiser_that_cannot_look_ahead_is_refused_in_a_line_where_its_step_is_needed():
    keys = {"keys": torch.zeros(4, 3, dtype=torch.float64)}
    batch = {"main": bilevel.sample(4, [0, 1, 2, 0], 1, keys), "meta": META}
    bilevel.make_loop(MetaWeightNet(), optimiser=NoLook()).run_step(batch, bilevel.clock())
    with pytest.raises(Clash, match="NoLook has no `ahead`") as refused:
        bilevel.make_loop(BALMS(), optimiser=NoLook()).run_step(batch, bilevel.clock())
    assert "\n" not in str(refused.value)


class Attention(nn.Module):
    """Attention among the three numbers of a row, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.head = nn.Linear(1, 8).double(), nn.Linear(8, 3).double()

    def forward(self, rows: Tensor) -> Out:
        tokens = self.into(rows[..., None])[:, None]
        features = scaled_dot_product_attention(tokens, tokens, tokens).mean((1, 2))
        return Out(self.head(features), features)


def test_a_network_with_attention_has_a_second_derivative():
    loop = bilevel.make_loop(MetaWeightNet(), net=Attention())
    loop.run_step({"main": MAIN, "meta": META}, bilevel.clock())
    assert float(loop.outer["objective.weigh.0.weight"].abs().sum()) > 0


# --- rows that are chosen -------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Choosing(Supervised):
    """Shows the rows that a buffer names, in order, each with its place in the batch."""

    def build(self, net: nn.Module, about: Any) -> None:
        self.register_buffer("first", torch.tensor(3))

    def choose(self, stream: str, rows: np.ndarray, labels: np.ndarray | None, now: Clock) -> Any:
        if stream == "silent":
            assert labels is None
        if stream != "main":
            return rows, {}
        assert len(labels) == 49
        return (int(self.first) + np.arange(len(rows))) % 49, {"place": torch.arange(len(rows))}


def chosen_batches(streams: dict[str, Stream], objective: Any, **fields: Any) -> list[Any]:
    root = seam_runs.make_root()
    stage = Stage(objective=Choosing(CrossEntropyLoss()), streams=streams, **fields)
    leg = seam_runs.plan(seams.Stages(lambda about: [stage]), root=root).legs[0]
    readers = {n: StreamReader(n, s, root, leg, torch.device("cpu")) for n, s in streams.items()}
    return [read_batch(readers, leg, step, root.seed, objective)[0] for step in range(4)]


def test_an_objective_chooses_rows_by_its_state_and_what_it_adds_comes_with_them():
    streams = {"main": Stream(), "silent": Stream(labelled=False)}
    objective = Choosing(CrossEntropyLoss())
    objective.build(nn.Identity(), None)
    plain = chosen_batches(streams, None)
    chosen = chosen_batches(streams, objective)
    labels = torch.from_numpy(seam_runs.image_splits().rows["train"].labels)
    for ours, theirs in zip(chosen, plain, strict=True):
        assert ours["main"].index.tolist() == [(3 + k) % 49 for k in range(len(theirs["main"]))]
        assert torch.equal(ours["main"].labels, labels[ours["main"].index])
        assert ours["main"].extra["place"].tolist() == list(range(len(theirs["main"])))
        assert torch.equal(ours["silent"].index, theirs["silent"].index)
    objective.first += 1
    assert chosen_batches(streams, objective)[0]["main"].index[0] == 4


def test_what_belongs_to_a_row_stays_with_it_where_rows_are_mixed():
    objective = Choosing(CrossEntropyLoss())
    objective.build(nn.Identity(), None)
    batch = chosen_batches({"main": Stream()}, objective, mixing=Mixup(1.0))[0]["main"]
    assert batch.extra["place"].tolist() == list(range(16))
    assert "mixed_targets" in batch.extra


def test_a_run_with_chosen_rows_resumes_to_the_same_bits():
    whole = seam_runs.train("balms")
    store, calls = seam_runs.new_store(), 0

    def ask() -> bool:
        nonlocal calls
        calls += 1
        return calls in (22, 25)

    for _ in range(3):
        try:
            again = seam_runs.train("balms", store=store, interrupted=ask)
            break
        except KeyboardInterrupt:
            continue
    assert calls > 25
    assert seam_runs.differing(whole, again) == []
