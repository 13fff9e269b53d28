"""Tracking: a run's log mirrored to somebody's dashboard, through the library's own client; the run itself needs none of it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tailwise.disk import whole_folder
from tailwise.errors import BadValue
from tailwise.study.runs import Run

Tracker = Literal["tensorboard", "trackio", "wandb"]

PROJECT = "tailwise"
"""What the project is called where the data have no name."""

Scalars = Iterator[tuple[int, dict[str, float]]]


def check_tracker(to: Tracker | None) -> None:
    """Refuse a tracker whose library is not installed, before anything is trained.

    Raises:
        BadValue: it is not installed, or there is none of this name.
    """
    if to is None:
        return
    if to not in TRACKERS:
        raise BadValue(f"there is no tracker {to!r}; --track takes {', '.join(TRACKERS)}")
    if importlib.util.find_spec(to) is None:
        raise BadValue(f"--track {to} needs {to}, which is not installed: pip install {to}, or leave the word out, log.jsonl has the same")


def track(runs: Sequence[Run], to: Tracker | None) -> None:
    """Mirror the logs and figures of runs; what goes wrong there is said, and touches no run.

    Args:
        runs: on disk; `log.jsonl` is the source.
        to: `tensorboard`, whose event files go to `tensorboard/` in the run's folder, `trackio`, `wandb`, or None.
    """
    if to is None:
        return
    check_tracker(to)
    for run in runs:
        try:
            TRACKERS[to](run)
        except Exception as error:  # a client may fail in any way, and the run stands
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            logging.getLogger("tailwise").warning(f"{run.folder} could not be mirrored to {to} ({reason}); its log.jsonl has everything")


def scalars(run: Run) -> Scalars:
    """Yield step and figures: rate and loss of each epoch, val where it was measured on the way, then what was measured in the end."""
    last = 0
    for text in (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        last = line["step"]
        names = {"loss": "train/loss", "rate": "train/rate", "val_macro": "val/macro_on_the_way"}
        yield last, {said: float(line[name]) for name, said in names.items() if line.get(name) is not None}
    if run.is_measured:
        found = run.evaluate()
        figures = {"accuracy": found.accuracy, "macro_accuracy": found.macro_accuracy, "macro_f1": found.macro_f1, "ece": found.ece}
        figures |= {f"{name}_accuracy": group.accuracy for name, group in found.groups.items()}
        yield last, {f"{found.split}/{name}": value for name, value in figures.items() if value is not None}


def settings(run: Run) -> dict[str, Any]:
    """Give what a dashboard shows of a run's settings."""
    record = run.record
    names = ("key", "method", "seed", "fold", "knobs", "modifiers", "recipe", "network", "data", "version")
    return {name: record[name] for name in names}


def _to_tensorboard(run: Run) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    place = run.folder / "tensorboard"
    if place.exists():  # a second file of events would show everything twice
        return

    def fill(pending: Path) -> None:
        with SummaryWriter(str(pending)) as writer:
            writer.add_text("settings", f"```\n{json.dumps(settings(run), indent=1)}\n```")
            for step, figures in scalars(run):
                for name, value in figures.items():
                    writer.add_scalar(name, value, step)

    whole_folder(place, fill)


def _to_client(run: Run, to: str) -> None:
    """Both clients have the same three calls."""
    client: Any = importlib.import_module(to)
    project = str(run.record["data"].get("name") or PROJECT)
    words: Mapping[str, Any] = {"id": run.record["key"][:16], "resume": "allow"} if to == "wandb" else {}  # a second time is the same run
    name = f"{run.record['method']} seed {run.record['seed']} {run.record['key'][:8]}"
    client.init(project=project, name=name, config=settings(run), **words)
    try:
        for step, figures in scalars(run):
            client.log(figures, step=step)
    finally:
        client.finish()


TRACKERS: dict[str, Callable[[Run], None]] = {
    "tensorboard": _to_tensorboard,
    "trackio": lambda run: _to_client(run, "trackio"),
    "wandb": lambda run: _to_client(run, "wandb"),
}
