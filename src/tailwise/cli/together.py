"""Several processes for one command: torchrun's launcher started from the command itself, and what each process then is.

Every process runs the same command; the first one writes and speaks. `torchrun -m tailwise ...` by hand does the same.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from tailwise.errors import BadValue

if TYPE_CHECKING:
    from tailwise.study.words import TrainingWords

COMMANDS = ("train", "compare", "demo")
"""What several processes do together; of any other command the first one alone makes sense."""

PATIENCE = timedelta(days=30)
"""How long processes wait for each other: the first may wait for another command that trains the same line."""

SPEAKING = 4.0
"""Seconds that the first process has to say why all end; then another may, and has as many."""

SHUTDOWN = 3600
"""Seconds that processes have to end after their step, or to leave a run, once they are asked to."""

KILLED = 3
"""Exit code where a process was killed: stopped on the way."""

WORDS: ContextVar[tuple[str, ...]] = ContextVar("words", default=())
"""The words of the command that is running, as they were typed."""


def command() -> str:
    """Write the command that is running as one types it again."""
    return shlex.join(("tailwise", *WORDS.get()))


def is_launched() -> bool:
    """Say whether a launcher started this process as one of several."""
    return "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1").isdigit() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def speaks() -> bool:
    """Say whether this process speaks for all: its own master, or the first of several."""
    return not is_launched() or os.environ.get("RANK") == "0"


@contextlib.contextmanager
def joined(words: Sequence[str]) -> Iterator[bool]:
    """Join the other processes where a launcher started several, and keep all but the first quiet.

    Args:
        words: of the command.

    Yields:
        Whether there is something to do here: several processes share only what trains.
    """
    if not is_launched():
        yield True
        return
    if not words or words[0] not in COMMANDS:
        yield speaks()
        return
    import torch
    import torch.distributed as dist

    with contextlib.ExitStack() as held:
        if not speaks():
            nowhere = held.enter_context(open(os.devnull, "w"))
            held.enter_context(contextlib.redirect_stdout(nowhere))
            held.enter_context(contextlib.redirect_stderr(nowhere))
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
        try:
            yield True
        finally:
            dist.destroy_process_group()


HELPS = "TAILWISE_HELPS"
"""Set in the environment of a process that helps another command, with that one's number."""

LAUNCHER = os.getppid() if is_launched() or HELPS in os.environ else None


def is_orphaned() -> bool:
    """Say whether the launcher or the command that started this process is gone, so that nobody waits for it."""
    return LAUNCHER is not None and os.getppid() != LAUNCHER


def lost_another(error: Exception) -> bool:
    """Say whether an error only tells that another process is gone."""
    said = str(error)
    told_by_torch = type(error).__name__.startswith("Dist") or "gloo" in said or "by peer" in said
    return is_launched() and isinstance(error, RuntimeError) and told_by_torch


def let_others_speak() -> None:
    """Wait where another process has more to say; the launcher ends all as soon as one has ended with an error."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(SPEAKING if not speaks() else 2 * SPEAKING)


def leave(code: int) -> NoReturn:
    """End one of several processes: without tearing the interpreter down, in which torch now and then aborts."""
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def several(training: TrainingWords) -> None:
    """Start the processes that `--processes` or `--gpus` ask for, and exit as they do; in these processes themselves, only check.

    Raises:
        BadValue: numbers that cannot be, or not here.
        SystemExit: with the exit code of the processes.
    """
    asked = training.processes if training.gpus is None else training.gpus
    if asked is None:
        return
    if training.gpus is not None and training.processes is not None:
        raise BadValue("--gpus and --processes exclude each other: a GPU has one process; give one of them")
    name = "--processes" if training.gpus is None else "--gpus"
    if asked < 1:
        raise BadValue(f"{name} is a whole number from 1, got {asked}")
    _check_device(training, name)
    if not is_launched():
        if asked > 1:
            raise SystemExit(start(asked))
    elif int(os.environ["WORLD_SIZE"]) != asked:
        raise BadValue(
            f"{name} {asked} does not fit the {os.environ['WORLD_SIZE']} processes that were started; leave it out under torchrun"
        )


def _check_device(training: TrainingWords, name: str) -> None:
    import torch

    if name == "--gpus":
        if training.device not in ("auto", "cuda"):
            raise BadValue(f"--gpus trains on GPUs, and --device is {training.device}; leave one of them out")
        if torch.cuda.device_count() < (training.gpus or 0):
            raise BadValue(f"--gpus {training.gpus}: this machine has {torch.cuda.device_count()}; --processes N trains on the CPU")
    elif training.device not in ("auto", "cpu"):
        raise BadValue(f"--processes trains on the CPU, and --device is {training.device}; use --gpus, or leave one of them out")
    elif training.device == "auto" and torch.cuda.is_available():
        raise BadValue("--processes trains on the CPU, and this machine has a GPU; say --device cpu, or use --gpus")


def start(count: int) -> int:
    """Run this command in several processes of this machine through torchrun's launcher, and give their exit code."""
    import logging
    import tempfile
    import uuid

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # our processes speak for themselves
    with tempfile.TemporaryDirectory(prefix="tailwise-") as logs:
        config = LaunchConfig(
            1,
            1,
            count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            shutdown_timeout=SHUTDOWN,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        return _launch(elastic_launch(config, sys.executable))


def _launch(processes: Callable[..., object]) -> int:
    """Run the processes, each as this command from where it is installed, and give the exit code of the one that ended first."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        processes("-P", "-m", "tailwise", *WORDS.get())
    except SignalException:
        return 130
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        killed = {rank: -code for rank, code in codes.items() if code < 0 and code != -15}
        if killed:
            who, by = next(iter(killed.items()))
            print(f"tailwise: process {who} was killed (signal {by}); what was stored is kept, go on with: {command()}", file=sys.stderr)
            return KILLED
        ended = sorted((code for code in codes.values() if code > 0), key=lambda code: code == KILLED)
        return ended[0] if ended else 130  # all that is left was asked to end
    return 0
