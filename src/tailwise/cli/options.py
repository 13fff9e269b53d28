"""What commands have in common: shared options, and checks of names before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tailwise.catalogue import expand, find
from tailwise.data.names import NAMES
from tailwise.errors import BadData, UnknownName
from tailwise.study.words import DataWords, TrainingWords

Reading = Annotated[DataWords | None, Parameter(name="*")]
Training = Annotated[TrainingWords | None, Parameter(name="*")]


def check_names(data: str, methods: str, recipe: str) -> None:
    """Refuse data, methods, modifiers and recipes that are not there, by their names alone.

    Raises:
        UnknownName: with the nearest names.
        BadData: neither a known name nor a path that exists.
    """
    expand(methods)
    find("recipe", recipe)
    if data not in NAMES and not Path(data).exists():
        near = UnknownName("data set or path", data, NAMES)
        raise BadData(f"{near.args[0]} Give a folder of class folders, an .npz file, or the name of a data set.")
