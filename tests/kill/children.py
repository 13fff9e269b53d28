"""Commands in processes of their own that tell how far they are, so that they can be killed anywhere on purpose.

They are forked from one process that has imported everything and done nothing yet, run the real command, and write a line to a pipe at
every step of training, at every state that is stored, and at every sync on the way. Nothing of what they do depends on who listens.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

PATIENCE = 180.0
"""Seconds without a word after which a test gives up: far above what anything here takes."""


@dataclass(frozen=True)
class Event:
    """What a child says of itself.

    Attributes:
        kind: `begun`, `image` (features of one batch more are computed), `stage` (one begins or goes on), `step`, `storing`, `stored`,
            `predicting`, `writing`, `written`, and `sync` for every file and folder that is forced to disk.
        line: of a stage or step.
        done: steps of the line.
        start: step of the line at which the stage starts.
        stop: step at which it ends.
        epoch: steps an epoch.
        origin: steps of the run before the line.
    """

    kind: str
    line: str = "-"
    done: int = 0
    start: int = 0
    stop: int = 0
    epoch: int = 1
    origin: int = 0

    def __str__(self) -> str:
        return " ".join(str(value) for value in vars(self).values())

    @classmethod
    def read(cls, words: str) -> Event:
        kind, line, *numbers = words.split()
        return cls(kind, line, *map(int, numbers))


def landing(heard: Sequence[Event]) -> str:
    """Say at what a command was when it said its last word."""
    kinds = [event.kind for event in heard]
    ahead = [event for event in heard if event.kind in ("stage", "step", "predicting")]
    if "written" in kinds:
        return "after the run stood"
    if "writing" in kinds:
        return "while the run was written"
    if not ahead:
        return "while features were computed" if "image" in kinds else "before training"
    if kinds.count("storing") > kinds.count("stored"):
        return "while a state was written"
    last = ahead[-1]
    if last.kind == "predicting":
        return "while it predicted"
    if last.done == last.stop or (last.kind == "stage" and last.origin + last.start):
        return "at a stage's boundary"
    if last.kind == "stage":
        return "before the first step"
    later = "a later stage's" if last.origin + last.start else "the first stage's"
    return f"between {later} epochs" if last.done % last.epoch == 0 else f"in the middle of {later} epoch"


class Child:
    """A command in a process of its own.

    Args:
        ask: asks the process that forks.
        pid: of the command's process.
        place: of its output.
        pipe: what it says.
    """

    def __init__(self, ask: Callable[..., Any], pid: int, place: Path, pipe: int) -> None:
        self._ask, self.pid, self._place, self._pipe = ask, pid, place, pipe
        self._code: int | None = None
        self._rest = b""
        self.heard: list[Event] = []

    def listen(self) -> Event | None:
        """Give the next event, or None when there are no more."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._pipe], [], [], PATIENCE)
            assert ready, f"nothing more was said after {self.heard[-1:]}: {self.err}"
            said = os.read(self._pipe, 65536)
            if not said:
                return None
            self._rest += said
        line, _, self._rest = self._rest.partition(b"\n")
        self.heard.append(Event.read(line.decode()))
        return self.heard[-1]

    def until(self, holds: Callable[[Event], bool], times: int = 1) -> bool:
        """Listen until so many events have fitted; False when the process ended before."""
        while times and (event := self.listen()):
            times -= holds(event)
        return not times

    def code(self) -> int | None:
        """Exit code, the negative number of the signal that killed it, or None while it lives."""
        if self._code is None:
            self._code = self._ask(pid=self.pid)
        return self._code

    def wait(self) -> int:
        """Hear it out, and give its exit code."""
        while self.listen():
            pass
        while self.code() is None:
            time.sleep(0.002)
        assert self._code is not None
        return self._code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still lives."""
        if self.code() is None:
            os.kill(self.pid, number)

    def close(self) -> None:
        """Kill it where it still lives."""
        self.signal(signal.SIGKILL)
        os.close(self._pipe)

    @property
    def out(self) -> str:
        return self._place.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        return self._place.with_suffix(".err").read_text()


Start = Callable[..., Child]


@contextmanager
def children(place: Path) -> Iterator[Start]:
    """Yield what starts commands; all that still live at the end are killed.

    What starts takes the words of a command, the folder to run in, how often it keeps a state in the middle, environment variables, and
    `dies_at`: (one of the places that `landing` names, at the how-manieth event there, number of the signal that it then sends itself).
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    started: list[Child] = []

    def ask(**request: Any) -> Any:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    def start(*words: str, cwd: Path, keep_seconds: float = 60.0, dies_at: tuple[Any, ...] | None = None, **environment: str) -> Child:
        output = place / f"child-{len(started)}"
        for suffix in (".out", ".err"):
            output.with_suffix(suffix).touch()
        os.mkfifo(output.with_suffix(".pipe"))
        pipe = os.open(output.with_suffix(".pipe"), os.O_RDONLY | os.O_NONBLOCK)
        request = {"words": words, "cwd": str(cwd), "environment": environment, "output": str(output)}
        started.append(Child(ask, ask(**request, keep_seconds=keep_seconds, dies_at=dies_at), output, pipe))
        return started[-1]

    try:
        yield start
    finally:
        for child in started:
            child.close()
        server.stdin.close()  # type: ignore[union-attr]
        server.wait()


