"""`tailwise build`: a data set split, thinned, and written as an image folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from tailwise.cli.options import check_data
from tailwise.errors import BadValue

if TYPE_CHECKING:
    from tailwise.data import Manifest


def build(
    source: str,
    dest: Path,
    /,
    *,
    split: str | None = None,
    tail: str | None = None,
    split_seed: int = 0,
    root: Path | None = None,
    columns: str | None = None,
    empty_classes: Literal["refuse", "keep", "drop"] = "refuse",
    link: Annotated[bool, Parameter(name="--link", negative="--copy")] = False,
    force: bool = False,
    json: bool = False,
) -> None:
    """Read, split and thin a data set as train and compare do, and write it: train/<class>/<name>, val, test, and a manifest.

    Where the folder stands already, built in the same way from an equal set and whole, nothing is written.

    Parameters
    ----------
    source
        A folder of class folders, a .csv or .tsv table, Parquet, IDX files, an .npz file of images, or a name (digits).
    dest
        Folder to write; it appears whole or not at all, and may be moved.
    split
        Shares of train, val and test a class, as in 80/10/10. Default: the data's own, or 72/8/20 where there are none.
    tail
        Thin the training classes: exponential:R, step:R, pareto:A, uniform:LO:HI or counts:FILE.
    split_seed
        Seed of split and tail.
    root
        Folder that the paths of a table start from, or where the images of a saved manifest are now. Default: the table's own.
    columns
        Names of a table's columns where they are not recognised, as in path=file,label=species.
    empty_classes
        What to do with classes without training images.
    link
        Make symbolic links to the files, or copy them. Default: copy.
    force
        Replace a folder that was built before and differs; nothing else is ever replaced.
    json
        Print what was written as JSON.
    """
    check_data(source)
    _check_apart(source, dest)

    from tailwise.cli.tables import print_json
    from tailwise.data.writers.folder import build_folder, check_ours
    from tailwise.study.setup import make_manifest
    from tailwise.study.words import DataWords

    check_ours(dest, force)
    words = DataWords(root=root, split=split, tail=tail, split_seed=split_seed, empty_classes=empty_classes, columns=columns)
    built = build_folder(make_manifest(source, words), dest, link, force)
    if json:
        print_json(build_record(built.manifest, dest))
    else:
        print_built(built.manifest, dest, built.stood)


def _check_apart(source: str, dest: Path) -> None:
    """Refuse to write into what is read, or around it: a later reading would find both, a replacing delete the source."""
    read, written = os.path.realpath(source), os.path.realpath(dest)
    if os.path.lexists(source) and os.path.commonpath([read, written]) in (read, written):
        raise BadValue(f"{dest} and {source} lie one in the other; write to a folder apart from what is read")


def build_record(written: Manifest, dest: Path) -> dict[str, Any]:
    """Give what was written as plain values."""
    return {
        "schema": "tailwise.build/1",
        "folder": str(dest),
        "name": written.name,
        "identity": written.identity,
        "classes": list(written.classes),
        "counts": {split: list(written.counts(split)) for split in written.splits},
        "provenance": list(written.provenance),
    }


def print_built(written: Manifest, dest: Path, stood: bool) -> None:
    """Say what was written, where, and what to do next."""
    from shlex import quote

    from tailwise.cli.tables import print_data, say

    print_data(written)
    folders = ", ".join(f"{split}/" for split in written.splits)
    say(f"{'already done' if stood else 'built'}: {dest} ({folders}, manifest.parquet, card.json)")
    for command in ("explore", "compare"):
        say(f"next: tailwise {command} {quote(str(dest))}")
