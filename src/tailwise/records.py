"""Records: what the folders say about themselves, as JSON with a schema's name and version."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tailwise.errors import BadData

RUN = "tailwise.run/3"
STUDY = "tailwise.study/2"
FEATURES = "tailwise.features/1"
MADE_BY = {RUN: "train", STUDY: "compare", FEATURES: "features"}


def plain(value: Any) -> Any:
    """Write a description as plain JSON for people: a dataclass as its name and fields, arrays and long lists as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"part": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value if isinstance(value, None | bool | int | float | str) else str(value)


def with_seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give a record with a hash of all its values, by which `read_sealed` finds any damage."""
    return {**record, "seal": _seal(record)}


def read_sealed(path: Path, schema: str) -> dict[str, Any]:
    """Read a record that carries a hash of itself.

    Raises:
        BadData: as `read_record`, or the hash does not fit.
    """
    record = read_record(path, schema)
    if record.get("seal") != _seal(record):
        raise BadData(f"{path} is damaged (its seal does not fit); put it back, or delete {path.parent} and run the same command again")
    return record


def _seal(record: Mapping[str, Any]) -> str:
    values = {name: value for name, value in record.items() if name != "seal"}  # neither order nor spaces change it
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_record(path: Path, schema: str) -> dict[str, Any]:
    """Read a record of one schema.

    Raises:
        BadData: no such file, no JSON, or another schema; one line that names the file.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadData(f"{path} is not there; expected a folder that `tailwise {MADE_BY[schema]}` made") from None
    except (OSError, ValueError) as error:
        raise BadData(f"{path} cannot be read as JSON ({error}); it is damaged, let `tailwise {MADE_BY[schema]}` make another") from None
    if not isinstance(record, dict) or record.get("schema") != schema:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise BadData(f"{path} has schema {found!r}, expected {schema!r}; it comes from another command or version")
    return record
