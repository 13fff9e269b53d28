"""Plans in words: what a stage will do, and what a part is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tailwise.method import Best, Learn
from tailwise.objective import Criterion, Supervised

if TYPE_CHECKING:
    from tailwise.training.plan import Leg


def stage_sentence(leg: Leg) -> str:
    """Say in one line a stage, with all that is trained how long."""
    main = leg.stage.streams["main"]
    how = ["every row once an epoch"] if main.sampler is None and main.split == "train" else []
    loss, *others = _parts(leg)
    said = [f"{_epochs(leg)} of {leg.recipe.epochs}, {leg.length:,} steps", loss, *how, *others]
    return f"{leg.stage.name or 'train'}: " + "; ".join(said)


def line_sentence(leg: Leg) -> str:
    """Say a stage as a tree of many has room for: its name where it has one of its own, its epochs, and what is unusual."""
    name = f"{leg.stage.name}, " if leg.stage.name not in ("", "train") else ""
    return f"{name}{_epochs(leg)}: " + "; ".join(_parts(leg))


def _epochs(leg: Leg) -> str:
    return f"epochs {leg.epoch + leg.start // leg.steps}-{leg.epoch + leg.stop // leg.steps}"


def _parts(leg: Leg) -> list[str]:
    """Name the loss, and whatever of the stage is not as it usually is."""
    stage, sampler = leg.stage, leg.stage.streams["main"].sampler
    said = [describe(stage.objective.criterion if isinstance(stage.objective, Supervised) else stage.objective)]
    said += [f"every row of {split} once an epoch, without its label"] if (split := stage.streams["main"].split) != "train" else []
    said += [f"rows by {describe(sampler)}"] if sampler is not None else []
    beside = {name: stream.sampler for name, stream in stage.streams.items() if name != "main"}
    said += [f"beside them {name} rows" + (f" by {describe(by)}" if by is not None else "") for name, by in beside.items()]
    said += [f"{views} views of each row"] if (views := len(stage.streams["main"].views)) > 1 else []
    if "*" not in [entry.pattern for entry in leg.learn]:
        said.append("only " + ", ".join(map(_learning, leg.learn)) + " learn")
    if stage.frozen_norm == "train":
        said.append("normalisation of what rests goes on")
    if stage.start.reset:
        said.append("anew: " + ", ".join(stage.start.reset))
    said += [describe(part) for part in (stage.mixing, stage.gradient, stage.average) if part is not None]
    if isinstance(stage.leaves, Best):
        said.append(f"leaves the best by {stage.leaves.metric} on {stage.leaves.split}")
    return said


def _learning(entry: Learn) -> str:
    return entry.pattern + (f" at {entry.rate:g} of the rate" if entry.rate != 1 else "")


def describe(part: Any) -> str:
    """Name a part with the fields that are plain numbers, the words that are not its usual ones, and the switches that are on."""
    fields = {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.name != "reduction"}
    inner = [describe(v) for v in fields.values() if isinstance(v, Criterion)]
    plain = [f"{k}={v:g}" for k, v in fields.items() if isinstance(v, float | int) and not isinstance(v, bool)]
    plain += [f"{f.name}={fields[f.name]}" for f in dataclasses.fields(part) if _is_unusual(f, fields.get(f.name))]
    on = [f.name for f in dataclasses.fields(part) if getattr(part, f.name) is True and f.default is not True]
    return type(part).__name__ + (f"({', '.join(inner + plain + on)})" if inner or plain or on else "")


def _is_unusual(field: dataclasses.Field[Any], value: Any) -> bool:
    return isinstance(value, str) and value not in ("", field.default)
