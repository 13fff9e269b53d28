"""SADE's records: the loss of three experts, the inverse prior, and the weights that two views of unlabelled rows teach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softmax

from tailwise.losses import CrossEntropyLoss, inverse_prior
from tailwise.methods.sade import Aggregation, SkilledExperts
from tailwise.objective import Clock, Sample
from tailwise.optim import SGD
from values_ride import GivenExperts

Values = Mapping[str, Any]
Computed = dict[str, Any]
NOW = Clock(0, 1, 0, 1, 0, 0)


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def loss(params: Values, inputs: Values) -> Computed:
    """Take the loss on given logits (experts, batch, classes)."""
    raw = _tensor(inputs["expert_logits"]).requires_grad_()
    objective = SkilledExperts(CrossEntropyLoss(), inputs["counts"], params["tau"])
    objective.build(None, None)  # type: ignore[arg-type]
    labels = torch.tensor(inputs["targets"])
    term = objective.loss(GivenExperts(raw.transpose(0, 1), raw), {"main": Sample((raw,), labels, torch.arange(len(labels)))}, NOW)
    total = term.numerator() / term.denominator()
    (gradient,) = torch.autograd.grad(total, [raw])
    return {"loss": total.detach(), "grads": {"expert_logits": gradient}, "inverse_prior": inverse_prior(inputs["counts"])}


def aggregation(params: Values, inputs: Values) -> Computed:
    """Teach the weights batch by batch, epoch by epoch, on given logits (batches, rows, experts, classes) of two views."""
    first, second = (_tensor(inputs[f"logits_view{k}"]) for k in (1, 2))
    objective = Aggregation()
    objective.build(_Three(), None)  # type: ignore[arg-type]
    objective.double()
    objective.weights.data.copy_(_tensor(inputs["start"]))
    optimiser = SGD(params["lr"], params["momentum"], params["weight_decay"], params["nesterov"]).make(
        [{"params": [objective.weights], "lr": params["lr"], "weight_decay": params["weight_decay"]}]
    )
    made: dict[str, Any] = {"parameter_after_step": [], "weights_after_epoch_rounded": []}
    for _ in range(params["epochs"]):
        for one, other in zip(first, second, strict=True):
            both = torch.cat([one, other])
            views = (torch.arange(len(one)), torch.arange(len(one), 2 * len(one)))
            net = _Rows(both)
            term = objective.loss(net, {"main": Sample(views, None, views[0])}, NOW)
            total = term.numerator() / term.denominator()
            (objective.weights.grad,) = torch.autograd.grad(total, [objective.weights])
            made.setdefault("first_loss", total.detach())
            made.setdefault("first_grad", objective.weights.grad.clone())
            optimiser.step()
            made["parameter_after_step"].append(objective.weights.detach().clone().tolist())
        made["weights_after_epoch_rounded"].append([round(w, 2) for w in softmax(objective.weights.detach(), 0).tolist()])
    return made | {"weights_final": softmax(objective.weights.detach(), 0)}


class _Three:
    branches = (None, None, None)


class _Rows(GivenExperts):
    """Experts that are asked by numbers of rows."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits, logits)

    def forward(self, rows: Tensor) -> Any:
        """Answer for all experts."""
        return type("Out", (), {"logits": self.logits[rows]})


ENTRIES = {"sade_loss": loss, "sade_aggregation": aggregation}
