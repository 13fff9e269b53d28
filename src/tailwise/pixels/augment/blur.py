"""Gaussian blur."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from tailwise.errors import BadValue
from tailwise.pixels.augmentation import Drawn


@dataclass(frozen=True)
class Blur:
    """Blur some images by a Gaussian of drawn width, edges mirrored (Chen et al., SimCLR, ICML 2020, appendix A).

    The kernel is as wide as a tenth of the image's shorter side, an odd number of pixels from 3.

    Args:
        smallest: least standard deviation in pixels, above 0.
        largest: greatest.
        share: probability.
    """

    smallest: float = 0.1
    largest: float = 2.0
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest or not 0 <= self.share <= 1:
            raise BadValue(
                f"blur has deviations above 0 in order and a share in [0, 1], got {self.smallest}, {self.largest} and {self.share}"
            )

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw which rows are blurred, and all standard deviations."""
        return {"blurred": rng.random(rows) < self.share, "deviation": rng.uniform(self.smallest, self.largest, rows)}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Blur the drawn rows, along lines and then along columns; of uint8 images rounded."""
        chosen = np.flatnonzero(drawn["blurred"])
        if not len(chosen):
            return images
        rows = torch.from_numpy(chosen).to(images.device)
        blurred = _blurred(images[rows].to(torch.float32), torch.from_numpy(drawn["deviation"][chosen]).to(images.device))
        made = images.clone()
        made[rows] = blurred.to(images.dtype) if images.is_floating_point() else blurred.round().to(images.dtype)
        return made


def _blurred(images: Tensor, deviation: Tensor) -> Tensor:
    rows, height, width, channels = images.shape
    reach = max(1, min(height, width) // 20)
    away = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32)
    kernel = torch.softmax(-(away**2) / (2 * deviation.to(torch.float32)[:, None] ** 2), 1)
    kernels = kernel.repeat_interleave(channels, 0)
    planes = pad(images.permute(0, 3, 1, 2), (reach,) * 4, mode="reflect").flatten(0, 1)[None]
    for shape in ((1, -1), (-1, 1)):
        planes = conv2d(planes, kernels.view(rows * channels, 1, *shape), groups=rows * channels)
    return planes.view(rows, channels, height, width).permute(0, 2, 3, 1)
