"""What a pre-trained network expects of its pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """How images were prepared when a network was trained.

    Attributes:
        size: side of the square images, in pixels.
        mean: of red, green and blue, on a scale of 0 to 1; subtracted.
        std: of red, green and blue; divided by.
        interpolation: `bicubic` or `bilinear`.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:g}" for value in triple) for triple in (self.mean, self.std))
        return f"{self.size} x {self.size}, {self.interpolation}, mean {mean}, deviation {std}"
