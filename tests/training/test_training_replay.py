"""Replayed steps: a recording gives the bits of plain steps, at every rate and for every shape; what cannot be recorded stays plain.

No CUDA device is needed: the recorder of these tests notes every operation of a step, and repeats them on the same memory without the
Python in between, as a CUDA graph does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tailwise.losses import CrossEntropyLoss
from tailwise.objective import Criterion, Supervised
from tailwise.optim import SGD, Steps
from tailwise.pixels.augment import Flip, PadCrop
from tailwise.registry import parse_row
from tailwise.training import Root, Splits, plan_method
from tailwise.training import replay as replaying
from tailwise.training.line import make_loop
from tailwise.training.loop import Loop
from tailwise.training.replay import WARM_UP, Replayed, replay_steps, unfit
from tailwise.training.streams import StreamReader, read_batch
from training.seam_runs import RECIPE

CPU = torch.device("cpu")
EPOCHS = 8
RATES = replace(RECIPE, epochs=EPOCHS, schedule=Steps(2, (0.5,), (0.1,)), augment=(PadCrop(1), Flip()))
"""Four steps an epoch, the last one of a single row; the rate changes after each of two epochs, and in the middle."""


class Noted(TorchDispatchMode):
    """Notes operations; the host may not ask for a value."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the host asks for a value\nand more lines")
        made = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, made))
        return made


class HostRecorder:
    """Records operations, their memory included, and repeats them."""

    def __init__(self) -> None:
        self.warmed = self.recorded = self.repeated = 0

    def warm(self, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        self.warmed += 1
        return compute()

    def record(self, compute: Callable[[], dict[str, Tensor]]) -> Callable[[], dict[str, Tensor]]:
        state = [tensor for owner in self.loop_tensors() for tensor in owner]
        before = [tensor.clone() for tensor in state]
        try:
            with Noted() as noted:
                counted = compute()
        finally:
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)  # a capture computes nothing, also where it breaks off
        self.recorded += 1

        def repeat() -> dict[str, Tensor]:
            self.repeated += 1
            with torch._C._AutoDispatchBelowAutograd():  # what was noted lies below it
                for func, args, kwargs, made in noted.calls:
                    self._again(func, args, kwargs, made)
            return counted

        return repeat

    @staticmethod
    def _again(func, args, kwargs, made) -> None:
        olds = [t for t in (made if isinstance(made, tuple | list) else (made,)) if isinstance(t, Tensor)]
        given = {t.untyped_storage().data_ptr() for t in _flat((*args, *kwargs.values()))}
        if not func._schema.is_mutable and all(t.untyped_storage().data_ptr() in given for t in olds):
            return  # a view of what is there
        found = func(*args, **kwargs)
        if not func._schema.is_mutable:
            news = [t for t in (found if isinstance(found, tuple | list) else (found,)) if isinstance(t, Tensor)]
            for old, new in zip(olds, news, strict=True):
                old.copy_(new)

    loop: Loop

    def loop_tensors(self):
        with torch.no_grad():
            yield [tensor for _, tensor in self.loop.tensors()]


def _flat(things) -> list[Tensor]:
    return [t for thing in things for t in (_flat(thing) if isinstance(thing, list | tuple) else [thing]) if isinstance(t, Tensor)]


@pytest.fixture(autouse=True)
def fused_on_the_host(monkeypatch):
    """Update in one operation, by a rate in memory, as on a CUDA device."""

    def make(self: SGD, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=self.rate, momentum=self.momentum, nesterov=self.nesterov, foreach=False, fused=True)

    monkeypatch.setattr(SGD, "make", make)


def loop_of(images: Splits, row: str = "ce", leg: int = 0, recipe=RATES) -> tuple[Loop, Callable[[int], None]]:
    root = Root(images, recipe, "resnet8", 3, {})
    chosen = parse_row(row)
    made = plan_method(root, chosen.method, chosen.modifiers).legs[leg]
    loop = make_loop(root, replace(made, parent=None), None, CPU)
    readers = {name: StreamReader(name, stream, root, made, CPU) for name, stream in made.stage.streams.items()}

    def step(number: int) -> None:
        batch, now = read_batch(readers, made, number, root.seed, loop.objective)
        loop.run_step(batch, now)

    return loop, step


