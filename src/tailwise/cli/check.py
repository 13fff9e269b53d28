"""`tailwise check`: what is wrong with a data set, and a manifest without it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tailwise.cli.options import check_data
from tailwise.disk import check_apart

if TYPE_CHECKING:
    from tailwise.checks.run import Checked
    from tailwise.data.origin import Finding

LISTED = 40
"""Images that are printed; `--json` gives all."""


def check(
    data: str,
    /,
    *,
    root: Path | None = None,
    columns: str | None = None,
    format: str | None = None,
    check: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    fix: Path | None = None,
    force: bool = False,
    json: bool = False,
) -> int:
    """Look at every image of a data set, once, and say what is wrong; exit code 1 where there are errors.

    Parameters
    ----------
    data
        A folder of class folders, a list or table, a file, or a name (digits).
    root
        Folder that the paths of a list start from, or where the images of a saved manifest are now.
    columns
        Names of a table's columns where they are not recognised, as in path=file,label=species.
    format
        What DATA is, where it is not to be recognised: coco, list, table, ... (an unknown name lists all).
    check
        A file with a check of your own; may be repeated.
    fix
        Folder for a manifest without what the checks leave out. Image files stay where they are.
    force
        Replace another manifest that stands there; nothing else is ever replaced.
    json
        Print all findings with all images as JSON.
    """
    check_data(data)
    if fix is not None and os.path.lexists(data):
        check_apart(data, fix)

    from tailwise.checks.fixing import write_fixed
    from tailwise.checks.run import check as run_checks
    from tailwise.checks.run import repair
    from tailwise.cli.progress import image_progress
    from tailwise.cli.tables import print_json, say
    from tailwise.data import read
    from tailwise.data.writers.standing import check_ours

    if fix is not None:
        check_ours(fix, force)
    manifest = read(data, root=root, columns=columns, format=format)
    bar, seen = image_progress("images")
    with bar:
        found = run_checks(manifest, files=check, progress=seen)
    stood = fix is not None and write_fixed(repair(manifest, found), fix, force)
    if json:
        print_json({**found.to_dict(), "fixed": None if fix is None else str(fix)})
    else:
        _print(found)
        if fix is not None:
            say("")
            say(f"{'already done' if stood else 'written'}: {fix}, without {_left_out(found):,} images; the files stay where they are")
            say(f"next: tailwise explore {quote(str(fix))}")
        elif _left_out(found):
            say("")
            say(f"--fix FOLDER writes a manifest without {_left_out(found):,} of these images; no image is touched")
    return 1 if found.has_errors else 0


def _left_out(found: Checked) -> int:
    return len({id_ for ids in found.left_out.values() for id_ in ids})


def _print(found: Checked) -> None:
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    say(f"{found.name}: {found.images:,} images, {100 * found.score:.2f} % of them without an error or a warning")
    if found.looked_at == "table":
        say("The images are not there, so only the list was looked at.")
    if not found.findings:
        say("Nothing was found.")
        return
    say("")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("severity", "finding"):
        table.add_column(heading, no_wrap=True)
    table.add_column("number", justify="right")
    table.add_column("what", overflow="fold")
    for finding in found.findings:
        table.add_row(Text(finding.severity), Text(finding.kind), Text(f"{finding.count:,}"), Text(finding.says))
    console.print(table)
    _print_images([finding for finding in found.findings if finding.ids])


def _print_images(findings: Sequence[Finding]) -> None:
    """List what the findings name, with scores."""
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("finding", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("image or class", overflow="fold")
    table.add_column("beside", overflow="fold")
    rows = [(finding, place) for finding in findings for place in range(len(finding.ids))]
    for finding, place in rows[:LISTED]:
        score = f"{finding.scores[place]:.4g}" if finding.scores else ""
        other = finding.others[place] if finding.others else ""
        table.add_row(Text(finding.kind), Text(score), Text(finding.ids[place]), Text(other))
    if rows:
        say("")
        console.print(table)
    if len(rows) > LISTED:
        say(f"... and {len(rows) - LISTED:,} more: --json lists all")
