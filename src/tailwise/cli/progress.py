"""Progress on stderr where there is a terminal, a question before what takes long, and a gentle end on Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tailwise.cli.together import is_orphaned


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


SAME_WISH = 1.0
"""Seconds within which a second signal is the first one again: a scheduler, a launcher and a terminal may each send theirs."""


@contextmanager
def gently() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, or the first wish of a scheduler to end, into a wish that training ends after its step.

    A later one ends at once. One of several processes whose launcher is gone wishes to end, too.
    """
    asked: float | None = None

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked is not None and time.monotonic() - asked > SAME_WISH:
            raise KeyboardInterrupt
        if asked is None:
            asked = time.monotonic()
            tell("ending after this step ...")

    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield is_orphaned
        return
    heard = [kind for kind in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(kind) is not signal.SIG_IGN]
    before = {kind: signal.signal(kind, ask) for kind in heard}
    try:
        yield lambda: asked is not None or is_orphaned()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler if handler is not None else signal.SIG_DFL)


LONG = 3600.0
"""Seconds above which one is asked before anything begins."""


def agreed(seconds: float) -> bool:
    """Ask before what takes above an hour, where somebody is there to answer."""
    from tailwise import processes

    return processes.told(lambda: _agrees(seconds))


def _agrees(seconds: float) -> bool:
    if seconds <= LONG or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print("This is above an hour. Begin? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("not begun", file=sys.stderr)
    return False
