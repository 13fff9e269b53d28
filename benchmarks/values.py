"""Check our parts against numbers that the authors' own code produced.

    python benchmarks/values.py ../shared/reference/values.json           # what agrees, what does not, what we do not have
    python benchmarks/values.py ../shared/reference/values*.json --json

A file holds `about`, which says the tolerance, and `records`: a method, its `params` and `inputs`, and what its published code makes of
them: `loss`, gradients, `outputs`. Where a record holds `published` and `intended`, the published code has a defect that the reference
names, and ours must give what is intended.

Exit 0 where every record of a method that we have agrees, or is listed in `values_adapters.DEPARTURES` with the reason; 1 where one
disagrees that is not listed, or one that is listed agrees; 2 where a file cannot be read.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tailwise.errors import BadData, TailwiseError

RTOL = 1e-9
"""The tolerance of a file that states none."""

SMALL = 1e-3
"""Entries below this share of their array's largest one are measured against that share: they are stored and computed to its digits."""

AGREES, DIFFERS, LISTED, STALE, LACKING, UNKNOWN = "agrees", "differs", "listed", "stale", "lacking", "unknown"


@dataclass(frozen=True)
class Verdict:
    """One record.

    Attributes:
        id: of the record.
        method: of the record.
        word: `agrees`, `differs`, `listed` (differs, and the table says why), `stale` (listed, and agrees), `lacking` (settings that
            no part of ours has) or `unknown` (a method that we do not have).
        difference: largest relative difference; None where nothing was compared, or where what was found has no number.
        where: the output with the largest difference, or what went wrong.
        reason: of the table, for a listed record.
    """

    id: str
    method: str
    word: str
    difference: float | None = None
    where: str = ""
    reason: str = ""


# --- files ------------------------------------------------------------------------------------------------------------


def read_file(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Give a file's `about` and its records, each with an id, a method, params and inputs.

    Raises:
        BadData: the file is missing, no JSON, or not of this form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadData(f"{path} does not exist; give a file of the form of ../shared/reference/values.json") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadData(f"{path} is no JSON file that can be read: {' '.join(str(error).split())}") from None
    records = content.get("records") if isinstance(content, dict) else None
    if not isinstance(records, list) or not records:
        raise BadData(f"{path} has no records; expected an object with `about` and a list `records` that is not empty")
    for place, record in enumerate(records):
        if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("id", "method")):
            raise BadData(f"{path}: record {place} has no `id` and `method`; each is a text")
        for key in ("params", "inputs"):
            if not isinstance(record.get(key), dict):
                raise BadData(f"{path}: {record['id']} has no {key}; expected an object")
    repeated = [name for name, times in Counter(record["id"] for record in records).items() if times > 1]
    if repeated:
        raise BadData(f"{path}: the id {repeated[0]} stands more than once; ids tell records apart")
    return str(content.get("about", "")), records


def stated(word: str, *texts: str) -> float | None:
    """Give the number after `word` in the first text that says it, as in "compare with rtol 1e-9 and atol 1e-11"."""
    for text in texts:
        if found := re.search(rf"{word} (\d[\d.]*(?:e-?\d+)?)", text):
            return float(found[1].rstrip("."))
    return None


def expected(record: Mapping[str, Any], reading: Literal["intended", "published"] = "intended") -> dict[str, np.ndarray]:
    """Give what a record holds, flat: `loss`, `grads.NAME` and the outputs, in one reading where there are two."""
    outputs, grads = (_read(record.get(key, {}), reading) for key in ("outputs", "grads"))
    whole = _read({key: record[key] for key in ("loss", "published", "intended") if key in record}, reading)
    grads |= whole.pop("grads", {}) | {key.removeprefix("grad_"): record[key] for key in record if key.startswith("grad_")}
    return dict(_flat({**outputs, **whole, "grads": grads}))


def _read(values: Mapping[str, Any], reading: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in ("published", "intended")} | values.get(reading, {})


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Walk objects, and lists that are no arrays, down to float64 arrays with dotted names."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
        return
    try:
        yield name, np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        if not isinstance(values, list):
            raise
        yield from _flat({str(place): value for place, value in enumerate(values)}, name)


# --- comparing --------------------------------------------------------------------------------------------------------


def difference(ours: np.ndarray, theirs: np.ndarray, floor: float = 0.0) -> float:
    """Give the largest relative difference of two arrays of one shape; infinite where one has no number and the other has.

    Args:
        ours: what is judged.
        theirs: what an entry's difference is divided by, or by a share of its largest entry, or by `floor`.
        floor: an absolute tolerance over the relative one.
    """
    if not theirs.size:
        return 0.0
    largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
    size = np.maximum(np.abs(theirs), max(SMALL * largest, floor, np.finfo(np.float64).tiny))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(ours == theirs, 0.0, np.abs(ours - theirs) / size)
    return float(np.nan_to_num(apart, nan=np.inf).max())


