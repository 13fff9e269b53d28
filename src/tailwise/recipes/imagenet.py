"""ImageNet-LT from scratch, as the decoupling paper and the survey's own benchmark train it; a GPU's work."""

from dataclasses import replace

from tailwise.optim import SGD, Cosine
from tailwise.pixels import Normalise
from tailwise.pixels.augment import ColourJitter, Flip, ResizedCrop
from tailwise.recipe import Recipe

SURVEY = "the survey's ImageNet-LT benchmark (Zhang et al., TPAMI 2023)"
DECOUPLING = "Kang et al., ICLR 2020"

RECIPE = Recipe(
    name="imagenet",
    net="resnext50_32x4d",
    image_size=224,
    epochs=90,
    batch_size=256,
    optimiser=SGD(0.1, momentum=0.9, weight_decay=5e-4),
    schedule=Cosine(),
    augment=(ResizedCrop(smallest=0.08), Flip(), ColourJitter(0.4, 0.4, 0.4)),
    normalise=Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    threads=2,
    sources={
        "net": SURVEY + ": ResNeXt-50 (32x4d) from scratch",
        "image_size": DECOUPLING + "; our images keep no margin around the crop, theirs are cut 224 of 256",
        "epochs": SURVEY + ": 90, or 200 with --set recipe.epochs=200",
        "batch_size": SURVEY,
        "optimiser": SURVEY,
        "schedule": DECOUPLING + ": cosine to zero, no warm-up",
        "augment": DECOUPLING + ": resized crop, flip, colour jitter 0.4; boxes are cut from images stored at 224 pixels",
        "normalise": "ImageNet's means and deviations",
        "threads": "ours; without meaning on a GPU",
        "second": DECOUPLING + ": 10 epochs; the rate is the survey's, half of theirs at half their batch",
    },
)
RECIPE = replace(RECIPE, second=replace(RECIPE, name="imagenet, second stage", epochs=10, sources={}))
