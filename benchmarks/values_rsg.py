"""RSG's records: one step over a classifier on maps, by the parts of our objective.

The maps are given, so the network below the cut is the identity and the one above it the mean over positions and a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tailwise.counts import ClassCounts
from tailwise.groups import make_groups
from tailwise.losses import CrossEntropyLoss
from tailwise.losses.transfer import vector_errors
from tailwise.method import About
from tailwise.methods.rsg import Generation, TransferToRare
from tailwise.mixing.transfer import pair_with_tail
from tailwise.models.chain import Chain
from tailwise.objective import Clock, Sample

Values = Mapping[str, Any]

JUDGE = {"contrast_conv1": "judge.first", "contrast_conv2": "judge.second", "contrast_fc": "judge.last"}
NAMES = {"A": "assignment", "b": "bias", "centers": "centres", "T.weight": "transformation.weight", "T.bias": "transformation.bias"}
NAMES |= {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in JUDGE.items() for kind in ("weight", "bias")}
"""Their name of a parameter -> ours."""


class Mean(nn.Module):
    """Mean over positions, which remembers the maps that came."""

    def forward(self, maps: Tensor) -> Tensor:
        """Pool, as (B, C)."""
        self.seen = maps
        return maps.mean((2, 3))


def rsg(params: Values, inputs: Values, memory_chunks: bool = False) -> dict[str, Any]:
    """Take one step of our objective and give what a record holds of it.

    Args:
        params: of the record.
        inputs: of the record.
        memory_chunks: the authors' own reading of vectors, for what the record calls published.
    """
    weights, generating = (0.1, 0.01), params["epoch"] > params["e_th"]
    generation = Generation(params["head_tail_ratio"], params["transfer_strength"], weights[1], memory_chunks) if generating else None
    net = _network(inputs)
    step = TransferToRare(CrossEntropyLoss(), "above", params["n_center"], weights[0], params["contrastive_dim"], generation)
    step.build(net, _about(inputs["counts"], params["feature_maps_shape"]))
    step.double().load_state_dict({ours: _tensor(inputs[theirs]) for theirs, ours in NAMES.items()})
    maps, labels = _tensor(inputs["feature_maps"]).requires_grad_(), torch.tensor(inputs["targets"])
    terms = step.loss(net, {"main": Sample((maps,), labels, torch.arange(len(labels)))}, Clock(0, 1, 0, 1, 0, 0))
    values = {name: term.numerator() / term.denominator().clamp_min(1) for name, term in terms.items()}
    total = sum(term.factor * values[name] for name, term in terms.items())
    assert isinstance(total, Tensor)
    generated = net.pool.seen[len(maps) :]
    learning = {"feature_maps": maps, **{theirs: step.get_parameter(ours) for theirs, ours in NAMES.items()}}
    grads = dict(zip(learning, torch.autograd.grad(total, list(learning.values()), retain_graph=True, allow_unused=True), strict=True))
    offset = (maps.shape[1] - 1) * maps[0, 0].numel() if len(generated) else 0  # of the published third term, which ours is without
    contrast = values.get("judge", torch.zeros(()))
    made: dict[str, Any] = {
        "cesc_center_term": values["centres"],
        "cesc_contrast_term": contrast,
        "cesc_loss": values["centres"] + contrast,
        "cls_loss": values["class"],
        "mv_loss": values.get("vectors", torch.zeros(())) + offset,
        "total_loss": total + weights[1] * offset,
        "generated_maps": generated if len(generated) else torch.zeros(0),
    }
    made |= _pairs(step, maps, labels, generation, offset) if generation is not None else {"segments": 0, "labels": labels}
    return {k: v.detach() if isinstance(v, Tensor) else v for k, v in made.items()} | {
        "grads": {name: grad for name, grad in grads.items() if grad is not None}
    }


def _pairs(step: TransferToRare, maps: Tensor, labels: Tensor, generation: Generation, offset: int) -> dict[str, Any]:
    """Give the single terms of the vector loss, its labels and its segments, as the objective pairs the rows."""
    is_head = step.is_head[labels]
    heads, tails = pair_with_tail(is_head, generation.strength)
    made: dict[str, Any] = {"labels": torch.cat([labels, labels[tails]]), "segments": 0}
    if not len(tails):
        return made
    seen = maps.detach()
    shares = (torch.einsum("bc,bck->bk", seen.mean((2, 3)), step.assignment[labels]) + step.bias[labels]).softmax(1)
    centred = seen - step.centres[labels, shares.argmax(1)][:, :, None, None]
    moved = step.transformation(centred[heads])
    lengths, directions = vector_errors(centred[heads], moved, centred[tails], generation.memory_chunks)
    terms = {"M1": step.unlike(seen[heads], moved), "M2": lengths, "M3": directions + offset, "M3_one_minus_cos": directions}
    few = min(int(is_head.sum()), int((~is_head).sum()))
    return made | {"segments": len(tails) // few} | {name: term.mean() for name, term in terms.items()}


def _network(inputs: Values) -> Chain:
    head = nn.Linear(*reversed(_tensor(inputs["classifier"]).shape), bias=False).double()
    head.load_state_dict({"weight": _tensor(inputs["classifier"])})
    return Chain({"below": nn.Identity(), "above": nn.Identity()}, Mean(), head, head.in_features).double()


def _about(counts: Sequence[int], shape: Sequence[int]) -> About:
    channels, height, width = shape
    names = tuple(map(str, range(len(counts))))
    return About(ClassCounts(tuple(counts)), make_groups(tuple(counts)), names, 1, (height, width, channels))


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
