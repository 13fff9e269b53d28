"""MiSLAS's records: smoothed labels, two steps of the second stage, and the learning rates of its two groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tailwise.counts import ClassCounts
from tailwise.groups import make_groups
from tailwise.losses import LabelAwareSmoothingLoss
from tailwise.method import About, Learn, Stage
from tailwise.methods.mislas import MiSLAS
from tailwise.models.heads import ScaledLinearHead, linear_weights
from tailwise.optim import SGD, Cosine

Values = Mapping[str, Any]
Computed = dict[str, Any]


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def over_others(params: Values, counts: Sequence[int]) -> LabelAwareSmoothingLoss:
    """Give the paper's loss at a record's settings; its linear shape is the first power."""
    shape, power = params.get("shape", "concave"), params.get("power")
    return LabelAwareSmoothingLoss(counts, params["head"], params["tail"], {"linear": 1.0, "exp": power, "power": power}.get(shape, shape))


def over_all(params: Values, counts: Sequence[int]) -> LabelAwareSmoothingLoss:
    """Give the authors' loss, which spreads over all classes: the paper's with a share less, since the label gets 1/C back."""
    less = (len(counts) - 1) / len(counts)
    return over_others({**params, "head": less * params["head"], "tail": less * params["tail"]}, counts)


def uniform(params: Values, inputs: Values) -> LabelAwareSmoothingLoss:
    """Give plain label smoothing: head and tail are one."""
    return over_all({"head": params["epsilon"], "tail": params["epsilon"]}, [1] * len(inputs["logits"][0]))


def intended(params: Values, inputs: Values) -> Computed:
    """Give the paper's loss, its gradient, and the shares."""
    loss, logits = over_others(params, inputs["counts"]), _tensor(inputs["logits"]).requires_grad_()
    value = loss(logits, torch.tensor(inputs["targets"]))
    value.backward()
    return {"eps": loss.smoothing, "loss": value.detach(), "grads": {"logits": logits.grad}}


def _second_stage(params: Values, counts: Sequence[int]) -> tuple[Stage, float, float]:
    """Give the stage, with the shares of a loss over all classes, and the factors on the rates of scales and classifier."""
    about = About(ClassCounts(tuple(counts)), make_groups(tuple(counts)), tuple(map(str, counts)), params["epochs"], (1,))
    less = (len(counts) - 1) / len(counts)
    made = MiSLAS(smooth_head=less * params.get("head", 0.4), smooth_tail=less * params.get("tail", 0.1), rate=params["lr_factor"])
    *_, stage = made.stages(about)
    scale, classifier = (learn.rate for learn in stage.learn or () if isinstance(learn, Learn))
    return stage, scale, classifier


def steps(params: Values, inputs: Values) -> Computed:
    """Take two steps of classifier and scales, each at the rates of its epoch."""
    stage, scale, classifier = _second_stage(params, inputs["counts"])
    weight, bias = _tensor(inputs["weight"]), _tensor(inputs["bias"])
    head: Any = ScaledLinearHead().build(weight.shape[1], weight.shape[0]).double()
    head.load_state_dict({"weight": weight, "bias": bias, "scale": torch.ones_like(bias)})
    groups = [{"params": held, "weight_decay": params["weight_decay"]} for held in ([head.weight, head.bias], [head.scale])]
    optimiser = SGD(params["lr"], params["momentum"]).make(groups)
    made = []
    for step, epoch in enumerate((params["epoch"], params["epoch"] + 1), start=1):
        rates = [params["lr"] * factor * Cosine().factor(epoch, params["epochs"]) for factor in (classifier, scale)]
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        logits = head(_tensor(inputs[f"features_{step}"]))
        loss = stage.criterion(logits, torch.tensor(inputs[f"targets_{step}"]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        made.append({"lr_classifier": rates[0], "lr_scale": rates[1], "logits": logits.detach(), "loss": loss.detach()})
    folded = linear_weights(head)
    assert folded is not None
    tensors = {**dict(head.named_parameters()), "folded_weight": folded[0], "folded_bias": folded[1]}
    return {"steps": made, **{name: tensor.detach() for name, tensor in tensors.items()}}


def rates(params: Values, inputs: Values) -> Computed:
    """Give the rates of all epochs: classifier, scales."""
    _, scale, classifier = _second_stage(params, [9, 1])
    factors = [Cosine().factor(epoch, params["epochs"]) for epoch in range(params["epochs"])]
    return {"lr": [[params["lr"] * classifier * factor, params["lr"] * scale * factor] for factor in factors]}


ENTRIES = {"mislas_label_aware_smoothing": intended, "mislas_stage2": steps, "mislas_lr": rates}
"""Method of a record -> what computes it; plain criteria are among `CRITERIA` of the adapters."""
