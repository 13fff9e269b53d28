"""A pre-trained network, all of it trained on: minutes for hundreds of photographs on a CPU, a GPU for more."""

from dataclasses import replace

from tailwise.method import Learn
from tailwise.optim import AdamW, Cosine
from tailwise.pixels.augment import ColourJitter, Flip, ResizedCrop
from tailwise.recipe import Recipe

OURS = "ours: gentle enough for a few hundred photographs"

RECIPE = Recipe(
    name="finetune",
    net="efficientnet-lite0",
    pretrained=True,
    image_size=160,
    epochs=10,
    batch_size=32,
    least_steps=12,
    optimiser=AdamW(3e-4, weight_decay=0.05),
    schedule=Cosine(warmup=2),
    augment=(ResizedCrop(smallest=0.5), Flip(), ColourJitter(0.2, 0.2, 0.2)),
    learn=(Learn("net.head.*", rate=10.0), Learn()),
    clip=1.0,
    threads=2,
    sources={
        "net": "weights come with a package, so nothing is downloaded",
        "pretrained": "what fine-tuning is",
        "image_size": "ours: half the time of 224",
        "epochs": OURS,
        "batch_size": OURS,
        "least_steps": "ours: enough steps on a handful of images",
        "optimiser": OURS,
        "schedule": "cosine to zero, Kang et al. (ICLR 2020); a short warm-up, ours",
        "augment": "the ImageNet chain of the field, milder because the network is trained already: ours",
        "normalise": "of the pre-trained network",
        "learn": "the head is new and learns ten times as fast: ours",
        "clip": OURS,
        "threads": "ours: convolutions at this size gain from a second core",
        "second": "ours: 5 epochs, at the rate at which the head learnt before",
    },
)
SECOND = replace(RECIPE, name="finetune, second stage", epochs=5, optimiser=AdamW(3e-3, weight_decay=0.05), sources={})
RECIPE = replace(RECIPE, second=SECOND)
