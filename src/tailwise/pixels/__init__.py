"""Pixels: every image decoded once into packed bytes, and batched augmentation on the device.

Lives here: the pixel store, rows of a split as training sees them, views and augmentations. Not here: what opens an image file
(`data.images`), which rows a step shows (`training`). May import torch, NumPy, `tailwise.data.images` and the vocabulary.
"""

from tailwise.pixels.encoded import Encoded, held_as
from tailwise.pixels.normalise import Normalise
from tailwise.pixels.packed import keep_array, pack, pixel_key
from tailwise.pixels.rows import Rows
from tailwise.pixels.standardise import Standardise
from tailwise.pixels.view import View

__all__ = ["Encoded", "Normalise", "Rows", "Standardise", "View", "held_as", "keep_array", "pack", "pixel_key"]
