"""Progress on stderr: a bar where there is a terminal, one line of estimate everywhere; and a gentle end on Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ESTIMATE_AFTER = 25
SKIPPED = 5


class StepProgress:
    """Counts trained steps, tells the time left after the first ones, and draws a bar.

    Args:
        total: steps to be trained, as far as planned.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.trained = 0
        self._started = 0.0
        self._label = ""
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(),
            console=self.console,
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
        if self.trained == SKIPPED:
            self._started = time.perf_counter()
        if self.trained == ESTIMATE_AFTER and self.total > 2 * ESTIMATE_AFTER:
            each = (time.perf_counter() - self._started) / (ESTIMATE_AFTER - SKIPPED)
            left = each * (self.total - self.trained)
            self.console.print(
                f"estimate: {duration(left)} for {self.total - self.trained:,} steps at {1000 * each:.1f} ms a step", soft_wrap=True
            )


def duration(seconds: float) -> str:
    """Say a time in the unit one would use.

    >>> duration(42), duration(600), duration(9000)
    ('about 42 s', 'about 10 min', 'about 2 h 30 min')
    """
    if seconds < 100:
        return f"about {seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 100 else f"about {minutes // 60} h {minutes % 60} min"


def image_progress() -> tuple[Progress, Callable[[int, int], None]]:
    """Give a bar for decoding images, and what to call with images done and in all."""
    bar = Progress(
        TextColumn("decoding images"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    task = bar.add_task("", total=None)
    return bar, lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def gently() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a wish that training ends after its step; a second one ends at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("tailwise: ending after this step ...", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
