"""Augmentations in batches, on the device, one file each: (B, H, W, channels) in 0-255 in, the same out."""

from tailwise.pixels.augment.auto_augment import AutoAugment
from tailwise.pixels.augment.blur import Blur
from tailwise.pixels.augment.colour_jitter import ColourJitter
from tailwise.pixels.augment.cutout import Cutout
from tailwise.pixels.augment.flip import Flip
from tailwise.pixels.augment.grey import Grey
from tailwise.pixels.augment.pad_crop import PadCrop
from tailwise.pixels.augment.rand_augment import RandAugment
from tailwise.pixels.augment.resized_crop import ResizedCrop

__all__ = ["AutoAugment", "Blur", "ColourJitter", "Cutout", "Flip", "Grey", "PadCrop", "RandAugment", "ResizedCrop"]
