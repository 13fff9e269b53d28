"""The form of a check: what it is called, what it needs, how it finds, and what is left out because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Severity
from tailwise.errors import BadValue

Needs = Literal["table", "files", "content", "pixels"]

NEEDS: tuple[Needs, ...] = ("table", "files", "content", "pixels")
"""What a check looks at, each with all before it: the manifest's table; headers of files; hashes of bytes; decoded pixels."""


@dataclass(frozen=True, eq=False)
class Inspected:
    """A set, and what was measured of its images.

    Attributes:
        manifest: the set.
        images: a row an image, by `id`: what `tailwise.checks.measures` says for the step that was asked for, beside the manifest's
            `split`, `label`, `path` and `source`.
        thumbnails: (N, 256) uint8 grey 16 x 16 pictures, row by row those of `images`, zeros where there are none; None before pixels.
    """

    manifest: Manifest
    images: pl.DataFrame
    thumbnails: object = None


def leave_all(found: Inspected, findings: Sequence[Finding]) -> set[str]:
    """Leave out every image that a check named: the rule of most checks that leave something out."""
    return {id_ for finding in findings for id_ in finding.ids}


@dataclass(frozen=True, eq=False)
class Check:
    """A check.

    Attributes:
        title: what it finds, in a few words.
        needs: the least that it looks at.
        find: gives findings; those about images have their ids.
        leaves_out: ids that `--fix` leaves out, of the findings that the check made; None leaves nothing out.
        fix: the rule of `leaves_out` in words; empty without.
    """

    title: str
    needs: Needs
    find: Callable[[Inspected], Iterable[Finding]]
    leaves_out: Callable[[Inspected, Sequence[Finding]], set[str]] | None = None
    fix: str = ""

    def __post_init__(self) -> None:
        if self.needs not in NEEDS:
            raise BadValue(f"check {self.title!r} needs {self.needs!r}, expected one of {', '.join(NEEDS)}")


def finding_of(
    kind: str,
    severity: Severity,
    images: pl.DataFrame,
    says: str,
    score: str | None = None,
    other: str | None = None,
) -> Iterable[Finding]:
    """Make one finding of a table of images, worst first as it is ordered; none of an empty table.

    Args:
        kind: name of the finding.
        severity: of it.
        images: `id`, and the columns named by `score` and `other`.
        says: the sentence, `{n}` for their number, `{of}` for "image is" or "images are", `{named}` for the first five.
        score: column of numbers, or None.
        other: column of the ids that they collide with, or None.
    """
    if images.is_empty():
        return
    ids = images["id"].to_list()
    verb = "image is" if len(ids) == 1 else "images are"
    yield Finding(
        kind,
        severity,
        says.format(n=f"{len(ids):,}", of=verb, named=first_five(ids)),
        len(ids),
        tuple(ids),
        tuple(images[score].cast(pl.Float64).to_list()) if score else (),
        tuple(images[other].to_list()) if other else (),
    )
