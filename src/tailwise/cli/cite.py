"""`tailwise cite`: the references of what was used."""

from __future__ import annotations

from pathlib import Path

from tailwise.errors import BadData


def cite(*folders: Path, json: bool = False) -> None:
    """Print one paragraph for a methods section, and the BibTeX of everything that runs used: methods, bases, network, statistics, data.

    Parameters
    ----------
    folders
        Runs, or a study.
    json
        Print paragraph, entries and what is left to the author as JSON.
    """
    if not folders:
        raise BadData("cite needs at least one folder that `tailwise train` or `tailwise compare` made")

    from tailwise.api import cite as references
    from tailwise.cli.tables import print_json

    found = references(*folders)
    if json:
        print_json({"schema": "tailwise.citation/1", "paragraph": found.paragraph, "left": list(found.left), "bibtex": found.bibtex})
    else:
        print(found)  # as it is: nothing folds a line of BibTeX
