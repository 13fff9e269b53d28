"""Sweeps: a pass over a split without augmentation, in eval mode, rows in order."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tailwise.objective import Out
from tailwise.pixels import Normalise, Rows, View

Answers = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""(N, C) logits, and (N, D) features or None where the predictor gives none."""

LARGEST_BATCH = 500
PIXELS = LARGEST_BATCH * 32 * 32
"""Pixels a forward: larger images come in smaller batches, so that their maps fit into memory."""


def answers(out: Out | Tensor) -> Answers:
    """Take a predictor's output apart: of branches the mean of the logits, and the features side by side."""
    if not isinstance(out, Out):
        return out.float().cpu().numpy(), None
    logits = out.logits.mean(1) if out.logits.ndim == 3 else out.logits
    return logits.float().cpu().numpy(), out.features.flatten(1).float().cpu().numpy()


@torch.inference_mode()
def sweep(predictor: nn.Module, rows: Rows, normalise: Normalise, device: torch.device) -> Answers:
    """Run a predictor over all rows.

    Args:
        predictor: gives `Out`, or logits alone.
        rows: a split.
        normalise: of the recipe.
        device: where the predictor is.
    """
    view = View((), normalise)
    predictor.eval()
    batch = batch_of(rows.shape)
    logits, features = [], []
    for start in range(0, len(rows), batch):
        chosen = np.arange(start, min(start + batch, len(rows)))
        images = view(rows.gather(chosen).to(device), _no_draws, slice(None), len(chosen))
        said, seen = answers(predictor(images))
        logits.append(said)
        features += [] if seen is None else [seen]
    return np.concatenate(logits), np.concatenate(features) if features else None


def batch_of(shape: tuple[int, ...]) -> int:
    """Give the rows of a forward, by the shape of one: 500 feature vectors or small images, fewer large ones.

    >>> batch_of((320,)), batch_of((32, 32, 3)), batch_of((160, 160, 3)), batch_of((1024, 1024, 3))
    (500, 500, 20, 1)
    """
    return LARGEST_BATCH if len(shape) == 1 else max(1, min(LARGEST_BATCH, PIXELS // (shape[0] * shape[1])))


def _no_draws(augmentation: int) -> np.random.Generator:
    raise AssertionError("a sweep draws nothing")
