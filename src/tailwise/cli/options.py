"""What commands have in common: shared options, and checks of names before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from cyclopts import Parameter

from tailwise.data.names import ACCEPTED, NAMES
from tailwise.errors import BadData, UnknownName
from tailwise.registry import expand, find
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
    check_data(data)


def check_data(data: str) -> None:
    """Refuse data that are neither a known name nor a path that exists.

    Raises:
        BadData: with the nearest name, and what can be read.
    """
    if data not in NAMES and not Path(data).exists():
        near = UnknownName("data set or path", data, NAMES)
        raise BadData(f"{near.args[0]} Give {ACCEPTED}, or the name of a data set.")


def typed(*words: Any, leave_out: Sequence[str] = ()) -> str:
    """Write options as one would type them, those at their defaults left out, with a space before.

    >>> typed(DataWords(tail="exponential:10"), TrainingWords(settings=("recipe.epochs=3",)))
    ' --tail exponential:10 --set recipe.epochs=3'
    """
    said = []
    for options in words:
        for field in fields(options):
            value = getattr(options, field.name)
            if value == field.default or field.name in leave_out:
                continue
            name = "set" if field.name == "settings" else field.name.replace("_", "-")
            said += [f" --{name} {quote(str(one))}" for one in (value if isinstance(value, tuple) else (value,))]
    return "".join(said)
