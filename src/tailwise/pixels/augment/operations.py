"""Operations of automatic augmentation, each on a batch with a magnitude an image: what RandAugment and AutoAugment choose from.

Shears, shifts and rotations take the nearest pixel, and what comes in is black. Formulas and rounding are those of torchvision's
transforms on uint8 tensors, which follow Pillow's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, pad

Magnitudes = np.ndarray
Operation = Callable[[Tensor, Magnitudes], Tensor]
"""(B, H, W, channels) uint8 and (B,) magnitudes -> the same in uint8."""

RED, GREEN, BLUE = 0.2989, 0.587, 0.114


def _per_image(values: Any, images: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(images.device)[:, None, None, None]


def _as_bytes(values: Tensor) -> Tensor:
    return values.clamp(0, 255).to(torch.uint8)


# --- places -----------------------------------------------------------------------------------------------------------


def _affine(images: Tensor, theta: np.ndarray) -> Tensor:
    """Take each pixel from where a (B, 2, 3) matrix, in pixels from the image's centre, leads; the nearest one, black outside."""
    rows, height, width, _ = images.shape
    y, x = (torch.arange(size, device=images.device, dtype=torch.float32) - (size - 1) / 2 for size in (height, width))
    places = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None], torch.ones((), device=images.device)), -1).view(1, -1, 3)
    scale = torch.tensor([0.5 * width, 0.5 * height], device=images.device)
    matrices = torch.from_numpy(theta.astype(np.float32)).to(images.device).transpose(1, 2) / scale
    grid = (places.expand(rows, -1, -1) @ matrices).view(rows, height, width, 2)
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    found = grid_sample(pixels, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return found.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous()


def _matrices(rows: int) -> np.ndarray:
    return np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (rows, 1, 1))


