"""Terms are reduced once: over the whole batch, whatever it was cut into."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from tailwise.errors import BadValue
from tailwise.losses import ClassWeighted, CrossEntropyLoss, effective_number_weights
from tailwise.method import Stage
from tailwise.objective import Batch, Clock, Objective, Sample, Term
from tailwise.training import Splits
from tailwise.training.line import make_loop
from tailwise.training.loop import Loop
from tailwise.training.plan import plan_method
from tailwise.training.streams import StreamReader, cut, read_batch
from training import seam_objectives as seams
from training import seam_runs
from training.seam_runs import RECIPE, differing, make_root, train


def first_step(objective: Objective | Any, splits: Splits, step: int = 0, accumulate: int = 1) -> tuple[Loop, Batch, Clock]:
    recipe = replace(RECIPE, accumulate=accumulate)
    root = make_root(recipe, splits)
    stage = Stage(objective=objective) if isinstance(objective, Objective) else Stage(criterion=objective)
    leg = plan_method(root, seams.Stages(lambda about: [stage])).legs[0]
    loop = make_loop(root, leg, None, torch.device("cpu"))
    readers = {n: StreamReader(n, s, root, leg, torch.device("cpu")) for n, s in leg.stage.streams.items()}
    return loop, *read_batch(readers, leg, step, root.seed)


def largest_difference(one: Any, other: Any) -> float:
    a, b = one.state.tensors, other.state.tensors
    return max(float((a[n].double() - b[n].double()).abs().max()) for n in a if n.startswith("net."))


@pytest.mark.parametrize("parts", [2, 3, 5, 16])
@pytest.mark.parametrize("divisor", ["rows", "weights"])
def test_accumulated_equals_whole(features: Splits, parts: int, divisor: str) -> None:
    objective = seams.Termwise((0.1, 1.0, 3.0, 0.0), divisor, factor=0.7)
    method = seams.Stages(lambda about: [Stage(objective=objective)])
    whole = train(method, root=make_root(splits=features))
    accumulated = train(method, root=make_root(replace(RECIPE, accumulate=parts), features))
    assert largest_difference(whole, accumulated) < 1e-5
    for one, other in zip(whole.state.log, accumulated.state.log, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)


def test_accumulated_equals_whole_under_sam_and_class_weights(features: Splits) -> None:
    whole = train("ldam-drw+sam", root=make_root(splits=features))
    accumulated = train("ldam-drw+sam", root=make_root(replace(RECIPE, accumulate=3), features))
    assert largest_difference(whole, accumulated) < 1e-5


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("step", [0, 3])
def test_weighted_rows_are_divided_by_the_weights_of_the_whole_batch(features: Splits, accumulate: int, step: int) -> None:
    loop, batch, now = first_step(ClassWeighted(CrossEntropyLoss(), seam_runs.COUNTS, 0.99), features, step, accumulate)
    gradients = loop.gradients(batch, now)
    weights = effective_number_weights(seam_runs.COUNTS, 0.99).float()
    expected = cross_entropy(loop.net(batch["main"].images).logits, batch["main"].labels, weight=weights)
    by_torch = torch.autograd.grad(expected, list(loop.learning.values()))
    assert len(batch["main"]) == (1 if step == 3 else 16)
    for ours, theirs in zip(gradients.values(), by_torch, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_that_are_all_zero_give_a_loss_of_zero(features: Splits, accumulate: int) -> None:
    loop, batch, now = first_step(seams.Termwise((0.0,) * 4, main_factor=0.0), features, accumulate=accumulate)
    gradients = loop.gradients(batch, now)
    assert all(float(g.abs().max()) == 0 for g in gradients.values())
    assert float(loop.counted["loss"]) == 0


def test_a_term_for_a_whole_batch_cannot_be_accumulated(features: Splits) -> None:
    objective = seams.Termwise((1.0,) * 4, divisor="batch")
    loop, batch, now = first_step(objective, features)
    assert loop.gradients(batch, now)
    loop, batch, now = first_step(objective, features, accumulate=2)
    with pytest.raises(BadValue, match=r"recipe\.accumulate=1"):
        loop.gradients(batch, now)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_term_whose_factor_is_zero_is_as_if_it_were_not_there(accumulate: int) -> None:
    root = make_root(replace(RECIPE, accumulate=accumulate))
    with_term = train(seams.Stages(lambda about: [Stage(objective=seams.Termwise((9.0, 1.0, 2.0, 3.0), factor=0.0))]), root=root)
    assert differing(with_term, train("ce", root=root)) == []


@pytest.mark.limit
def test_growing_no_rows_and_no_extra_terms_is_its_criterion() -> None:
    plain = train("ldam").state.tensors
    grown = train(seams.growing(1.0, factor=0.0)).state.tensors
    assert [n for n in plain if not n.startswith("meter") and not torch.equal(plain[n], grown[n])] == []


@pytest.mark.limit
def test_a_queue_that_pulls_nothing_is_cross_entropy() -> None:
    plain = train("ce").state.tensors
    pulled = train(seams.remembering(factor=0.0)).state.tensors
    assert [n for n in plain if not n.startswith("meter") and not torch.equal(plain[n], pulled[n])] == []


@pytest.mark.limit
def test_sam_of_radius_zero_is_the_plain_gradient() -> None:
    assert differing(train("ce+sam(rho=0)"), train("ce")) == []
    plain = train(seams.remembering())
    assert differing(train(seams.remembering(), seam_runs.parse_row("ce+sam(rho=0)").modifiers), plain) == []


@pytest.mark.limit
def test_an_average_of_decay_zero_is_the_live_network() -> None:
    averaged = train("ce+ema(decay=0)").state.tensors
    for name, tensor in train("ce").state.tensors.items():
        assert torch.equal(averaged[name], tensor)
        if "/" not in name:
            assert torch.equal(averaged[f"average/{name}"], tensor)


@given(rows=st.integers(1, 40), other=st.integers(1, 40), parts=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
@pytest.mark.fuzz
def test_cutting_keeps_every_row_of_main_once_and_in_order(rows: int, other: int, parts: int) -> None:
    pieces = cut({"main": _sample(rows), "other": _sample(other)}, parts)
    assert torch.cat([piece["main"].index for piece in pieces]).tolist() == list(range(rows))
    assert max(len(p["main"]) for p in pieces) <= -(-rows // min(parts, rows, other))


def test_cutting_a_short_batch_keeps_every_row_of_a_second_stream() -> None:
    pieces = cut({"main": _sample(1), "other": _sample(16)}, 4)
    assert sum(len(piece["other"]) for piece in pieces) == 16


def test_no_part_of_a_batch_is_empty_of_a_stream() -> None:
    pieces = cut({"main": _sample(16), "other": _sample(2)}, 4)
    assert all(len(piece["other"]) for piece in pieces)


def _sample(rows: int) -> Sample:
    return Sample((torch.arange(rows).float()[:, None],), torch.zeros(rows, dtype=torch.long), torch.arange(rows))


def test_a_loss_all_of_whose_factors_are_zero_rests(features: Splits) -> None:
    loop, batch, now = first_step(seams.Termwise((1.0,) * 4, factor=0.0, main_factor=0.0), features)
    assert loop.gradients(batch, now) == {}


def test_settled_rows_are_those_of_the_whole_batch_in_order(images: Splits) -> None:
    for accumulate in (1, 5):
        loop, batch, now = first_step(seams.Events(), images, accumulate=accumulate)
        loop.gradients(batch, now)
        assert torch.equal(loop._kept["labels"], batch["main"].labels)


def test_a_second_pass_moves_no_statistics_and_keeps_no_rows(images: Splits) -> None:
    loop, batch, now = first_step(seams.Events(), images)
    before = {name: b.clone() for name, b in loop.joint.named_buffers()}
    loop.gradients(batch, now, statistics=False)
    assert loop._kept == {}
    assert all(torch.equal(before[name], b) for name, b in loop.joint.named_buffers())


def test_a_term_counts_its_rows() -> None:
    values, weights = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 3.0])
    assert Term(values).denominator() == 3
    assert Term(values, weights).denominator() == 3
    assert Term(values, weights, "weights").denominator() == 4
    assert Term(values, weights).numerator() == 11
    assert Term(values.sum(), divisor="batch").denominator() == 1


def test_a_step_that_never_descends_can_be_trained() -> None:
    @seams.dataclass(eq=False)
    class OwnStep(seams.Queued):
        def step(self, loop: Any, batch: Batch, now: Clock) -> None:
            loop.update(loop.reduce(loop.terms(batch, now)), "main")

    log = train(seams.Stages(lambda about: [Stage(objective=OwnStep())])).log()
    assert log[-1]["loss.main"] < log[0]["loss.main"]


def test_rows_kept_by_a_step_of_its_own_are_settled(images: Splits) -> None:
    @seams.dataclass(eq=False)
    class OwnStep(seams.Events):
        def step(self, loop: Any, batch: Batch, now: Clock) -> None:
            held = loop.parameters()
            slopes = torch.autograd.grad(loop.reduce(loop.terms(batch, now)), list(held.values()))
            loop.apply(dict(zip(held, slopes, strict=True)))

        def settle(self, net: Any, kept: Any, now: Clock) -> None:
            self.settled += 1
            self.rows += len(kept.get("labels", ()))

    loop, batch, now = first_step(OwnStep(), images)
    loop.run_step(batch, now)
    assert int(loop.objective.rows) == 16
