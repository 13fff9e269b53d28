"""The whole model of a run as one module: decoded pixels in, final logits out, with whatever comes before and after the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tailwise.errors import BadData
from tailwise.evaluation import Predictions
from tailwise.objective import Out
from tailwise.pixels import Normalise
from tailwise.posthoc import LogitAdjustment, NearestMean, PostHoc, PriorShift, TauNorm, Temperature, adjust_logits, normalise_weight
from tailwise.posthoc.nearest_mean import SMALLEST_NORM
from tailwise.posthoc.prior_shift import UNEXPECTED


class WholeModel(nn.Module):
    """Everything that a run does with an image once it is decoded and brought to size.

    Args:
        before: pixels (N, height, width, channels) uint8, or feature vectors (N, D) float32 -> the network's input.
        predictor: of the run.
        after: the network's logits (N, C) and features (N, D) -> final logits.
    """

    def __init__(self, before: nn.Module, predictor: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.predictor, self.after = before, predictor, after
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Give (N, C) float32 logits."""
        return self.answers(self.before(inputs))

    def answers(self, seen: Tensor) -> Tensor:
        """Give (N, C) float32 logits of what the network sees."""
        found: Out | Tensor = self.predictor(seen)
        if isinstance(found, Tensor):
            return self.after(found, found)
        logits = found.logits.mean(1) if found.logits.ndim == 3 else found.logits
        return self.after(logits, found.features.flatten(1))


class Normalised(nn.Module):
    """`Normalise` as a module whose numbers are constants of the graph."""

    def __init__(self, normalise: Normalise, channels: int) -> None:
        super().__init__()
        mean, std = (np.array(values, dtype=np.float64) for values in (normalise.mean, normalise.std))
        if channels != len(mean):
            mean, std = np.full(channels, mean.mean()), np.full(channels, std.mean())
        self.register_buffer("scale", torch.tensor(1 / (255 * std), dtype=torch.float32))
        self.register_buffer("offset", torch.tensor(-mean / std, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """Turn (N, H, W, channels) in 0-255 into (N, channels, H, W) float32."""
        return (images.to(torch.float32) * self.get_buffer("scale") + self.get_buffer("offset")).permute(0, 3, 1, 2)


class FrozenFeatures(nn.Module):
    """Images -> standardised features of a frozen network."""

    def __init__(self, normalised: Normalised, body: nn.Module, mean: np.ndarray, deviation: np.ndarray) -> None:
        super().__init__()
        self.normalised, self.body = normalised, body
        self.register_buffer("mean", torch.from_numpy(mean.copy()))
        self.register_buffer("deviation", torch.from_numpy(deviation.copy()))

    def forward(self, images: Tensor) -> Tensor:
        """Give (N, D) float32 features."""
        return (self.body(self.normalised(images)) - self.get_buffer("mean")) / self.get_buffer("deviation")


class Shifted(nn.Module):
    """`z / T + a` for each class; classes that are not expected lie 1,000 below the lowest other."""

    def __init__(self, added: np.ndarray, temperature: float = 1.0, expected: np.ndarray | None = None) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("added", torch.tensor(added, dtype=torch.float32))
        self.unexpected = None if expected is None or expected.all() else np.flatnonzero(~expected).tolist()
        self.expected = None if self.unexpected is None or expected is None else np.flatnonzero(expected).tolist()

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Give (N, C) logits."""
        moved = logits / self.temperature + self.get_buffer("added")
        if self.unexpected is None:
            return moved
        lowest = moved[:, self.expected].amin(1, keepdim=True) - UNEXPECTED
        mask = torch.zeros(moved.shape[1], dtype=torch.bool)
        mask[self.unexpected] = True
        return torch.where(mask, lowest, moved)


class OfFeatures(nn.Module):
    """Another linear head on the features; with unit rows and features, cosines."""

    def __init__(self, weight: np.ndarray, unit: bool = False) -> None:
        super().__init__()
        self.unit = unit
        self.register_buffer("weight", torch.tensor(weight, dtype=torch.float32))

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Give (N, C) scores."""
        if self.unit:
            features = features / features.norm(dim=1, keepdim=True).clamp_min(SMALLEST_NORM)
        return features @ self.get_buffer("weight").T


class Distances(nn.Module):
    """Minus squared distances to class means."""

    def __init__(self, means: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(means, dtype=torch.float32))

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Give (N, C) scores."""
        means = self.get_buffer("means")
        return 2 * features @ means.T - features.square().sum(1, keepdim=True) - means.square().sum(1)


class Nothing(nn.Module):
    """The network's logits as they are."""

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Give the logits."""
        return logits


def after(part: PostHoc | None, predictions: Predictions) -> nn.Module:
    """Write a fitted post-hoc part as a module.

    Raises:
        BadData: a part that is not known here, or a class without training images under nearest class means.
    """
    classes = len(predictions.classes)
    match part:
        case None:
            return Nothing()
        case LogitAdjustment():
            counts: Any = part.counts
            return Shifted(adjust_logits(np.zeros(classes), counts, float(part.tau)))
        case Temperature():
            return Shifted(np.zeros(classes), float(part.temperature))
        case PriorShift():
            expected = np.array(part.expected)
            q = np.where(expected > 0, expected, expected.max())
            added = adjust_logits(np.zeros(classes), part.left) + np.log(q / expected.max())
            return Shifted(added, part.temperature, expected > 0)
        case TauNorm() if predictions.head_weight is not None:
            return OfFeatures(normalise_weight(predictions.head_weight, float(part.tau)))
        case NearestMean() if predictions.class_means is not None:
            means = predictions.class_means.astype(np.float64)
            if not np.isfinite(means).all():
                raise BadData("a class without training images has no mean, and nearest class means of such classes cannot be exported")
            if part.metric == "euclidean":
                return Distances(means)
            return OfFeatures(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), SMALLEST_NORM), unit=True)
    raise BadData(f"{type(part).__name__} cannot be exported; export the run that it was put on, without it")