def compare(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], floor: float) -> tuple[float | None, str]:
    """Give the largest relative difference of all that the record holds, and the name it has; no number where they do not fit."""
    if not theirs:
        return None, "the record holds neither a loss nor outputs"
    worst: tuple[float, str] = (-1.0, "")
    for name, value in theirs.items():
        if name not in ours:
            return None, f"{name} is not computed"
        if ours[name].shape != value.shape:
            return None, f"{name} has shape {ours[name].shape}, theirs {value.shape}"
        worst = max(worst, (difference(ours[name], value, floor), name))
    return worst


def check(record: Mapping[str, Any], about: str) -> Verdict:
    """Compute a record with our parts, and say how it stands."""
    from values_adapters import DEPARTURES, ENTRIES  # loads torch, which a file that cannot be read does not need

    name, method, note = record["id"], record["method"], str(record.get("note", ""))
    if method not in ENTRIES:
        return Verdict(name, method, UNKNOWN)
    rtol = stated("rtol", note, about) or RTOL
    floor = (stated("atol", note, about) or 0.0) / rtol
    try:
        computed = ENTRIES[method](record["params"], record["inputs"])
        if computed is None:
            return Verdict(name, method, LACKING)
        ours = dict(_flat(computed))
        largest, where = compare(ours, expected(record), floor)
        agrees = _within(largest, rtol)
        if not agrees and _within(compare(ours, expected(record, "published"), floor)[0], rtol):
            where += ", as published and not as intended"
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:  # whatever a record of another form may meet
        largest, where, agrees = None, f"{type(error).__name__}: {' '.join(str(error).split())}", False
    reason = next((reason for pattern, reason in DEPARTURES.items() if fnmatch.fnmatchcase(name, pattern)), "")
    word = (STALE if agrees else LISTED) if reason else (AGREES if agrees else DIFFERS)
    return Verdict(name, method, word, largest, where, reason)


def _within(largest: float | None, rtol: float) -> bool:
    return largest is not None and largest <= rtol


# --- saying it --------------------------------------------------------------------------------------------------------


def table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Say method by method what agrees, then what is listed, then what we do not have, and last what is wrong."""
    methods = dict.fromkeys(v.method for v in verdicts if v.word not in (UNKNOWN, LACKING))
    if methods:
        yield f"{'method':<26} {'agree':>7}  largest relative difference"
    for method in methods:
        compared = [v for v in verdicts if v.method == method and v.word not in (UNKNOWN, LACKING)]
        agreeing = [v for v in compared if v.word in (AGREES, STALE)]
        largest = f"{max(v.difference or 0.0 for v in agreeing):.1e}" if agreeing else "–"
        yield f"{method:<26} {len(agreeing):>3}/{len(compared):<3}  {largest}"
    for word, title in ((LISTED, "differ, and why"), (STALE, "listed as different, and agree"), (DIFFERS, "DIFFER")):
        if found := [v for v in verdicts if v.word == word]:
            yield f"\n{title}:"
            for v in found:
                apart = v.where if v.difference is None else f"{v.where} by {v.difference:.1e}"
                yield f"  {v.id}: {apart}{f': {v.reason}' if v.reason else ''}"
    for word, title in ((LACKING, "settings that no part of ours has"), (UNKNOWN, "methods that we do not have")):
        if counted := Counter(v.method for v in verdicts if v.word == word):
            yield f"\n{title}: " + ", ".join(f"{method} ({times})" for method, times in counted.items())


def summary(verdicts: Sequence[Verdict]) -> str:
    """Give one sentence with all counts."""
    found = Counter(v.word for v in verdicts)
    said = f"{found[AGREES]} of {len(verdicts)} records agree, {found[LISTED]} differ for a reason that is listed"
    said += f", {found[LACKING] + found[UNKNOWN]} are of methods or settings that we do not have"
    if found[DIFFERS] or found[STALE]:
        said += f"; {found[DIFFERS]} DIFFER and are not listed, {found[STALE]} are listed and agree"
    return said


def as_json(path: Path, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Give a file's verdicts as plain values; a difference that is no finite number is null."""
    records = [
        {"id": v.id, "method": v.method, "word": v.word, "difference": v.difference, "where": v.where, "reason": v.reason} for v in verdicts
    ]
    for record in records:
        if record["difference"] is not None and not np.isfinite(record["difference"]):
            record["difference"] = None
    return {"file": str(path), "counts": dict(Counter(v.word for v in verdicts)), "records": records}


def main(words: Sequence[str] | None = None) -> int:
    """Check the files that are named, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help="records of the authors' code")
    parser.add_argument("--json", action="store_true", help="print every record's verdict as JSON")
    said = parser.parse_args(words)
    try:
        contents = {path: read_file(path) for path in said.files}
    except TailwiseError as error:
        print(f"values: {error}", file=sys.stderr)
        return error.exit_code
    verdicts = {path: [check(record, about) for record in records] for path, (about, records) in contents.items()}
    if said.json:
        print(json.dumps([as_json(path, found) for path, found in verdicts.items()], indent=1, ensure_ascii=False))
    else:
        for path, found in verdicts.items():
            print(f"{path}: {summary(found)}\n", *table(found), "", sep="\n")
    return int(any(v.word in (DIFFERS, STALE) for found in verdicts.values() for v in found))


if __name__ == "__main__":
    sys.exit(main())
