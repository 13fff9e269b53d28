"""Progress on stderr where there is a terminal, a question before what takes long, and a gentle end on Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class StepProgress:
    """Counts trained steps and draws a bar with the time left.

    Args:
        total: steps to be trained, as far as planned.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.trained = 0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self.bar.add_task("", total=total)

    def label(self, text: str) -> None:
        """Say what is being trained."""
        self.bar.update(self._task, description=text)

    def watch(self, leg: Any, done: int, trained: int) -> None:
        """Hear of a step."""
        if trained == 0:
            return
        self.trained += 1
        self.bar.update(self._task, completed=self.trained)


def image_progress(doing: str = "decoding images") -> tuple[Progress, Callable[[int, int], None]]:
    """Give a bar for images, and what to call with images done and in all."""
    bar = Progress(
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    task = bar.add_task("", total=None)
    return bar, lambda done, total: bar.update(task, completed=done, total=total)


def tell(sentence: str) -> None:
    """Say something on the way, beside the results."""
    print(f"tailwise: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def gently() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, or the first wish of a scheduler to end, into a wish that training ends after its step.

    A second one ends at once.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        tell("ending after this step ...")

    before = {kind: signal.signal(kind, ask) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


LONG = 3600.0
"""Seconds above which one is asked before anything begins."""


def agreed(seconds: float) -> bool:
    """Ask before what takes above an hour, where somebody is there to answer."""
    if seconds <= LONG or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print("This is above an hour. Begin? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("not begun", file=sys.stderr)
    return False
