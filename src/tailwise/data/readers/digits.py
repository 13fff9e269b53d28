"""Reader of `digits`: 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn."""

from __future__ import annotations

import random

import numpy as np

from tailwise.data.manifest import Manifest
from tailwise.data.readers.arrays import from_arrays


def read_digits() -> Manifest:
    """Read scikit-learn's digits (Alpaydin and Kaynak, UCI, 1998): real images that need no download.

    Returns:
        1,797 images (8, 8, 1) uint8 of ten classes, 174 to 183 each, all `train`. Values 0..16 are scaled to 0..255 and rounded.
        Ids are `digits/0000` onwards, in the order of scikit-learn's file.
    """
    state = random.getstate()
    from sklearn.datasets import load_digits  # heavy, and needed by nothing else here

    random.setstate(state)  # the first import of scikit-learn draws from Python's generator, which is the caller's
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    read = from_arrays(labels, images=images, classes=[str(digit) for digit in range(10)], name="digits")
    return Manifest(read.rows, read.classes, None, read.arrays, "digits", ("read from scikit-learn's load_digits: 1,797 images",))
