"""Pixels: every image decoded once into packed bytes, and batched augmentation on the device.

Lives here: the pixel store, rows of a split as training sees them, views and augmentations. Not here: what opens an image file
(`data.images`), which rows a step shows (`training`). May import torch, NumPy, `tailwise.data.images` and the vocabulary.
"""

from tailwise.pixels.normalise import Normalise
from tailwise.pixels.packed import keep_array, pack, pixel_key
from tailwise.pixels.rows import Rows
from tailwise.pixels.standardise import Standardise
from tailwise.pixels.view import View

__all__ = ["Normalise", "Rows", "Standardise", "View", "keep_array", "pack", "pixel_key"]
