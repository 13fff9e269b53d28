"""Options that several commands share, with the same words and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from tailwise.errors import BadData, BadValue

if TYPE_CHECKING:
    from tailwise.study.setup import DataWords


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """How DATA is read."""

    root: Path | None = None
    "Folder of relative paths."
    split: str | None = None
    "Shares of train, val and test per class, as in 80/10/10. Default: the data's own, or 72/8/20 where there are none."
    tail: str | None = None
    "Thin the training classes: exponential:R, step:R, pareto:A, uniform:LO:HI or counts:FILE."
    split_seed: int = 0
    "Seed of split and tail."
    empty_classes: Literal["refuse", "keep", "drop"] = "refuse"
    "What to do with classes without training images."
    groups: Literal["counts", "thirds"] | None = None
    "How classes are grouped. Default: counts (many > 100, few < 20 images), or thirds where a group would be empty."

    def words(self, data: str) -> DataWords:
        """Give the words for the study."""
        from tailwise.study.setup import DataWords

        return DataWords(data, self.root, self.split, self.tail, self.split_seed, self.empty_classes, self.groups)


@Parameter(name="*")
@dataclass(frozen=True)
class TrainingOptions:
    """How to train."""

    recipe: str = "quick"
    "Epochs, batch, optimiser, schedule, augmentation, by name; `tailwise show RECIPE` prints every value."
    net: str | None = None
    "Network by name. Default: the recipe's."
    setting: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = ()
    "Set a knob, as in --set max_margin=0.3, --set ldam.scale=20 or --set recipe.epochs=20; may be repeated."
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    "Where to train."
    threads: int | None = None
    "torch threads of the training process. Default: the recipe's."


def check_data_name(data: str) -> None:
    """Refuse data that cannot be there before anything heavy is imported.

    Raises:
        BadData: neither a known name nor a path that exists.
    """
    from tailwise.errors import UnknownName

    if data != "digits" and not Path(data).exists():
        near = UnknownName("data set or path", data, ["digits"])
        raise BadData(f"{near.args[0]} Give a folder of class folders, an .npz file, or the name digits.")


def check_names(methods: list[str], recipe: str) -> None:
    """Refuse unknown methods, modifiers and recipes by their file names, before anything heavy is imported.

    Raises:
        UnknownName: with the nearest names.
    """
    from tailwise.catalogue import entries, find, split_outside

    families = {entry.family.replace(" ", "_") for entry in entries("method").values()} | {e.family for e in entries("method").values()}
    for text in methods:
        first, *rest = (part.partition("(")[0].strip() for part in split_outside(text, "+"))
        if first.endswith(".py"):
            if not Path(first).is_file():
                raise BadData(f"no file {first}; a method is a name of `tailwise methods` or the path of a Python file")
        elif first != "all" and first not in families:
            find("method", first)
        for part in rest:
            find("modifier", part)
    find("recipe", recipe)


def check_seeds(seeds: int) -> None:
    """Refuse a number of seeds below one."""
    if seeds < 1:
        raise BadValue(f"--seeds is a whole number from 1, got {seeds}")
