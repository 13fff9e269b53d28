"""What of ours computes a record of the authors' values: one entry a method, and where we depart on purpose.

An entry takes a record's `params` and `inputs` and gives what the record holds, by the record's own names: `loss`, `grads` by input, the
outputs; all in float64. It gives None for settings that no part of ours has. Where a method that we lack is one of our parts at these
settings (table A of the reference), the entry says so and the record is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, normalize

import values_bbn
import values_mislas
import values_ride
import values_sade
from tailwise.counts import ClassCounts
from tailwise.groups import make_groups
from tailwise.losses import (
    BalancedSoftmaxLoss,
    ClassWeighted,
    CrossEntropyLoss,
    FocalLoss,
    FrequencyWeighted,
    LDAMLoss,
    effective_number_weights,
    paco_losses,
)
from tailwise.method import About
from tailwise.methods.ce import CE
from tailwise.mixing import Mixup
from tailwise.models.heads import CosineHead, ScaledLinearHead, linear_weights
from tailwise.modifiers.drw import DRW
from tailwise.objective import Criterion, Sample, supervised
from tailwise.optim import SAM, SGD, Cosine
from tailwise.posthoc import Scores, TauNorm, adjust_logits, nearest_mean_logits, normalise_weight
from tailwise.samplers import ClassBalancedSampler, class_probabilities
from values_bilevel import BILEVEL
from values_rsg import rsg

Values = Mapping[str, Any]
Computed = dict[str, Any]
Entry = Callable[[Values, Values], Computed | None]

DEPARTURES: dict[str, str] = {
    "focal_softmax_weighted/*": "LDAM-DRW's code weights inside the probability, p = exp(-w CE); ours keeps p clean and weights the row "
    "(reference, section 2.6)",
    "focal_robal_softmax/0": "the code carries an extra factor 0.5, ours is the definition without it (reference, section 2.6)",
    "ncm/1": "their cosine is a dot product with means that have no unit length, over the width; ours is a cosine (reference, section 4.4)",
    "ncm/3": "their cosine is a dot product with means that have no unit length, over the width; ours is a cosine (reference, section 4.4)",
    "class_aware_sampler/0": "their epoch has n_max C rows; ours as many as there are images, where their trainer stops (reference, 1.4). "
    "The rows are theirs as far as ours go",
}
"""Record id, or a pattern of ids, -> why ours is another number. A record listed here that agrees is an error too."""


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- losses -----------------------------------------------------------------------------------------------------------

CE_LOSS = CrossEntropyLoss()

CRITERIA: dict[str, Callable[[Values, Values], Criterion | None]] = {
    "cross_entropy": lambda params, inputs: CE_LOSS,
    "balanced_softmax": lambda params, inputs: BalancedSoftmaxLoss(inputs["counts"]),
    "balms_balanced_softmax": lambda params, inputs: BalancedSoftmaxLoss(inputs["counts"]),
    "logit_adjustment": lambda params, inputs: BalancedSoftmaxLoss(inputs["counts"], params["tau"]),
    "bayias": lambda params, inputs: BalancedSoftmaxLoss(_over_inference_prior(inputs)),
    "vs": lambda params, inputs: None if params["gamma"] else BalancedSoftmaxLoss(inputs["counts"], params["tau"]),
    "focal_softmax": lambda params, inputs: FocalLoss(params["gamma"]),
    "focal_softmax_detached": lambda params, inputs: FocalLoss(params["gamma"], detach=True),
    "focal_robal_softmax": lambda params, inputs: FocalLoss(params["gamma"]),
    "focal_softmax_weighted": lambda params, inputs: ClassWeighted(
        FocalLoss(params["gamma"]), inputs["counts"], params["beta"], divisor="rows"
    ),
    "class_balanced_ce": lambda params, inputs: ClassWeighted(CE_LOSS, inputs["counts"], params["beta"]),
    "cost_sensitive_ce": lambda params, inputs: FrequencyWeighted(CE_LOSS, inputs["counts"], params["gamma"]),
    "generalized_reweight": lambda params, inputs: FrequencyWeighted(CE_LOSS, inputs["counts"], params["rho"]),
    "weighted_softmax": lambda params, inputs: FrequencyWeighted(CE_LOSS, inputs["counts"], rule="log"),
    "ldam": lambda params, inputs: LDAMLoss(inputs["counts"], params["max_m"], params["s"]),
    "ldam_drw": lambda params, inputs: ClassWeighted(
        LDAMLoss(inputs["counts"], params["max_m"], params["s"]), inputs["counts"], params["beta"]
    ),
    "label_aware_smoothing": lambda params, inputs: values_mislas.over_all(params, inputs["counts"]),
    "label_smoothing_ce": values_mislas.uniform,
    "robal": lambda params, inputs: None if params["tau_b"] or params["tau_m"] else _cosface(params["m"], params["s"], inputs),
}
"""Method -> the criterion that gives its loss on `logits` and `targets`."""


def _over_inference_prior(inputs: Values) -> list[float]:
    """Bayias shifts by log pi - log q: balanced softmax whose counts are in the ratios pi / q."""
    counts = np.asarray(inputs["counts"], dtype=np.float64)
    return (counts / np.asarray(inputs.get("inference_counts", np.ones_like(counts)))).tolist()


def _cosface(margin: float, scale: float, inputs: Values) -> Criterion:
    """One margin for all classes is LDAM on even counts."""
    return LDAMLoss([1] * len(inputs["logits"][0]), margin, scale)


def _loss(make: Callable[[Values, Values], Criterion | None]) -> Entry:
    """Give the entry of a criterion: losses a row, their published mean, and its gradient in the logits."""

    def compute(params: Values, inputs: Values) -> Computed | None:
        criterion = make(params, inputs)
        if criterion is None:
            return None
        logits, targets = _tensor(inputs["logits"]).requires_grad_(), torch.tensor(inputs["targets"])
        loss = criterion(logits, targets)
        loss.backward()
        return {"loss": loss.detach(), "losses": criterion.rows(logits.detach(), targets)[0], "grads": {"logits": logits.grad}}

    return compute


def _effective_number(params: Values, inputs: Values) -> Computed:
    return {"weights": effective_number_weights(inputs["counts"], params["beta"])}


def _deferred(params: Values, inputs: Values) -> Computed:
    """Take the weights of the stage that `drw` has in force in the epoch; their 0.9999 is not in the record."""
    counts, epochs = ClassCounts(tuple(inputs["counts"])), params["epochs"]
    about = About(counts, make_groups(counts.real), tuple(map(str, counts.real)), epochs, (1,))
    stages = DRW(start=params["start"] / epochs).modify(CE().stages(about), about)
    stage = next(stage for stage in stages if params["epoch"] < round(stage.until * epochs))
    return {"weights": getattr(stage.criterion, "class_weights", np.ones(counts.classes))}


# --- samplers, mixing -------------------------------------------------------------------------------------------------


def _power(power: float) -> Entry:
    return lambda params, inputs: {"class_probabilities": class_probabilities(inputs["counts"], power)}


def _progressive(params: Values, inputs: Values) -> Computed | None:
    """Its first epoch is instance-balanced and its last class-balanced; what is between is no part of ours."""
    powers = {0: 1.0, params["epochs"] - 1: 0.0}
    return _power(powers[params["epoch"]])(params, inputs) if params["epoch"] in powers else None


def _class_aware(params: Values, inputs: Values) -> Computed:
    unshuffled: Any = SimpleNamespace(permutation=np.arange)
    labels = np.array(inputs["labels"])
    rows = ClassBalancedSampler(params["num_samples_cls"]).rows(labels, unshuffled, epoch=0, epochs=1)
    return {"length": len(rows), "indices": rows}


def _mixup(params: Values, inputs: Values) -> Computed:
    drawn: Any = SimpleNamespace(beta=lambda a, b: params["lambda"], permutation=lambda rows: np.array(inputs["permutation"]))
    targets, logits = torch.tensor(inputs["targets"]), _tensor(inputs["logits"]).requires_grad_()
    mixed = Mixup()(Sample((_tensor(inputs["x"]),), targets, torch.arange(len(targets))), drawn)
    term = supervised(CE_LOSS, logits, mixed)
    loss = term.numerator() / term.denominator()
    loss.backward()
    return {
        "mixed_x": mixed.images,
        "targets_a": mixed.labels,
        "targets_b": mixed.extra["mixed_targets"],
        "loss": loss.detach(),
        "grads": {"logits": logits.grad},
    }


# --- heads and post hoc -----------------------------------------------------------------------------------------------


def _cosine_head(params: Values, inputs: Values) -> Computed:
    weight = _tensor(inputs["weight"])
    head = CosineHead(float(params["scale"])).build(weight.shape[1], weight.shape[0]).double()
    return {"logits": torch.func.functional_call(head, {"weight": weight}, _tensor(inputs["features"]))}


def _uno_ic(params: Values, inputs: Values) -> Computed:
    """UNO-IC towards a uniform prior is post-hoc logit adjustment with tau = beta."""
    return {"probabilities": torch.softmax(_tensor(adjust_logits(np.array(inputs["logits"]), inputs["counts"], params["beta"])), 1)}


def _tau_norm(params: Values, inputs: Values) -> Computed:
    features, weight = np.array(inputs["features"]), np.array(inputs["weight"])
    scores = Scores(features @ weight.T, features=features, head_weight=weight)
    return {"weight": normalise_weight(weight, params["tau"]), "logits": TauNorm(params["tau"]).apply(scores)}


def _nearest_mean(params: Values, inputs: Values) -> Computed:
    """Class means are given; their queries are taken as they are, of unit length (`l2n`), or centred first (`cl2n`)."""
    features = np.array(inputs["features"])
    if params["feature"] == "cl2n":
        features = features - np.array(inputs["feature_mean"])
    if params["feature"] != "un":
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    metric = "cosine" if params["distance"] == "cos" else "euclidean"
    return {"logits": nearest_mean_logits(features, np.array(inputs["centroids"]), metric)}


# --- steps ------------------------------------------------------------------------------------------------------------


def _sam(params: Values, inputs: Values) -> Computed:
    """One step of plain gradient descent on a linear model, its gradient by the rule."""
    features, targets = _tensor(inputs["features"]), torch.tensor(inputs["targets"])
    weight = _tensor(inputs["weight"]).requires_grad_()
    seen: list[Tensor] = []

    def compute(_: bool) -> dict[str, Tensor]:
        seen.append(weight.detach().clone())
        return {"weight": torch.autograd.grad(cross_entropy(linear(features, weight), targets), weight)[0]}

    gradient = SAM(params["rho"], params["adaptive"])(compute, {"weight": weight})["weight"]
    return {"perturbed_weight": seen[-1], "weight": weight.detach() - params["lr"] * gradient}


def _lws(params: Values, inputs: Values) -> Computed:
    """Learn the scales of a resting linear head, in as many steps as there are batches."""
    weight, bias = _tensor(inputs["weight"]), _tensor(inputs["bias"])
    head = ScaledLinearHead().build(weight.shape[1], weight.shape[0]).double()
    head.load_state_dict({"weight": weight, "bias": bias, "scale": torch.ones_like(bias)})
    first = _tensor(inputs["features_1"])
    made: Computed = {"logits_with_scales_one": head(first).detach(), "steps": []}
    head.load_state_dict({"weight": weight, "bias": bias, "scale": _tensor(inputs["scales"])})
    group = {"params": [head.scale], "weight_decay": params["weight_decay"]}
    optimiser = SGD(params["lr"], params["momentum"]).make([group])
    for step in range(1, params["steps"] + 1):
        optimiser.zero_grad()
        logits = head(_tensor(inputs[f"features_{step}"]))
        loss = CE_LOSS(logits, torch.tensor(inputs[f"targets_{step}"]))
        loss.backward()
        optimiser.step()
        scales = {"grad_scales": head.scale.grad.clone(), "scales": head.scale.detach().clone()}
        made["steps"].append({"logits": logits.detach(), "loss": loss.detach(), **scales})
    folded = linear_weights(head)
    assert folded is not None
    made["folded_weight"], made["folded_bias"] = (values.detach() for values in folded)
    return made | {"logits_after": head(first).detach()}


def _cosine_rates(peak: Callable[[Values], float]) -> Entry:
    """Give the rates of all epochs; the schedule steps once an epoch."""
    return lambda params, inputs: {"lr": [peak(params) * Cosine().factor(epoch, params["epochs"]) for epoch in range(params["epochs"])]}


# --- contrast ---------------------------------------------------------------------------------------------------------


def _paco(*views: str) -> Entry:
    """Take the mean loss of the anchors, which are one view or two, against keys and queue, and gradients of the raw rows."""

    def compute(params: Values, inputs: Values) -> Computed:
        raw = {name: _tensor(inputs[name]).requires_grad_() for name in (*views, "logits")}
        keys = [_tensor(inputs["key"])] if "key" in inputs else []
        targets, queue_labels = torch.tensor(inputs["targets"]), torch.tensor(inputs["queue_labels"])
        counts = _tensor(inputs["counts"])
        shift = torch.log(counts / counts.sum() + params["prior_eps"]) if params.get("prior", True) else 0.0
        losses = paco_losses(
            (raw["logits"] + shift) / params["supt"],
            targets.repeat(len(views)),
            normalize(torch.cat([raw[name] for name in views]), dim=1),
            normalize(torch.cat([*keys, _tensor(inputs["queue"])]), dim=1),
            torch.cat([*[targets for _ in keys], queue_labels]),
            **{name: params[name] for name in ("alpha", "beta", "gamma", "temperature")},
            smoothing=params.get("label_smoothing", 0.0),
        )
        losses.mean().backward()
        return {"loss": losses.mean().detach(), "grads": {name: rows.grad for name, rows in raw.items()}}

    return compute


ENTRIES: dict[str, Entry] = {
    **{method: _loss(make) for method, make in CRITERIA.items()},
    "class_balanced_weights": _effective_number,
    "drw_weights": _deferred,
    "square_root_sampling": _power(0.5),
    "reverse_sampling": _power(-1.0),
    "progressive_sampling": _progressive,
    "class_aware_sampler": _class_aware,
    "mixup": _mixup,
    "cosine_head": _cosine_head,
    "uno_ic_rebalance": _uno_ic,
    "tau_norm": _tau_norm,
    "ncm": _nearest_mean,
    "sam": _sam,
    "lws": _lws,
    "gcl_stage2_lr": _cosine_rates(lambda params: 0.02 * params["lr"]),
    "rsg": rsg,
    "paco_loss": _paco("query"),
    "gpaco_loss": _paco("view1", "view2"),
    **values_bbn.ENTRIES,
    **BILEVEL,
    **values_mislas.ENTRIES,
    **values_ride.ENTRIES,
    **values_sade.ENTRIES,
}
"""Method of a record -> what computes it with our parts."""
