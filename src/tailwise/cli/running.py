"""What `train` and `compare` have in common once their words are checked: features, progress, a gentle end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tailwise.study.setup import Setup
    from tailwise.study.tree import Steps
    from tailwise.training import RunSettings


@contextmanager
def running(setup: Setup, steps: Steps) -> Iterator[tuple[Setup, RunSettings, Callable[[str], None]]]:
    """Decode images or compute features where they are missing, then draw a bar of steps and turn the first Ctrl-C into a gentle end.

    Yields:
        The setup, ready; where and how to run; what to call with the name of what is being trained.
    """
    from tailwise.cli.progress import StepProgress, gently, image_progress, tell
    from tailwise.training import RunSettings

    bar, seen = image_progress("features of images" if setup.extractor else "decoding images")
    with bar:
        setup = setup.ready(seen)
    progress = StepProgress(steps.ahead)
    with gently() as interrupted, progress.bar:
        yield setup, RunSettings(setup.store, setup.device, progress.watch, interrupted, tell), progress.label
