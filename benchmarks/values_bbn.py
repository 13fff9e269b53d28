"""BBN's records: a step of the two streams, the shares of the first branch, reversed draws, and the learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tailwise.losses import CrossEntropyLoss
from tailwise.methods.bbn import CumulativeLearning, cumulative_share
from tailwise.models import Blocks, Joined, LinearHead
from tailwise.objective import Batch, Clock, Sample
from tailwise.optim import Steps
from tailwise.samplers import ReversedSampler

Values = Mapping[str, Any]
Computed = dict[str, Any]


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def horizon(epochs: int) -> float:
    """Give their T_max as a share of the training: 10/9 at 90 and 180 epochs, for which their code has an exception."""
    return 10 / 9 if epochs in (90, 180) else 1.0


def step(params: Values, inputs: Values) -> Computed:
    """Take one step of the two streams on a network of linear blocks with rectifiers, at the share of its epoch."""
    blocks = {name: nn.Sequential(nn.Linear(*reversed(np.shape(inputs[name])), bias=False), nn.ReLU()) for name in ("trunk", "cb", "rb")}
    twins = [Blocks({"last": blocks[name]}, nn.Identity(), len(inputs[name])) for name in ("cb", "rb")]
    net = Joined({"first": blocks["trunk"]}, twins, LinearHead().build(2 * twins[0].width, len(inputs["bias"]))).double()
    held: dict[str, Any] = {**{name: block[0].weight for name, block in blocks.items()}, **dict(net.head.named_parameters())}
    for name, parameter in held.items():
        parameter.data.copy_(_tensor(inputs[name]))
    batch: Batch = {
        name: Sample((_tensor(inputs[f"x_{k}"]),), torch.tensor(inputs[f"y_{k}"]), torch.arange(len(inputs[f"y_{k}"])))
        for name, k in (("main", "a"), ("reversed", "b"))
    }
    objective = CumulativeLearning(CrossEntropyLoss(), horizon=horizon(params["epochs"]))
    now = Clock(params["epoch_from_1"] - 1, params["epochs"], 0, 1, 0, 0)
    terms = objective.loss(net, batch, now).values()
    loss = torch.stack([term.factor * term.numerator() / term.denominator() for term in terms]).sum()
    return {
        "alpha": objective.share(now),
        "logits": objective.logits(net, batch, objective.share(now)).detach(),
        "loss": loss.detach(),
        "test_logits_of_x_a": objective.predictor(net)(batch["main"].images).logits.detach(),
        "grads": dict(zip(held, torch.autograd.grad(loss, list(held.values())), strict=True)),
    }


LOOKED_AT = {200: [1, 2, 50, 100, 150, 200], 90: [1, 45, 90], 180: [1, 90, 180]}
"""Length of a training -> the epochs from 1 whose shares are recorded; they are not among the record's inputs."""


def shares(params: Values, inputs: Values) -> Computed:
    """Give the shares of the first branch, by all schedules."""
    words = {"cosine": "cosine", "linear": "linear", "parabolic_increment": "increment"}

    def by(schedule: Any, epochs: int) -> list[float]:
        return [cumulative_share((e - 1) / (epochs * horizon(epochs)), schedule) for e in LOOKED_AT[epochs]]

    return {
        str(epochs): {
            "epochs_from_1": LOOKED_AT[epochs],
            "alpha": by("parabolic", epochs),
            "div": round(epochs * horizon(epochs)),
            "options": {word: by(ours, epochs) for word, ours in words.items()},
        }
        for epochs in inputs["epochs"]
    }


def draws(params: Values, inputs: Values) -> Computed:
    """Draw rows by their numbers, which choose classes, and by zeros, which choose the first image of each."""
    labels = np.repeat(np.arange(len(inputs["counts"])), inputs["counts"])
    numbers = [np.resize(inputs["uniforms"], len(labels)), np.zeros(len(labels))]
    given: Any = SimpleNamespace(random=lambda rows: numbers.pop(0))
    chances = np.array(ReversedSampler().shown(inputs["counts"])) / len(labels)
    return {
        "class_probabilities": chances,
        "weights": chances / chances.min(),
        "sum": 1 / chances.min(),
        "classes": labels[ReversedSampler().rows(labels, given, epoch=0, epochs=1)][: len(inputs["uniforms"])],
    }


def rates(params: Values, inputs: Values) -> Computed:
    """Give the learning rates of 200 epochs: a warm-up from a third, and drops that multiply up."""
    milestones, epochs = params["milestones"], 200
    factors = tuple(params["factor"] ** k for k in range(1, len(milestones) + 1))
    schedule = Steps(params["warmup_epochs"], tuple(m / epochs for m in milestones), factors, first=1 / 3)
    return {"lr": [params["lr"] * schedule.factor(epoch, epochs) for epoch in inputs["epochs_from_0"]]}


ENTRIES = {"bbn": step, "bbn_alpha": shares, "bbn_reversed_sampler": draws, "bbn_lr": rates}
"""Method of a record -> what computes it."""
