"""LDAM-DRW's CIFAR protocol to the letter: `cifar_train.py` and `imbalance_cifar.py` of Cao et al., NeurIPS 2019."""

from dataclasses import replace

from tailwise.optim import SGD, Cosine, Steps
from tailwise.pixels import Normalise
from tailwise.pixels.augment import Flip, PadCrop
from tailwise.recipe import Recipe

PUBLISHED = "LDAM-DRW, cifar_train.py"

RECIPE = Recipe(
    name="cifar",
    net="resnet32",
    image_size=32,
    epochs=200,
    batch_size=128,
    optimiser=SGD(0.1, momentum=0.9, weight_decay=2e-4),
    schedule=Steps(5, (0.8, 0.9), (0.01, 0.0001)),
    augment=(PadCrop(4, "zeros"), Flip()),
    normalise=Normalise((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    sources={
        "net": PUBLISHED + ": ResNet-32 with option-A shortcuts",
        "image_size": "CIFAR's own",
        "epochs": PUBLISHED,
        "batch_size": PUBLISHED + "; the last, short batch is kept",
        "optimiser": PUBLISHED + "; weight decay on all parameters, BatchNorm and biases included",
        "schedule": PUBLISHED + ": rate e/5 in the first five epochs, x0.01 after 160, x0.0001 after 180",
        "augment": PUBLISHED + ": pad 4 with zeros, crop, flip",
        "normalise": PUBLISHED + "; CIFAR-10's figures, for CIFAR-100 too",
        "accumulate": PUBLISHED + ": none",
        "clip": PUBLISHED + ": none",
        "second": "ours: the protocol defines no second stage; 10 epochs and cosine are Kang et al.'s (ICLR 2020) for ImageNet-LT",
    },
)
RECIPE = replace(RECIPE, second=replace(RECIPE, name="cifar, second stage", epochs=10, schedule=Cosine(), sources={}))
