"""Jobs: more processes at one comparison, each with runs of its own.

A helper is this very command once more, without a word to say. Commands on one comparison share its work anyway: whoever is free takes the
next run that nobody is at, and waits for lines that another one trains. So a helper that dies leaves a run that somebody else takes up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import TracebackType

from tailwise.cli import together
from tailwise.errors import BadValue, Clash
from tailwise.study.words import TrainingWords

HELPS = together.HELPS
"""Set in a helper's environment."""


def is_helper() -> bool:
    """Say whether this process was started to help with another command's comparison."""
    return HELPS in os.environ


def check_jobs(jobs: int, training: TrainingWords) -> None:
    """Refuse numbers that cannot be, and several processes a run beside them.

    Raises:
        BadValue: below 1.
        Clash: with `--processes` or `--gpus`.
    """
    if jobs < 1:
        raise BadValue(f"--jobs is a whole number from 1, got {jobs}")
    if jobs > 1 and (training.processes or training.gpus):
        raise Clash("--jobs gives each process runs of its own, and --processes or --gpus share every run; give one of them")


class Jobs:
    """Helpers of a command: started once there is something to share, and gone when it ends.

    Args:
        jobs: processes in all, this one included; a helper itself has no helpers.
    """

    def __init__(self, jobs: int) -> None:
        self.wanted = 0 if is_helper() else jobs - 1
        self._helpers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the helpers, once: the comparison is claimed by now, and its images are decoded."""
        while self.wanted:
            self.wanted -= 1
            words = [sys.executable, "-P", "-m", "tailwise", *together.WORDS.get()]
            quiet = subprocess.DEVNULL
            environment = {**os.environ, HELPS: str(os.getpid())}
            self._helpers.append(subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet, env=environment))

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.wanted = 0
        for helper in self._helpers:
            if kind is not None:
                helper.terminate()  # it ends after its step, and what it has stands in the store
        for helper in self._helpers:
            helper.wait()
