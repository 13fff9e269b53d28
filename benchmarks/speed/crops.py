"""Input: a padded crop, a flip and normalisation of CIFAR images, beside the chains that are run one image at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from cifar100 import Pixels
from numpy.typing import NDArray
from peer import BY_PILLOW, MEAN, STD, TRAIN, endless
from rounds import Timed, race

from tailwise import seeds
from tailwise.pixels import Normalise, Rows, View
from tailwise.pixels.augment import Flip, PadCrop

CPU = torch.device("cpu")
BATCHES = 60


def rows(pixels: Pixels, rounds: int, smoke: bool = False) -> Iterator[Timed]:
    """Time the chain, beside a loop of Pillow's functions and beside torchvision's transforms, each in a DataLoader."""
    images = len(pixels.train)
    source = Rows(tuple(map(str, range(images))), pixels.train, np.arange(images), pixels.train_labels)
    view = View((PadCrop(4), Flip()), Normalise(MEAN, STD))
    batches = 1 if smoke else BATCHES
    size = min(128, images)

    def ours(number: int) -> None:
        for step in range(batches):
            chosen: NDArray[np.int64] = seeds.generator(number, "order", step).integers(0, images, size)

            def draws(part: int, step: int = step) -> np.random.Generator:
                return seeds.generator(number, "view", part, step)

            view.of_rows(source, chosen, draws, slice(None), CPU)

    for name, chain, bar in (("Pillow's chain", BY_PILLOW, (25, 45)), ("torchvision's chain", TRAIN, (45, 80))):
        loader = endless(pixels.train, pixels.train_labels, 0, chain)

        def peer(number: int, loader: Iterator[object] = loader) -> None:
            for _ in range(batches):
                next(loader)

        yield from race(f"crop, flip, normalise {size} images of 32 pixels", {name: peer, "tailwise": ours}, rounds, {"tailwise": bar})
