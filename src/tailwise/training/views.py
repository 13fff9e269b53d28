"""Views at test: a network asked about the mirror image too."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tailwise.objective import Out


class Mirrored(nn.Module):
    """A predictor that sees images (B, channels, H, W) mirrored left to right."""

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, images: Tensor) -> Any:
        """Give what the predictor gives."""
        return self.predictor(images.flip(3))


class TwoViews(nn.Module):
    """A predictor whose logits are the mean of those of an image and of its mirror image; features are the image's."""

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__()
        self.predictor = predictor
        self.mirrored = Mirrored(predictor)

    def forward(self, images: Tensor) -> Any:
        """Give (B, C) logits, or `Out`, as the predictor does."""
        one, other = self.predictor(images), self.mirrored(images)
        if isinstance(one, Out):
            return Out((one.logits + other.logits) / 2, one.features)
        return (one + other) / 2
