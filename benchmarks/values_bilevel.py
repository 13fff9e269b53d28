"""The authors' bilevel steps with ours: Meta-Weight-Net and BALMS, run by the loop that trains them, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tailwise.counts import ClassCounts
from tailwise.groups import make_groups
from tailwise.losses import BalancedSoftmaxLoss
from tailwise.method import About, Learn, Method, Net, Stage
from tailwise.methods.balms import BALMS, MetaSampled
from tailwise.methods.meta_weight_net import MetaWeightNet
from tailwise.models.heads import LinearHead
from tailwise.objective import Batch, Clock, Objective, Out, Sample
from tailwise.optim import SGD, Constant
from tailwise.recipe import Recipe
from tailwise.samplers import LearntRateSampler, chance_of_draw, first_rate_logits, straight_through
from tailwise.training.joint import Joint
from tailwise.training.loop import Gradients, Loop
from tailwise.training.plan import Leg

Values = Mapping[str, Any]
Computed = dict[str, Any]
CPU = torch.device("cpu")


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Watched(Loop):
    """The loop, with what it was told on the way: where a step would go, and the gradients of the outer problem."""

    def ahead(self, *words: Any, **named: Any) -> dict[str, Tensor]:
        """Remember where the virtual step goes."""
        self.went = super().ahead(*words, **named)
        return self.went

    def apply(self, gradients: Gradients, only: str | None = None) -> None:
        """Remember what the second optimiser steps along."""
        if only is not None:
            self.outer = gradients
        super().apply(gradients, only)


def _about(counts: tuple[int, ...]) -> About:
    return About(ClassCounts(counts), make_groups(counts), tuple(map(str, counts)), 1, (1,))


def _last_stage(method: Method, about: About) -> Stage:
    return list(method.stages(about))[-1]


def _loop(net: nn.Module, objective: Objective, stage: Stage, params: Values) -> Watched:
    """A loop over one stage, with the record's optimiser at a constant rate."""
    main = SGD(params["lr"], params["momentum"], params["weight_decay"])
    recipe = Recipe("values", "", epochs=1, batch_size=1, optimiser=main, schedule=Constant())
    learn = tuple(entry if isinstance(entry, Learn) else Learn() for entry in stage.learn or ())
    leg = Leg(replace(stage, learn=learn), Net(), recipe, "", None, 0, 9, 1, 9, 0, 0, 0, ())
    return Watched(Joint(net.double(), objective.double()), leg, 0, CPU)


def _step(loop: Watched, batch: Batch, number: int = 0) -> dict[str, Tensor]:
    """Make a step, and give the losses that it logged."""
    loop.meter = {}
    loop.run_step(batch, Clock(0, 1, number, 9, number, 0, rows=1))
    return dict(loop.meter)


def _sample(rows: Any, targets: Any, **extra: Tensor) -> Sample:
    labels = torch.as_tensor(targets)
    return Sample((_tensor(rows),), labels, torch.arange(len(labels)), extra)


# --- Meta-Weight-Net --------------------------------------------------------------------------------------------------


class TwoLayers(nn.Module):
    """The record's network, fc2(tanh(fc1(x)))."""

    def __init__(self, values: Values) -> None:
        super().__init__()
        for name in ("fc1", "fc2"):
            weight = values[f"{name}.weight"]
            setattr(self, name, nn.Linear(len(weight[0]), len(weight)))
        self.double().load_state_dict({name: _tensor(value) for name, value in values.items()})

    def forward(self, rows: Tensor) -> Out:
        """Give logits, and the hidden layer as features."""
        hidden = torch.tanh(self.fc1(rows))
        return Out(self.fc2(hidden), hidden)


LAYERS = {"weigh.0": "fc1", "weigh.2": "fc2"}
"""Our names of the weighting network's layers -> theirs."""


