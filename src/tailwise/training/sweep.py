"""Sweeps: a pass over a split without augmentation, in eval mode, rows in order."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tailwise.objective import Out
from tailwise.pixels import Normalise, Rows, View

BATCH = 500
Swept = tuple[NDArray[np.float32], NDArray[np.float32] | None]


@torch.inference_mode()
def sweep(
    predictor: nn.Module, rows: Rows, normalise: Normalise, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Run a predictor over all rows.

    Args:
        predictor: gives `Out`, or logits alone.
        rows: a split.
        normalise: of the recipe.
        device: where the predictor is.

    Returns:
        (N, C) float32 logits, and (N, D) float32 features, or None where the predictor gives none.
    """
    view = View((), normalise)
    predictor.eval()
    logits, features = [], []
    for start in range(0, len(rows), BATCH):
        chosen = np.arange(start, min(start + BATCH, len(rows)))
        images = view(rows.gather(chosen).to(device), _no_draws, slice(None), len(chosen))
        out = predictor(images)
        out = out if isinstance(out, Out) else Out(out, torch.empty(0))
        logits.append((out.logits.mean(1) if out.logits.ndim == 3 else out.logits).float().cpu().numpy())
        features.append(out.features.float().cpu().numpy())
    has_features = bool(features) and features[0].ndim == 2
    return np.concatenate(logits), np.concatenate(features) if has_features else None


def _no_draws(augmentation: int) -> np.random.Generator:
    raise AssertionError("a sweep draws nothing")
