"""The plan: the twelve usual methods end to end, beside twelve runs of the published loop, at a small scale of the published recipe."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cifar100 import Pixels
from peer import ResNet32, endless, optimiser, test_pass, train_step
from rounds import Timed, race

import tailwise as tw
from tailwise.store import Store
from training import precisions

METHODS = "ce,ce-drw,crt,lws,la,ncm,ldam,ldam-drw,balanced-softmax,focal,class-balanced,mixup"
SECOND_STAGES = ("crt", "lws")
EPOCHS, HEAD_EPOCHS, OF_IMAGES = 10, 1, 40
"""Of 200 and 10 epochs; the share of the images, so that all of it is 1/800 of the published arithmetic."""

BARS = {
    "tailwise, fp32, val at every epoch": (2.2, 2.8),
    "tailwise, bf16, val at every epoch": (3.8, 4.8),
    "tailwise, fp32, measured at the end": (2.7, 3.4),
    "tailwise, bf16, measured at the end": (4.7, 6.0),
}


def rows(pixels: Pixels, place: Path, rounds: int, smoke: bool = False) -> Iterator[Timed]:
    """Time a whole `tw.compare`, report and all, beside twelve separate runs.

    The published loop tests after every epoch. Ours does the same on val, on as many images; and by its own schedule, at the end alone.
    """
    epochs, methods = (1, "ce,la") if smoke else (EPOCHS, METHODS)
    few = fewer(pixels, OF_IMAGES)
    half = len(few.test) // 2
    data = place / "few.npz"
    parts = {
        "train": (few.train, few.train_labels),
        "val": (few.test[:half], few.test_labels[:half]),
        "test": (few.test[half:], few.test_labels[half:]),
    }
    np.savez(data, **{f"{kind}_{part}": array for part, both in parts.items() for kind, array in zip("xy", both, strict=True)})

    def ours(precision: str, every: int) -> Callable[[int], object]:
        def run(number: int) -> None:
            shutil.rmtree(place / "run", ignore_errors=True)
            words = [f"recipe.epochs={epochs}", f"recipe.second.epochs={HEAD_EPOCHS}", f"recipe.measure_every={every}"]
            tw.compare(
                data, methods, seeds=1, recipe="cifar", settings=words, precision=precision, threads=torch.get_num_threads(),
                out=place / "run/study", store=Store(place / "run/store"),
            )  # fmt: skip

        return run

    def peer(number: int) -> None:
        tested = replace(few, test=few.test[:half], test_labels=few.test_labels[:half])
        for method in methods.split(","):
            publish(tested, epochs, HEAD_EPOCHS if method in SECOND_STAGES else 0)

    variants: dict[str, Callable[[int], object]] = {"twelve published runs": peer}
    schedules = {"val at every epoch": 1} if smoke else {"val at every epoch": 1, "measured at the end": 0}
    for said, every in schedules.items():
        variants |= {f"tailwise, {precision}, {said}": ours(precision, every) for precision in precisions()[: 1 if smoke else None]}
    yield from race(f"twelve methods, {epochs} epochs of {len(few.train)} images", variants, rounds, BARS)


def publish(pixels: Pixels, epochs: int, head_epochs: int) -> None:
    """Train and test one network as published; a second stage goes through the network for every image of every epoch."""
    net = ResNet32().train()
    sgd, steps = optimiser(net), -(-len(pixels.train) // 128)
    batches = endless(pixels.train, pixels.train_labels, 0)
    for _ in range(epochs):
        for _ in range(steps):
            train_step(net, sgd, *next(batches))
        test_pass(net, pixels.test, pixels.test_labels)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.startswith("linear"))
    for _ in range(head_epochs):
        for _ in range(steps):
            train_step(net, sgd, *next(batches))
        test_pass(net, pixels.test, pixels.test_labels)


def fewer(pixels: Pixels, share: int) -> Pixels:
    """Give one of so many images, the first of each class among them, and as large a share of the test images."""
    wanted = max(1, len(pixels.train) // share)
    labels = pixels.train_labels
    first = np.unique(labels, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(labels)), first)
    extra = rest[:: max(1, len(rest) // max(1, wanted - len(first)))][: max(0, wanted - len(first))]
    train = np.sort(np.concatenate([first, extra]))
    test = np.arange(0, len(pixels.test), max(1, share // 2))  # one half of them for val
    return Pixels(pixels.train[train], labels[train], pixels.test[test], pixels.test_labels[test])
