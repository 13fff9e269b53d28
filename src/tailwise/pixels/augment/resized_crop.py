"""Random resized crop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from tailwise.errors import BadValue
from tailwise.pixels.augmentation import Drawn


@dataclass(frozen=True)
class ResizedCrop:
    """Crop a random box and stretch it to the image's size (Szegedy et al., CVPR 2015).

    The box has a share of the area drawn uniformly and a log-uniform aspect ratio; after ten misses, as in torchvision, the largest
    centred box within the ratios. Sampled bilinearly without antialiasing, all images of the batch at once.

    Args:
        smallest: smallest share of the area, in (0, 1].
        ratio: the aspect ratio lies between 1 / ratio and ratio.
    """

    smallest: float = 0.08
    ratio: float = 4 / 3

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= 1 or self.ratio < 1:
            raise BadValue(f"a resized crop has a smallest share in (0, 1] and a ratio from 1, got {self.smallest} and {self.ratio}")

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw boxes: top, left, height and width in pixels, whole numbers, (rows,) each."""
        tries = 10
        area = height * width * rng.uniform(self.smallest, 1.0, (rows, tries))
        aspect = np.exp(rng.uniform(-math.log(self.ratio), math.log(self.ratio), (rows, tries)))
        w, h = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
        fits = (w >= 1) & (h >= 1) & (w <= width) & (h <= height)
        chosen = fits.argmax(1)
        place = rng.random((rows, 2))
        each = np.arange(rows)
        fallback_w, fallback_h = _centred(height, width, self.ratio)
        hit = fits.any(1)
        box_w = np.where(hit, w[each, chosen], fallback_w)
        box_h = np.where(hit, h[each, chosen], fallback_h)
        top = np.where(hit, np.floor(place[:, 0] * (height - box_h + 1)), (height - box_h) // 2)
        left = np.where(hit, np.floor(place[:, 1] * (width - box_w + 1)), (width - box_w) // 2)
        return {"top": top, "left": left, "height": box_h, "width": box_w}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Sample the boxes."""
        height, width = images.shape[1:3]
        boxes = {n: torch.from_numpy(v).to(device=images.device, dtype=torch.float32) for n, v in drawn.items()}
        ys = _grid(boxes["top"], boxes["height"], height)
        xs = _grid(boxes["left"], boxes["width"], width)
        grid = torch.stack([xs[:, None, :].expand(-1, height, -1), ys[:, :, None].expand(-1, -1, width)], -1)
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)
        return grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False).permute(0, 2, 3, 1).contiguous()


def _centred(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Give width and height of the largest centred box whose aspect ratio is allowed."""
    if width / height > ratio:
        return round(height * ratio), height
    if width / height < 1 / ratio:
        return width, round(width * ratio)
    return width, height


def _grid(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Give (B, size) sampling places in [-1, 1]: the centres of `size` equal cells of each interval."""
    cells = (torch.arange(size, device=start.device) + 0.5) / size
    return 2 * (start[:, None] + cells * length[:, None]) / size - 1