def trained(images: Splits, steps: int, recorder: HostRecorder | None = None, **of: Any) -> tuple[Loop, list[dict[str, float]]]:
    loop, step = loop_of(images, **of)
    if recorder is not None:
        recorder.loop = loop
        loop.compute = Replayed(loop, recorder)
    log = []
    for number in range(steps):
        step(number)
        if number % 4 == 3:
            log.append(loop.read_meter())
    return loop, log


@pytest.mark.parametrize("of", [{}, {"row": "ldam-drw", "leg": 1}, {"row": "ce+mixup"}, {"recipe": replace(RATES, clip=0.5)}], ids=str)
def test_replayed_steps_are_plain_ones_to_the_bit(images, of):
    recorder = HostRecorder()
    steps = 4 * (WARM_UP + 3)
    plain, log = trained(images, steps, **of)
    replayed, other = trained(images, steps, recorder, **of)
    assert recorder.warmed == 2 * WARM_UP
    assert recorder.recorded == 2  # full batches, and the one of a single row
    assert recorder.repeated == steps - 2 * WARM_UP
    assert other == log
    for (name, one), (_, two) in zip(plain.tensors(), replayed.tensors(), strict=True):
        assert torch.equal(one, two), name


def test_dropout_draws_what_it_draws_in_plain_steps(images):
    def with_dropout(recorder):
        loop, step = loop_of(images)
        loop.net.head = nn.Sequential(nn.Dropout(0.5), loop.net.head)
        if recorder:
            recorder.loop = loop
            loop.compute = Replayed(loop, recorder)
        for number in range(4 * (WARM_UP + 2)):
            step(number)
        return loop

    plain, replayed = with_dropout(None), with_dropout(HostRecorder())
    assert torch.equal(plain.net.state_dict()["head.1.weight"], replayed.net.state_dict()["head.1.weight"])


@dataclass(eq=False)
class Asks(Criterion):
    """Looks at a value, and does one thing or the other."""

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        values, _ = CrossEntropyLoss().rows(logits, targets)
        return (values if bool(values.max() > 0) else 2 * values), None


def test_a_loss_that_asks_the_host_falls_back_and_is_told_once(images, caplog, monkeypatch):
    monkeypatch.setattr(replaying, "_SAID", set())
    recorder = HostRecorder()
    loop, step = loop_of(images)
    plain, plain_step = loop_of(images)
    for one in (loop, plain):
        one.joint.objective = Supervised(Asks())
    recorder.loop = loop
    loop.compute = Replayed(loop, recorder)
    with caplog.at_level(logging.WARNING, "tailwise"):
        for number in range(4 * (WARM_UP + 2)):
            step(number)
            plain_step(number)
    assert [record.getMessage() for record in caplog.records] == [
        "steps are computed call by call: one cannot be recorded (the host asks for a value)"
    ]
    assert recorder.recorded == 0
    for (name, one), (_, two) in zip(plain.tensors(), loop.tensors(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize(
    ("of", "why"),
    [
        ({}, None),
        ({"row": "ldam-drw", "leg": 1}, None),
        ({"row": "ce+sam"}, "gradient rule"),
        ({"row": "ce+ema"}, "average"),
        ({"row": "rsg"}, "may compute another thing"),
        ({"recipe": replace(RATES, accumulate=2)}, "accumulated"),
    ],
    ids=str,
)
def test_what_changes_with_the_steps_is_not_recorded(images, of, why):
    loop, _ = loop_of(images, **of)
    assert "CUDA device" in unfit(loop)
    loop.device = torch.device("cuda")  # none is touched
    found = unfit(loop)
    assert found is None if why is None else why in found


def test_an_optimiser_that_counts_on_the_host_is_not_recorded(images, monkeypatch):
    monkeypatch.undo()
    loop, _ = loop_of(images)
    loop.device = torch.device("cuda")
    assert "optimiser counts" in unfit(loop)


def test_on_a_cpu_nothing_changes_and_it_is_said(images, caplog, monkeypatch):
    monkeypatch.setattr(replaying, "_SAID", set())
    loop, _ = loop_of(images)
    with caplog.at_level(logging.WARNING, "tailwise"):
        replay_steps(loop)
        replay_steps(loop)
    assert loop.compute == loop.compute_step
    assert [record.getMessage() for record in caplog.records] == ["steps are computed call by call: recordings are made on a CUDA device"]
