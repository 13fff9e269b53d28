"""AutoAugment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from tailwise.errors import BadValue
from tailwise.pixels.augment.operations import OPERATIONS, SIGNED, apply_each, in_bytes, magnitude
from tailwise.pixels.augmentation import Drawn

LEVELS = 10

CIFAR = """
invert 0.1 0, contrast 0.2 6; rotate 0.7 2, translate-x 0.3 9; sharpness 0.8 1, sharpness 0.9 3; shear-y 0.5 8, translate-y 0.7 9;
autocontrast 0.5 0, equalize 0.9 0; shear-y 0.2 7, posterize 0.3 7; colour 0.4 3, brightness 0.6 7; sharpness 0.3 9, brightness 0.7 9;
equalize 0.6 0, equalize 0.5 0; contrast 0.6 7, sharpness 0.6 5; colour 0.7 7, translate-x 0.5 8; equalize 0.3 0, autocontrast 0.4 0;
translate-y 0.4 3, sharpness 0.2 6; brightness 0.9 6, colour 0.2 8; solarize 0.5 2, invert 0.0 0; equalize 0.2 0, autocontrast 0.6 0;
equalize 0.2 0, equalize 0.6 0; colour 0.9 9, equalize 0.6 0; autocontrast 0.8 0, solarize 0.2 8; brightness 0.1 3, colour 0.7 0;
solarize 0.4 5, autocontrast 0.9 0; translate-y 0.9 9, translate-y 0.7 9; autocontrast 0.9 0, solarize 0.8 3; equalize 0.8 0, invert 0.1 0;
translate-y 0.7 9, autocontrast 0.9 0
"""
"""The policy that was found on CIFAR-10: 25 pairs of operation, probability and level (Cubuk et al., CVPR 2019, appendix)."""

IMAGENET = """
posterize 0.4 8, rotate 0.6 9; solarize 0.6 5, autocontrast 0.6 0; equalize 0.8 0, equalize 0.6 0; posterize 0.6 7, posterize 0.6 6;
equalize 0.4 0, solarize 0.2 4; equalize 0.4 0, rotate 0.8 8; solarize 0.6 3, equalize 0.6 0; posterize 0.8 5, equalize 1.0 0;
rotate 0.2 3, solarize 0.6 8; equalize 0.6 0, posterize 0.4 6; rotate 0.8 8, colour 0.4 0; rotate 0.4 9, equalize 0.6 0;
equalize 0.0 0, equalize 0.8 0; invert 0.6 0, equalize 1.0 0; colour 0.6 4, contrast 1.0 8; rotate 0.8 8, colour 1.0 2;
colour 0.8 8, solarize 0.8 7; sharpness 0.4 7, invert 0.6 0; shear-x 0.6 5, equalize 1.0 0; colour 0.4 0, equalize 0.6 0;
equalize 0.4 0, solarize 0.2 4; solarize 0.6 5, autocontrast 0.6 0; invert 0.6 0, equalize 1.0 0; colour 0.6 4, contrast 1.0 8;
equalize 0.8 0, equalize 0.6 0
"""
"""The policy that was found on ImageNet."""

POLICIES = {"cifar": CIFAR, "imagenet": IMAGENET}


def policy(name: str) -> tuple[tuple[tuple[str, float, int], ...], ...]:
    """Give a policy: pairs of operation, probability and level."""
    pairs = (pair.split(", ") for pair in " ".join(POLICIES[name].split()).split("; "))
    parted = ([one.split() for one in pair] for pair in pairs)
    return tuple(tuple((word, float(share), int(level)) for word, share, level in pair) for pair in parted)


@dataclass(frozen=True)
class AutoAugment:
    """A pair of operations, drawn evenly for each image from a policy of 25, each applied with its own probability.

    Args:
        found_on: the set that the policy was searched on, `cifar` (CIFAR-10) or `imagenet`.

    Source: Cubuk et al., "AutoAugment: Learning augmentation strategies from data", CVPR 2019; strengths as in torchvision.
    """

    found_on: Literal["cifar", "imagenet"] = "cifar"

    def __post_init__(self) -> None:
        if self.found_on not in POLICIES:
            raise BadValue(f"AutoAugment has policies {' and '.join(map(repr, POLICIES))}, got {self.found_on!r}")

    def draw(self, rng: np.random.Generator, rows: int, height: int, width: int) -> Drawn:
        """Draw `names` (places in `OPERATIONS`) and `magnitudes`, (rows, 2) each; what is left out is the identity."""
        places, pairs = {name: k for k, name in enumerate(OPERATIONS)}, policy(self.found_on)
        of_pair = rng.integers(0, len(pairs), rows)
        names = np.array([[places[name] for name, _, _ in pair] for pair in pairs])[of_pair]
        shares = np.array([[share for _, share, _ in pair] for pair in pairs])[of_pair]
        levels = np.array([[magnitude(name, level, LEVELS, height, width) for name, _, level in pair] for pair in pairs])[of_pair]
        signed = np.array([[name in SIGNED for name, _, _ in pair] for pair in pairs])[of_pair]
        taken = rng.random((rows, 2)) < shares
        signs = np.where(signed & (rng.random((rows, 2)) < 0.5), -1.0, 1.0)
        return {"names": np.where(taken, names, places["identity"]), "magnitudes": levels * signs}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Apply both operations in turn; gives uint8."""
        made = in_bytes(images)
        for k in range(2):
            made = apply_each(made, drawn["names"][:, k], drawn["magnitudes"][:, k])
        return made
