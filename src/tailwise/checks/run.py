"""Run checks on a set, score it, and leave out what they say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tailwise.checks.check import NEEDS, Check, Inspected, Needs
from tailwise.checks.measures import Progress, inspect
from tailwise.data.headers import READ_ALL
from tailwise.data.manifest import Manifest
from tailwise.data.origin import SEVERITIES, Finding
from tailwise.errors import BadData, TailwiseError
from tailwise.registry import entries, load, load_module
from tailwise.store import Store

SCHEMA = "tailwise.check/1"


@dataclass(frozen=True)
class Checked:
    """What checks found.

    Attributes:
        name: of the set.
        images: rows in all.
        looked_at: how far was looked: `table` where there were no pixels to look at, else `pixels`.
        findings: the gravest first, then in the order of the checks; those of the reader among them.
        left_out: check -> ids that `repair` leaves out because of it; an image may be in several.
        score: share of the images, 0-1, that no finding of severity error or warning names.
    """

    name: str
    images: int
    looked_at: Needs
    findings: tuple[Finding, ...]
    left_out: Mapping[str, frozenset[str]]
    score: float

    @property
    def has_errors(self) -> bool:
        """Whether a finding is of severity error."""
        return any(found.severity == "error" for found in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values, and `schema`."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "images": self.images,
            "looked_at": self.looked_at,
            "score": self.score,
            "findings": [found.to_dict() for found in self.findings],
            "left_out": {check: sorted(ids) for check, ids in self.left_out.items()},
        }


def checks(files: Sequence[Path | str] = ()) -> dict[str, Check]:
    """Give all checks by name: ours, those of other packages, and users' files.

    Raises:
        BadData: a file or package that cannot be loaded, or defines no `CHECK`.
    """
    made = {name: (load("check", name), entry.module) for name, entry in entries("check").items()}
    made |= {Path(file).stem.replace("_", "-"): (getattr(load_module(file), "CHECK", None), str(file)) for file in files}
    for one, where in made.values():
        if not isinstance(one, Check):
            raise BadData(f"{where} defines no check; expected CHECK = Check(title=..., needs=..., find=...)")
    return {name: one for name, (one, _) in made.items()}


def check(manifest: Manifest, needs: Needs = "pixels", files: Sequence[Path | str] = (), progress: Progress | None = None) -> Checked:
    """Look at every image of a set, once, and say what is wrong.

    Args:
        manifest: any set but of features.
        needs: how far to look; checks that need more are left out.
        files: users' files of checks.
        progress: called with images measured and in all.

    Raises:
        BadData: features, or a user's file that is no check or fails.
    """
    known = checks(files)
    # What is decoded is worth keeping; a quick look writes nothing.
    images = inspect(manifest, needs, progress, Store().shelf("hashes") if needs == "pixels" else None)
    reach = needs if "error" in images.images.columns else "table"
    findings = list(manifest.origin.findings)
    left_out: dict[str, frozenset[str]] = {}
    for name, one in known.items():
        if NEEDS.index(one.needs) > NEEDS.index(reach):
            continue
        made = _ask(name, one, images)
        findings += made
        if one.leaves_out is not None and made:
            left_out[name] = _leaves_out(name, one, images, made)
    findings.sort(key=lambda found: SEVERITIES.index(found.severity))
    return Checked(manifest.name, manifest.rows.height, reach, tuple(findings), left_out, _score(manifest, findings))


def look(manifest: Manifest) -> tuple[Finding, ...]:
    """Find what can be found at once: without decoding an image, and of large sets without opening one.

    Of more than 20,000 images only the table is looked at; `check` does the rest.
    """
    if manifest.kind == "features":
        return manifest.origin.findings
    return check(manifest, "content" if manifest.rows.height <= READ_ALL else "table").findings


def _score(manifest: Manifest, findings: Sequence[Finding]) -> float:
    named = {id_ for found in findings if found.severity != "note" for id_ in found.ids}
    return 1 - int(manifest.rows["id"].is_in(sorted(named)).sum()) / manifest.rows.height


def _ask(name: str, one: Check, images: Inspected) -> list[Finding]:
    with _said_in_a_line(name, one):
        made = list(one.find(images))
    for found in made:
        if not isinstance(found, Finding) or found.severity not in SEVERITIES:
            what = f"severity {found.severity!r}" if isinstance(found, Finding) else f"a {type(found).__name__}"
            raise BadData(f"check {name!r} gives {what}, expected findings of severity {', '.join(SEVERITIES)}; mend its file")
    return made


def _leaves_out(name: str, one: Check, images: Inspected, made: Sequence[Finding]) -> frozenset[str]:
    assert one.leaves_out is not None
    with _said_in_a_line(name, one):
        return frozenset(one.leaves_out(images, made))


@contextlib.contextmanager
def _said_in_a_line(name: str, one: Check) -> Iterator[None]:
    """Turn what goes wrong in somebody's check into one line; in ours it is our fault, and keeps its traceback."""
    try:
        yield
    except TailwiseError:
        raise
    except Exception as error:  # a user's check may do anything
        if getattr(one.find, "__module__", "").startswith("tailwise."):
            raise
        raise BadData(f"check {name!r} fails: {type(error).__name__}: {' '.join(str(error).split())}; mend its file") from error


def repair(manifest: Manifest, checked: Checked) -> Manifest:
    """Leave out what the checks say; image files stay where they are.

    Raises:
        BadData: nothing would be left.
    """
    gone = {id_ for ids in checked.left_out.values() for id_ in ids}
    rows = manifest.rows.filter(~pl.col("id").is_in(sorted(gone)))
    if rows.is_empty():
        raise BadData(f"{manifest.name!r}: all {manifest.rows.height:,} images would be left out; look at what check says")
    done = [
        f"check left out {len(ids):,} {'image' if len(ids) == 1 else 'images'}: {name}" for name, ids in checked.left_out.items() if ids
    ]
    return manifest.replace(*done, rows=rows)