def _theirs(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    short = {name.removeprefix("objective.").removeprefix("net."): tensor.detach().clone() for name, tensor in named.items()}
    return {LAYERS.get(layer, layer) + "." + kind: t for (layer, _, kind), t in ((n.rpartition("."), t) for n, t in short.items())}


def meta_weight_net(params: Values, inputs: Values) -> Computed:
    """Make as many steps as there are batches."""
    hidden = len(inputs["v_net"]["fc1.bias"])
    stage = _last_stage(MetaWeightNet(hidden=hidden, rate=params["v_lr"], decay=params["v_weight_decay"]), _about((2, 2, 2)))
    net, objective = TwoLayers(inputs["net"]), stage.objective
    objective.build(net, _about((2, 2, 2)))
    objective.double().load_state_dict(
        {f"{o}.{k}": _tensor(inputs["v_net"][f"{t}.{k}"]) for o, t in LAYERS.items() for k in ("weight", "bias")}
    )
    loop = _loop(net, objective, stage, params)
    made: Computed = {"steps": []}
    for number in range(1, params["steps"] + 1):
        batch = {k: _sample(inputs[f"{p}x_{number}"], inputs[f"{p}y_{number}"]) for k, p in (("main", ""), ("meta", "meta_"))}
        with torch.no_grad():
            losses = objective.criterion.rows(net(batch["main"].images).logits, batch["main"].labels)[0]
            before = objective.row_weights(losses)
        logged = _step(loop, batch, number)
        made.setdefault("grads", {"v_net": _theirs(loop.outer)})
        made["steps"].append(
            {
                "losses": losses,
                "weights_before": before,
                "L1": (before * losses).mean(),
                "L2": logged["loss.meta"],
                "weights_after": objective.row_weights(losses).detach(),
                "L": logged["loss"],
                "v_net": _theirs(objective.state_dict()),
                "net": _theirs(net.state_dict()),
                "virtual_net": _theirs(loop.went),
            }
        )
    return made


# --- BALMS ------------------------------------------------------------------------------------------------------------


class Head(nn.Module):
    """A linear head on features, as the chain of blocks calls it."""

    def __init__(self, inputs: Values) -> None:
        super().__init__()
        weight = _tensor(inputs["weight"])
        self.head = LinearHead().build(weight.shape[1], weight.shape[0]).double()
        self.head.load_state_dict({"weight": weight, "bias": _tensor(inputs["bias"])})

    def forward(self, features: Tensor) -> Out:
        """Give the logits of features."""
        return Out(self.head(features), features)


@dataclass(eq=False)
class DrawnByImage(MetaSampled):
    """The published sampler: noise over all images, where ours draws the class first; an image's rate is that of its class."""

    def draws(self, sample: Sample) -> Tensor:
        """Give ones with the gradient of the drawn image's chance."""
        chance = chance_of_draw(self.rate_logits[sample.extra["classes"][0]], sample.extra["keys"], sample.index)
        return straight_through(chance)


def _bilevel(objective: Objective, main: Sample, params: Values, inputs: Values) -> tuple[Watched, dict[str, Tensor]]:
    """Make one step from the record's head, momentum and rates."""
    about, net = _about(tuple(inputs["counts"])), Head(inputs)
    stage = replace(_last_stage(BALMS(rate=params["lr_rates"]), about), objective=objective)
    objective.build(net, about)
    objective.double().load_state_dict({"rate_logits": _tensor(inputs["rate_logits"])})
    loop = _loop(net, objective, stage, params)
    for name, parameter in (("weight", net.head.weight), ("bias", net.head.bias)):
        if f"momentum_{name}" in inputs:
            loop.optimisers["main"].state[parameter]["momentum_buffer"] = _tensor(inputs[f"momentum_{name}"])
    return loop, _step(loop, {"main": main, "meta": _sample(inputs["meta_features"], inputs["meta_targets"])})


def _said(loop: Watched, logged: Mapping[str, Tensor]) -> Computed:
    objective: Any = loop.objective
    return {
        "inner_loss": logged["loss"],  # the real loss: the draws are ones
        "outer_loss": logged["loss.rates"],
        "rate_logits_after": objective.rate_logits.detach(),
        "grads": {"rate_logits": loop.outer["objective.rate_logits"]},
    }


def by_image(params: Values, inputs: Values) -> Computed:
    """Draw by the published noise over all images, and make a step."""
    labels, gumbel = torch.tensor(inputs["labels"]), _tensor(inputs["gumbel"])
    images = (torch.nn.functional.logsigmoid(_tensor(inputs["rate_logits"]))[labels] + gumbel).argmax(1)
    features = _tensor(inputs["features"])[images]
    main = Sample((features,), labels[images], images, {"keys": gumbel, "classes": labels.expand(len(images), -1)})
    criterion = BalancedSoftmaxLoss(inputs["counts"])
    losses = criterion.rows(Head(inputs)(features).logits, main.labels)[0].detach()
    loop, logged = _bilevel(DrawnByImage(criterion, LearntRateSampler()), main, params, inputs)
    head: Any = loop.net.head
    return {
        **_said(loop, logged),
        "drawn_images": images,
        "per_sample_loss": losses,
        "virtual_weight": loop.went["net.head.weight"].detach(),
        "virtual_bias": loop.went["net.head.bias"].detach(),
        "real_loss": logged["loss"],
        "weight": head.weight.detach(),
        "bias": head.bias.detach(),
    }


def class_first(params: Values, inputs: Values) -> Computed:
    """Draw as we do, with the record's noise, and make a step."""
    noise: Any = SimpleNamespace(gumbel=lambda size: np.array(inputs["gumbel"]), random=np.zeros)
    sampler, labels = LearntRateSampler(), np.repeat(np.arange(len(inputs["counts"])), inputs["counts"])
    rows, keys = sampler.draw(labels, np.array(inputs["rate_logits"]), len(inputs["gumbel"]), noise)
    main = _sample(inputs["features"], labels[rows], keys=torch.from_numpy(keys))
    loop, logged = _bilevel(MetaSampled(BalancedSoftmaxLoss(inputs["counts"]), sampler), main, params, inputs)
    return {**_said(loop, logged), "drawn_classes": labels[rows]}


def rates(params: Values, inputs: Values) -> Computed:
    """Give the rates that learning begins with."""
    counts = np.array(inputs["counts"], dtype=np.float64)
    logits = first_rate_logits(inputs["counts"], params["init_pow"])
    made = logits.sigmoid().numpy()
    chance = made / (counts * made).sum()
    shares = np.array(LearntRateSampler(params["init_pow"]).shown(inputs["counts"])) / counts.sum()
    return {"logits": logits, "rates": made, "class_shares": shares, "image_probability": chance}


BILEVEL = {
    "meta_weight_net": meta_weight_net,
    "balms_meta_sampler_rates": rates,
    "balms_bilevel": by_image,
    "balms_class_first": class_first,
}
"""Method of a record -> what computes it with our parts."""
