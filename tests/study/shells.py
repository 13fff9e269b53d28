"""Commands in processes of their own that begin at once: forked from one that has imported everything and done nothing yet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""Seconds after which a test gives up: far above what anything here takes."""


class Shell:
    """A command in a process of its own.

    Args:
        ask: asks the process that forks.
        pid: of the command's process.
        place: of its output.
    """

    def __init__(self, ask: Callable[..., Any], pid: int, place: Path) -> None:
        self._ask, self.pid, self._place = ask, pid, place
        self._code: int | None = None

    def code(self) -> int | None:
        """Exit code, the negative number of the signal that killed it, or None while it lives."""
        if self._code is None:
            self._code = self._ask(pid=self.pid)
        return self._code

    def wait(self) -> int:
        """Wait for its end."""
        until(lambda: self.code() is not None, self)
        assert self._code is not None
        return self._code

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> bool:
        """Kill it where it still lives, and say whether it was killed."""
        if self.code() is None:
            self.signal(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    @property
    def out(self) -> str:
        return self._place.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        return self._place.with_suffix(".err").read_text()


def until(holds: Callable[[], bool], *shells: Shell) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, [shell.err for shell in shells]
        time.sleep(0.003)


Start = Callable[..., Shell]


@contextmanager
def shells(place: Path) -> Iterator[Start]:
    """Yield what starts commands, in an empty folder; all that still live at the end are killed.

    What starts takes the words of a command, environment variables, and `dies_before`: the end of a path that is about to be renamed to.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    started: list[Shell] = []

    def ask(**request: Any) -> Any:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    def start(*words: str, cwd: Path, dies_before: str | None = None, **environment: str) -> Shell:
        output = place / f"shell-{len(started)}"
        for suffix in (".out", ".err"):
            output.with_suffix(suffix).touch()
        pid = ask(words=words, cwd=str(cwd), environment=environment, output=str(output), dies_before=dies_before)
        started.append(Shell(ask, pid, output))
        return started[-1]

    try:
        yield start
    finally:
        for shell in started:
            shell.kill()
        server.stdin.close()  # type: ignore[union-attr]
        server.wait()


def serve() -> None:
    """Fork a process for each command that is asked for, and say how those asked after fare."""
    import polars  # noqa: F401
    import timm  # noqa: F401
    import torch  # noqa: F401
    from sklearn.datasets import load_digits

    import tailwise.api
    import tailwise.cli.compare
    import tailwise.cli.running
    import tailwise.study.estimate  # noqa: F401

    load_digits()
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            pid, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            become(**request)
        print(json.dumps(answer), flush=True)


def become(words: list[str], cwd: str, environment: dict[str, str], output: str, dies_before: str | None) -> None:
    """Be the command from here on."""
    from tailwise.cli import run

    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output + suffix, os.O_WRONLY | os.O_APPEND), number)
    os.chdir(cwd)
    os.environ.update(environment)
    if dies_before is not None:
        die_before(dies_before)
    code = 70
    try:
        code = run(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def die_before(ending: str) -> None:
    """Have this process killed when it is about to give something a name that ends so."""

    def deadly(plain: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, **words: Any) -> None:
            if os.fspath(target).endswith(ending):
                os.kill(os.getpid(), signal.SIGKILL)
            plain(source, target, **words)

        return rename

    os.rename, os.replace = deadly(os.rename), deadly(os.replace)


if __name__ == "__main__":
    serve()