# --- in the process that forks, and in those that are forked ----------------------------------------------------------


def serve() -> None:
    """Fork a process for each command that is asked for, and say how those asked after fare."""
    import polars  # noqa: F401
    import timm  # noqa: F401
    import torch  # noqa: F401
    from sklearn.datasets import load_digits

    import tailwise.api
    import tailwise.cli.running
    import tailwise.study.estimate  # noqa: F401

    load_digits()
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            pid, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            pipe = os.open(request["output"] + ".pipe", os.O_WRONLY)  # before the fork, so that whoever reads finds a writer
            if (answer := os.fork()) == 0:
                become(**request, pipe=pipe)
            os.close(pipe)
        print(json.dumps(answer), flush=True)


def become(
    words: list[str], cwd: str, environment: dict[str, str], output: str, keep_seconds: float, dies_at: list[Any] | None, pipe: int
) -> None:
    """Be the command from here on."""
    from tailwise.cli import run

    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output + suffix, os.O_WRONLY | os.O_APPEND), number)
    code = 70
    try:
        os.chdir(cwd)
        os.environ.update(environment)
        tell_all(teller(pipe, dies_at))
        training = importlib.import_module("tailwise.training")
        training.RunSettings = partial(training.RunSettings, keep_seconds=keep_seconds)  # type: ignore[attr-defined]
        code = run(words)
    except KeyboardInterrupt:  # before the command could take it
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


Tell = Callable[[Event], None]


def teller(pipe: int, dies_at: list[Any] | None) -> Tell:
    """Give what writes an event to the pipe, and sends this process the signal where it is to die."""
    place, left, number = dies_at or (None, 0, 0)
    heard: list[Event] = []

    def tell(event: Event) -> None:
        nonlocal left
        heard.append(event)
        os.write(pipe, f"{event}\n".encode())
        if place is not None and landing(heard) == place:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    tell(Event("begun"))
    return tell


def tell_all(tell: Tell) -> None:
    """Have the command tell of all that it does; each function does what it did."""

    def told(room: str, name: str, before: str, after: str = "") -> None:
        owner = importlib.import_module(room)
        plain = getattr(owner, name)

        @wraps(plain)
        def telling(*args: Any, **words: Any) -> Any:
            tell(Event(before))
            made = plain(*args, **words)
            if after:
                tell(Event(after))
            return made

        setattr(owner, name, telling)

    told("tailwise.training.line", "save_state", "storing", "stored")
    told("tailwise.training.run", "sweep", "predicting")
    told("tailwise.study.runs", "whole_folder", "writing", "written")
    told("tailwise.disk", "sync", "sync")
    tell_steps(tell)


def tell_steps(tell: Tell) -> None:
    """Tell of every image whose features are computed, and of every step."""
    progress = importlib.import_module("tailwise.cli.progress")
    plain_watch, plain_images = progress.StepProgress.watch, progress.image_progress

    def watch(self: Any, leg: Any, done: int, trained: int) -> None:
        plain_watch(self, leg, done, trained)
        tell(Event("step" if trained else "stage", leg.line, done, leg.start, leg.stop, leg.steps, leg.origin))

    def image_progress(*words: Any) -> Any:
        bar, seen = plain_images(*words)

        def see(done: int, total: int) -> None:
            seen(done, total)
            tell(Event("image", done=done, stop=total))

        return bar, see

    progress.StepProgress.watch, progress.image_progress = watch, image_progress


if __name__ == "__main__":
    serve()
