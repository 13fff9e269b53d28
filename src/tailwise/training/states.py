"""States on disk: tensors by name and a record, whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from tailwise.disk import sealed, unsealed, whole_folder
from tailwise.store import Store

SCHEMA = "tailwise.state/2"
TENSORS, RECORD, INNER = "tensors.safetensors", "state.json", "inner"


@dataclass(frozen=True)
class State:
    """A state: a line and a number of steps, with all that is needed to go on.

    Attributes:
        line: key of the line.
        step: steps of the line.
        tensors: everything by name: `net.*`, `objective.*`, `opt/<optimiser>/<parameter>/<slot>`, `average/*`, `meter/*`.
        log: one record an epoch, of this line from its start.
        seconds: spent on this line up to here, by whoever trained it.
        owners: tensors of the objective -> the parts that own them, see `joint.owners`.
    """

    line: str
    step: int
    tensors: Mapping[str, Tensor]
    log: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    owners: Mapping[str, str] = field(default_factory=dict)

    def left(self, live: bool = False) -> dict[str, Tensor]:
        """Give the tensors that a stage leaves: averaged ones where it averages, unless the live ones are asked for."""
        plain = {n: t for n, t in self.tensors.items() if "/" not in n}
        if live:
            return plain
        averaged = {n.removeprefix("average/"): t for n, t in self.tensors.items() if n.startswith("average/")}
        return plain | averaged


def _name(step: int) -> str:
    return f"{step:09d}"


def save_state(store: Store, state: State, inner: bool) -> None:
    """Store a state; `inner` ones, in the middle of an epoch, are the first to go when the store is full."""
    if store.has("states", state.line, _name(state.step)):
        if not inner:
            with contextlib.suppress(OSError):  # in a store that cannot be written nothing is deleted either
                store.path("states", state.line, _name(state.step), INNER).unlink(missing_ok=True)
        return

    def fill(folder: Path) -> None:
        data = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()})
        (folder / TENSORS).write_bytes(data)
        record = {
            "schema": SCHEMA,
            "line": state.line,
            "step": state.step,
            "sha256": hashlib.sha256(data).hexdigest(),
            "log": list(state.log),
            "seconds": state.seconds,
            "owners": dict(state.owners),
        }
        (folder / RECORD).write_bytes(sealed(record))
        if inner:
            (folder / INNER).touch()

    store.put(lambda final: whole_folder(final, fill), "states", state.line, _name(state.step))


def load_state(store: Store, line: str, step: int) -> State | None:
    """Load a state, or None when it is not there or damaged; a damaged one is said and deleted, since the store is only a cache."""
    key = ("states", line, _name(step))
    if not store.has(*key):
        return None
    folder = store.path(*key)
    try:
        record = unsealed((folder / RECORD).read_bytes())
        data = (folder / TENSORS).read_bytes()
        if (record["line"], record["step"], record["sha256"]) != (line, step, hashlib.sha256(data).hexdigest()):
            raise ValueError("it is not what was stored here")
        state = State(line, step, load_tensors(data), tuple(record["log"]), record["seconds"], record["owners"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        if folder.is_dir():  # otherwise another process has trimmed it meanwhile
            store.drop_damaged(*key)
        return None
    store.touch(*key)
    return state


def stored_steps(store: Store, line: str) -> list[int]:
    """List the steps of a line whose states are stored, in order."""
    return sorted(int(name) for name in store.names("states", line) if name.isdigit())


def nearest_state(store: Store, line: str, step: int, usable: Callable[[int], bool] = lambda step: True) -> State | None:
    """Load the stored and usable state of a line with the most steps, at most `step`."""
    for stored in reversed([s for s in stored_steps(store, line) if s <= step and usable(s)]):
        state = load_state(store, line, stored)
        if state is not None:
            return state
    return None


def drop_state(store: Store, line: str, step: int) -> None:
    """Delete a state."""
    store.drop("states", line, _name(step))


def drop_inner(store: Store, line: str, below: int) -> None:
    """Delete the inner states of a line before a step: a later one has taken their place."""
    for step in stored_steps(store, line):
        if step < below and store.path("states", line, _name(step), INNER).exists():
            store.drop("states", line, _name(step))