def shear_x(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Shift each row by so many times its distance from the upper edge."""
    theta = _matrices(len(images))
    theta[:, 0, 1] = magnitudes
    theta[:, 0, 2] = magnitudes * (images.shape[1] * 0.5)
    return _affine(images, theta)


def shear_y(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Shift each column by so many times its distance from the left edge."""
    theta = _matrices(len(images))
    theta[:, 1, 0] = magnitudes
    theta[:, 1, 2] = magnitudes * (images.shape[2] * 0.5)
    return _affine(images, theta)


def translate_x(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Shift to the right by whole pixels; the fraction is cut off."""
    theta = _matrices(len(images))
    theta[:, 0, 2] = -np.trunc(magnitudes)
    return _affine(images, theta)


def translate_y(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Shift downwards by whole pixels; the fraction is cut off."""
    theta = _matrices(len(images))
    theta[:, 1, 2] = -np.trunc(magnitudes)
    return _affine(images, theta)


def rotate(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Rotate counter-clockwise by degrees, around the centre."""
    angle = np.deg2rad(magnitudes)
    theta = _matrices(len(images))
    theta[:, 0, 0] = theta[:, 1, 1] = np.cos(angle)
    theta[:, 0, 1], theta[:, 1, 0] = -np.sin(angle), np.sin(angle)
    return _affine(images, theta)


# --- colours ----------------------------------------------------------------------------------------------------------


def _grey(images: Tensor) -> Tensor:
    """Give the luma (B, H, W, 1), rounded down; images of one channel are their own."""
    if images.shape[-1] == 1:
        return images.to(torch.float32)
    red, green, blue = images.to(torch.float32).unbind(-1)
    return (red * RED + green * GREEN + blue * BLUE).floor()[..., None]


def _blend(images: Tensor, other: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Give `(1 + m) x - m y`, rounded down."""
    return _as_bytes(images * _per_image(1 + magnitudes, images) + other * _per_image(-magnitudes, images))


def brightness(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Blend with black."""
    return _as_bytes(images * _per_image(1 + magnitudes, images))


def colour(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Blend with the own grey; images of one channel stay."""
    return images if images.shape[-1] == 1 else _blend(images, _grey(images), magnitudes)


def contrast(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Blend with the image's mean grey."""
    return _blend(images, _grey(images).mean((1, 2, 3), keepdim=True), magnitudes)


def sharpness(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Blend with a smoothed image, the border left out; images of at most two pixels a side stay."""
    if min(images.shape[1:3]) <= 2:
        return images
    channels = images.shape[-1]
    kernel = torch.full((3, 3), 1 / 13, device=images.device)
    kernel[1, 1] = 5 / 13
    made = images.permute(0, 3, 1, 2).to(torch.float32)
    inner = made[..., 1:-1, 1:-1]
    smooth = conv2d(made, kernel.expand(channels, 1, 3, 3), groups=channels).round()
    inner.add_((smooth - inner) * _per_image(-magnitudes, images))
    return _as_bytes(made).permute(0, 2, 3, 1).contiguous()


def posterize(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Keep so many bits of each value."""
    masks = (-(2 ** (8 - magnitudes.astype(np.int64)))).astype(np.int8).view(np.uint8)
    return images & torch.from_numpy(masks).to(images.device)[:, None, None, None]


def solarize(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Invert values from 255 times the magnitude on."""
    return torch.where(images >= _per_image(255 * magnitudes, images), 255 - images, images)


def invert(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Turn black to white."""
    return 255 - images


def autocontrast(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Stretch each channel to 0-255; one of a single value stays."""
    x = images.to(torch.float32)
    low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
    flat = high == low
    scale = torch.where(flat, 1.0, (high - low) * (1 / 255))
    return _as_bytes((x - torch.where(flat, 0.0, low)) / scale)


def equalize(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Spread the values of each channel evenly, by Pillow's rule: a table from the cumulated histogram."""
    rows, height, width, channels = images.shape
    values = images.permute(0, 3, 1, 2).reshape(rows * channels, height * width).to(torch.int64)
    histogram = values.new_zeros(len(values), 256).scatter_add_(1, values, torch.ones_like(values))
    cumulated = histogram.cumsum(1)
    largest = histogram.gather(1, cumulated.argmax(1, keepdim=True))
    step = (height * width - largest) // 255
    table = ((cumulated[:, :-1] + step // 2) // step.clamp(min=1)).clamp(0, 255)
    found = pad(table, (1, 0)).gather(1, values)
    made = torch.where(step > 0, found, values).to(torch.uint8)
    return made.view(rows, channels, height, width).permute(0, 2, 3, 1).contiguous()


def identity(images: Tensor, magnitudes: Magnitudes) -> Tensor:
    """Leave the images as they are."""
    return images


OPERATIONS: Mapping[str, Operation] = {
    "identity": identity,
    "shear-x": shear_x,
    "shear-y": shear_y,
    "translate-x": translate_x,
    "translate-y": translate_y,
    "rotate": rotate,
    "brightness": brightness,
    "colour": colour,
    "contrast": contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": autocontrast,
    "equalize": equalize,
    "invert": invert,
}
"""By name, in the order of torchvision's lists."""

SIGNED = frozenset({"shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness", "colour", "contrast", "sharpness"})
"""Operations whose magnitude is turned round for half of the images."""


def magnitude(name: str, level: int, levels: int, height: int, width: int) -> float:
    """Give the magnitude of a level, 0 to levels - 1, in the operation's own unit, as torchvision's tables have it."""
    share = level / (levels - 1)
    most = {
        **dict.fromkeys(("shear-x", "shear-y"), 0.3),
        "translate-x": 150 / 331 * width,
        "translate-y": 150 / 331 * height,
        "rotate": 30.0,
        **dict.fromkeys(("brightness", "colour", "contrast", "sharpness"), 0.9),
    }
    if name == "posterize":
        return float(np.rint(8 - 4 * share))
    return 1 - share if name == "solarize" else most.get(name, 0.0) * share


def apply_each(images: Tensor, names: np.ndarray, magnitudes: Magnitudes) -> Tensor:
    """Apply to each image its own operation, all images of one operation at once.

    Args:
        images: (B, H, W, channels) uint8.
        names: (B,) places in `OPERATIONS`.
        magnitudes: (B,).
    """
    made = images.clone()
    for place, operation in enumerate(OPERATIONS.values()):
        chosen = np.flatnonzero(names == place)
        if len(chosen) and operation is not identity:
            rows = torch.from_numpy(chosen).to(images.device)
            made[rows] = operation(images[rows], magnitudes[chosen])
    return made


def in_bytes(images: Tensor) -> Tensor:
    """Give images as uint8, rounded where an augmentation before has left floats."""
    return images if images.dtype == torch.uint8 else images.round().clamp(0, 255).to(torch.uint8)
