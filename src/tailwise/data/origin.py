"""What a reader found beside the rows: the format, the tables of the source, and what does not fit in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
Draw = Literal["seeded", "archive"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Gravest first: an error keeps a set from training, a warning may spoil results, a note is good to know."""


@dataclass(frozen=True)
class SourceTable:
    """One table as the source holds it.

    Attributes:
        name: of the file, or of the list in it: `train.csv`, `annotations`.
        records: how many.
        first: the first record, field -> value as it stands there; None where there is no record, or it was not read.
    """

    name: str
    records: int
    first: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Keep plain values, which JSON has words for."""
        if self.first is not None:
            object.__setattr__(self, "first", {str(name): _plain(value) for name, value in self.first.items()})


def _plain(value: Any) -> Any:
    """Give a value as JSON can hold it: what it has no word for as text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    is_plain = value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
    return value if is_plain else str(value)


@dataclass(frozen=True)
class Finding:
    """One kind of thing that is odd or wrong about a set.

    Attributes:
        kind: what it is called, as in `annotation-without-image`.
        severity: `error`, `warning` or `note`.
        says: one sentence with the number and up to five names.
        count: how many things.
        ids: of the things: ids of the manifest's rows where it is about rows, else of records that are no rows; may be empty.
        scores: one number for each id, in the unit that `says` names, or none.
        others: for each id the id of what it collides with, or none.
    """

    kind: str
    severity: Severity
    says: str
    count: int = 1
    ids: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    others: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Origin:
    """What a reader saw of its source; it is no part of a set's identity and is not saved.

    Attributes:
        tables: of the source.
        findings: contradictions and gaps that only the source shows; those of `error` keep the set from training.
        draw: how images are drawn when the set is thinned to the field's profiles: `seeded`, our own nested order, or `archive`, the
            field's draw for CIFAR, which every paper's tables rest on.
        format: name of the format that was read, as `--format` takes it; of what is read without one (objects, `digits`) none.
    """

    tables: tuple[SourceTable, ...] = ()
    findings: tuple[Finding, ...] = ()
    draw: Draw = "seeded"
    format: str = ""
