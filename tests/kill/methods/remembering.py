"""A queue and a momentum copy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from objectives import Remembering

from tailwise.losses import CrossEntropyLoss
from tailwise.method import About, Card, Method, Stage, Stream, method


@method(Card(title="A queue and a momentum copy", family="representation"))
@dataclass(frozen=True)
class Queue(Method):
    """One stage over two views of a row."""

    def stages(self, about: About) -> Iterable[Stage]:
        yield Stage(objective=Remembering(CrossEntropyLoss()), streams={"main": Stream(views=("recipe", "recipe"))})
