"""RIDE's records: the experts' loss, alone and with a teacher, the router's targets and loss, and the way of a row through it."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tailwise.losses import ClassWeighted, CrossEntropyLoss, LDAMLoss
from tailwise.methods.ride import Asking, DiverseExperts, Routed, Router, helps, running_means
from tailwise.objective import Batch, Clock, Criterion, Out, Sample

Values = Mapping[str, Any]
Computed = dict[str, Any]
NOW = Clock(0, 1, 0, 1, 0, 0)


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class GivenExperts(nn.Module):
    """A network of experts that answers what it was given: (rows, experts, ...) logits and features; its images are numbers of rows."""

    def __init__(self, logits: Tensor, features: Tensor) -> None:
        super().__init__()
        self.logits, self.features = logits, features

    def body(self, rows: Tensor) -> Tensor:
        """Hand the numbers of rows on."""
        return rows

    def branch(self, which: int, rows: Tensor) -> Out:
        """Answer for one expert."""
        return Out(self.logits[rows, which], self.features[rows, which])

    def forward(self, rows: Tensor) -> Out:
        """Answer for all experts, whatever is asked."""
        return Out(self.logits, self.features)


def loss(params: Values, inputs: Values) -> Computed:
    """Take the loss of experts on given logits (experts, batch, classes); the records' logits are scaled already."""
    margins = "counts" in inputs  # without counts theirs is cross-entropy, never weighted
    counts, scale = inputs.get("counts", [1]), float(params["s"]) if margins else 1.0
    criterion: Criterion = LDAMLoss(counts, params["max_m"], scale) if margins else CrossEntropyLoss()
    if margins and params["epoch_one_based"] > params["reweight_epoch"]:
        criterion = ClassWeighted(criterion, counts, params["beta"])
    teacher = _tensor(inputs["teacher_logits"]) if "teacher_logits" in inputs else None
    objective = DiverseExperts(criterion, -params["diversity_factor"], params["reweight_factor"], 0)
    raw = _tensor(inputs["expert_logits"]).requires_grad_()
    about = SimpleNamespace(counts=SimpleNamespace(real=counts))
    objective.build(None, about)  # type: ignore[arg-type]
    objective.double()
    objective.temperatures = objective.temperatures * params["base_temperature"]
    if teacher is not None:
        objective.teacher, objective.teacher_net = 1, GivenExperts(teacher[:, None] / scale, teacher)
    labels = torch.tensor(inputs["targets"])
    batch: Batch = {"main": Sample((raw,), labels, torch.arange(len(labels)))}
    terms = objective.loss(GivenExperts(raw.transpose(0, 1) / scale, raw), batch, NOW).values()
    total = torch.stack([term.factor * term.numerator() / term.denominator() for term in terms]).sum()
    (gradient,) = torch.autograd.grad(total, [raw])
    return {"loss": total.detach(), "grads": {"expert_logits": gradient}}


def router(params: Values, inputs: Values) -> Computed:
    """Take the router's loss on given logits and maps of the experts, and send the rows their way."""
    logits, maps = _tensor(inputs["expert_logits"]).transpose(0, 1), _tensor(inputs["expert_maps"]).transpose(0, 1)
    features, labels = maps.mean((3, 4)), torch.tensor(inputs["targets"])
    asking = Asking(logits.shape[1], features.shape[2], logits.shape[2]).double()
    for k, layer in enumerate(asking.hidden):
        layer.weight.data.copy_(_tensor(inputs["hidden_weight"][k]))
        layer.bias.data.copy_(_tensor(inputs["hidden_bias"][k]))
    asking.last.weight.data.copy_(_tensor(inputs["out_weight"]))
    asking.last.bias.data.copy_(_tensor(inputs["out_bias"]))
    objective = Router(1.0)
    objective.asking = asking
    net = GivenExperts(logits, features)
    term = objective.loss(net, {"main": Sample((torch.arange(len(labels)),), labels, torch.arange(len(labels)))}, NOW)
    total = term.numerator() / term.denominator()
    total.backward()
    exits, used = Routed(net, asking, 1.0).route(torch.arange(len(labels)))
    means = running_means(logits)
    return {
        "loss": total.detach(),
        "router_targets": helps(means, labels).T.long(),
        "train_logits": means[:, -1],
        "exit_logits": exits.detach(),
        "experts_used": used,
        "grads": {
            "hidden_weight": torch.stack([layer.weight.grad for layer in asking.hidden]),
            "hidden_bias": torch.stack([layer.bias.grad for layer in asking.hidden]),
            "out_weight": asking.last.weight.grad,
            "out_bias": asking.last.bias.grad,
        },
    }


ENTRIES = {"ride_loss": loss, "ride_distill": loss, "ride_router": router}
