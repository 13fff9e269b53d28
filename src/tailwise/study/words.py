"""The words of a command, the same on the command line and in Python: how data are read, and how is trained. Nothing heavy here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tailwise.counts import ESTIMATED, PRIOR_WORDS
from tailwise.errors import BadData


@dataclass(frozen=True)
class DataWords:
    """How data are read.

    Attributes:
        root: Folder that the paths of a table start from, or where the images of a saved manifest are now. Default: the table's own.
        split: Shares of train, val and test a class, as in 80/10/10. Default: the data's own, or 72/8/20 where there are none.
        tail: Thin the training classes: exponential:R, step:R, pareto:A, uniform:LO:HI, balanced:N or counts:FILE.
        split_seed: Seed of split, folds and tail.
        empty_classes: What to do with classes without training images.
        groups: How classes are grouped. Default: counts (many > 100, few < 20 images), or thirds where a group would be empty.
        columns: Names of a table's columns where they are not recognised, as in path=file,label=species.
        generated_weight: Weight of a generated image in training, where a real one has 1; 0 leaves them out. Default: as the data say.
        format: What DATA is, where it is not to be recognised: coco, list, table, ... (an unknown name lists all).
    """

    root: Path | None = None
    split: str | None = None
    tail: str | None = None
    split_seed: int = 0
    empty_classes: Literal["refuse", "keep", "drop"] = "refuse"
    groups: Literal["counts", "thirds"] | None = None
    columns: str | None = None
    generated_weight: float | None = None
    format: str | None = None


@dataclass(frozen=True)
class TrainingWords:
    """How is trained.

    Attributes:
        recipe: Epochs, batch, optimiser, schedule, augmentation; `tailwise show RECIPE` prints every value.
        net: Network. Default: the recipe's.
        settings: Set a knob, as in --set max_margin=0.3, --set ldam.scale=20 or --set recipe.epochs=20; may be repeated.
        device: Where to train.
        precision: What networks compute in: fp32, or bf16, about twice as fast where the CPU or GPU has it; weights and loss stay fp32.
        threads: torch threads of the training process, or auto: the number that is fastest here, measured once. Default: the recipe's.
        speed: How the arithmetic is laid out: fast; plain, to check it against; or compiled, for runs of thousands of steps.
        allow: Let methods learn on the images of this split too, without their labels, as sade(aggregate=yes) does; reports say so.
        processes: Train each run on this many processes of the CPU, which share every batch. Default: one.
        gpus: Train each run on this many GPUs, one process each, which share every batch. Default: one.
    """

    recipe: str = "head"
    net: str | None = None
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = ()
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | Literal["auto"] | None = None
    allow: Annotated[tuple[Literal["test", "val"], ...], Parameter(negative="")] = ()
    precision: Literal["fp32", "bf16"] = "fp32"
    speed: Literal["fast", "plain", "compiled"] = "fast"
    processes: int | None = None
    gpus: int | None = None


def check_test_prior(expected: str | Path) -> None:
    """Refuse a prior at test that is neither a word nor a file.

    Raises:
        BadData: with the nearest word.
    """
    words = (*PRIOR_WORDS, ESTIMATED)
    if str(expected) in words or Path(expected).exists():
        return
    near = difflib.get_close_matches(str(expected), words, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Give {', '.join(words)}, or a file with a count or share of each class."
    raise BadData(f"test prior {str(expected)!r} is no word and no file. {hint}")
