"""Sweeps: a pass over a split without augmentation, in eval mode, rows in order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tailwise.objective import Out
from tailwise.pixels import Normalise, Rows, View
from tailwise.training.folding import folded
from tailwise.training.precision import FLOAT32


class Answers(NamedTuple):
    """What a predictor says of N rows.

    Attributes:
        logits: (N, C) float32; of branches the mean, or the sum that the predictor makes.
        features: (N, D) float32, of branches side by side; None where the predictor gives none.
        experts: (N, E, C) float32, the logits of each branch; None where there is one.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32] | None = None
    experts: NDArray[np.float32] | None = None


LARGEST_BATCH = 500
PIXELS = LARGEST_BATCH * 32 * 32
"""Pixels a forward: larger images come in smaller batches, so that their maps fit into memory."""

IN_CACHE = 64
"""Images a forward on a CPU, whose maps then stay in its cache: 500 small ones took 1.4 times as long, memory being what is short."""

CHECKED = 8
"""Rows on which a folded network is held against the plain one."""


def answers(out: Out | Tensor) -> Answers:
    """Take a predictor's output apart."""
    if not isinstance(out, Out):
        return Answers(_numpy(out))
    if out.logits.ndim == 3:
        return Answers(_numpy(out.logits.mean(1)), _numpy(out.features.flatten(1)), _numpy(out.logits))
    return Answers(_numpy(out.logits), _numpy(out.features.flatten(1)), None if out.experts is None else _numpy(out.experts))


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.float().cpu().numpy()


@torch.inference_mode()
def sweep(
    predictor: nn.Module, rows: Rows, normalise: Normalise, device: torch.device, precision: str = FLOAT32, folds: bool = True
) -> Answers:
    """Run a predictor over all rows.

    Args:
        predictor: gives `Out`, or logits alone.
        rows: a split.
        normalise: of the recipe.
        device: where the predictor is.
        precision: what it computes in.
        folds: whether normalisation may be folded into the convolutions before it.
    """
    view = View((), normalise)
    predictor.eval()
    batch = batch_of(rows.shape, device)
    found = []
    for start in range(0, len(rows), batch):
        chosen = np.arange(start, min(start + batch, len(rows)))
        images = view.of_rows(rows, chosen, _no_draws, slice(None), device)
        if folds and not start and len(rows) > batch:
            predictor = folded(predictor, images[:CHECKED], precision)
        found.append(answers(predictor(images)))
    logits = np.concatenate([one.logits for one in found])
    features, experts = (None if parts[0] is None else np.concatenate(parts) for parts in zip(*(one[1:] for one in found), strict=True))
    return Answers(logits, features, experts)


def batch_of(shape: tuple[int, ...], device: torch.device) -> int:
    """Give the rows of a forward, by the shape of one: 500 feature vectors or small images, fewer large ones, and fewer on a CPU.

    >>> cpu, gpu = torch.device("cpu"), torch.device("cuda")
    >>> [batch_of(shape, gpu) for shape in ((320,), (32, 32, 3), (160, 160, 3), (1024, 1024, 3))]
    [500, 500, 20, 1]
    >>> [batch_of(shape, cpu) for shape in ((320,), (32, 32, 3), (160, 160, 3))]
    [500, 64, 20]
    """
    if len(shape) == 1:
        return LARGEST_BATCH
    largest = IN_CACHE if device.type == "cpu" else LARGEST_BATCH
    return max(1, min(largest, PIXELS // (shape[0] * shape[1])))


def _no_draws(augmentation: int) -> np.random.Generator:
    raise AssertionError("a sweep draws nothing")
