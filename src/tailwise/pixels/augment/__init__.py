"""Augmentations in batches, on the device, one file each: (B, H, W, channels) in 0-255 in, the same out."""

from tailwise.pixels.augment.colour_jitter import ColourJitter
from tailwise.pixels.augment.flip import Flip
from tailwise.pixels.augment.grey import Grey
from tailwise.pixels.augment.pad_crop import PadCrop
from tailwise.pixels.augment.resized_crop import ResizedCrop

__all__ = ["ColourJitter", "Flip", "Grey", "PadCrop", "ResizedCrop"]
