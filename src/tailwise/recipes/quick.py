"""A first answer on somebody's photographs without a GPU: small images, a small network, few epochs."""

from dataclasses import replace

from tailwise.optim import SGD, Cosine
from tailwise.pixels import Normalise
from tailwise.pixels.augment import ColourJitter, Flip, ResizedCrop
from tailwise.recipe import Recipe

OURS = "ours: small enough for minutes on a laptop"

RECIPE = Recipe(
    name="quick",
    net="resnet20",
    image_size=32,
    epochs=30,
    batch_size=64,
    optimiser=SGD(0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
    schedule=Cosine(warmup=2),
    augment=(ResizedCrop(smallest=0.35), Flip(), ColourJitter(0.2, 0.2, 0.2)),
    normalise=Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    clip=5.0,
    sources={
        "net": OURS,
        "image_size": OURS,
        "epochs": OURS,
        "batch_size": OURS,
        "optimiser": "the usual setting for CIFAR-sized networks from scratch (RIDE, BalPoE)",
        "schedule": "cosine to zero, Kang et al. (ICLR 2020); a short warm-up, ours",
        "augment": "the ImageNet chain of the field, milder because images are small: ours",
        "normalise": "ImageNet's means and deviations",
        "clip": "ours: keeps a first run from diverging",
        "second": "ours: 10 epochs, cosine, as Kang et al. for ImageNet-LT",
    },
)
RECIPE = replace(RECIPE, second=replace(RECIPE, name="quick, second stage", epochs=10, schedule=Cosine(), sources={}))
