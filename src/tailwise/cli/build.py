"""`tailwise build`: a data set split, thinned, and written in one of several layouts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from tailwise.cli.options import check_data
from tailwise.disk import check_apart

if TYPE_CHECKING:
    from tailwise.data.writers.writing import Built


def build(
    source: str,
    dest: Path,
    /,
    *,
    layout: Literal["folder", "mini-imagenet-lt", "parquet", "hub", "coco", "list"] = "folder",
    split: str | None = None,
    tail: str | None = None,
    class_order: Literal["index", "random"] = "index",
    split_seed: int = 0,
    twin: Path | None = None,
    root: Path | None = None,
    columns: str | None = None,
    format: str | None = None,
    empty_classes: Literal["refuse", "keep", "drop"] = "refuse",
    licence: str | None = None,
    link: Annotated[bool, Parameter(name="--link", negative="--copy")] = False,
    force: bool = False,
    json: bool = False,
) -> None:
    """Read, split and thin a data set, and write it: images, lists, a manifest that reads back equal, and a data card.

    Splits are exact for each class, and no two of them hold the same bytes. The same source and seed give the same bytes. Where the
    folder stands already, built in the same way from an equal set and whole, nothing is written. Of a list whose images are not there,
    the lists of mini-imagenet-lt, coco and list can be written alone.

    Parameters
    ----------
    source
        What train and compare take: a folder, a list or table, Parquet, ..., or a name (digits, cifar10, cifar100).
    dest
        Folder to write; it appears whole or not at all, and may be moved.
    layout
        folder: train/<class>/<name>. mini-imagenet-lt: that set's own files. parquet: images inside, as on the Hub. hub: folders with
        metadata.csv. coco: annotations/instances_*.json. list: train.txt of `path label`.
    split
        Shares of train, val and test of each class, as in 80/10/10, or of train and test. The cuts are the cumulative shares, rounded
        half up: 480, 60 and 60 of 600. Copies of one image go together. Default: the data's own, or 72/8/20 where there are none.
    tail
        Thin the training classes: exponential:R, step:R, pareto:A, uniform:LO:HI, balanced:N or counts:FILE; val and test stay.
    class_order
        Which class is the head of an exponential, step or pareto tail: label 0, or the first in an order drawn by the seed.
    split_seed
        Seed of split, class order and tail.
    twin
        Folder for the balanced twin too: the same val and test, and as many training images, spread evenly over the classes.
    root
        Folder that the paths of a list start from, or where the images of a saved manifest or the files of CIFAR are.
    columns
        Names of a table's columns where they are not recognised, as in path=file,label=species.
    format
        What SOURCE is, where it is not to be recognised: coco, list, table, ... (an unknown name lists all).
    empty_classes
        What to do with classes without training images.
    licence
        A note for the data card on what may be done with the images. Default: none stated.
    link
        Make hard links to the files, and copies where the file system cannot, or copy them all. Default: copy.
    force
        Replace a folder that was built before and differs; nothing else is ever replaced.
    json
        Print what was written as JSON.
    """
    check_data(source)
    check_apart(*([source] if os.path.lexists(source) else []), dest, *([] if twin is None else [twin]))

    from tailwise.cli.tables import print_json
    from tailwise.data import read
    from tailwise.data.building import Making, build_set
    from tailwise.data.writers.standing import check_ours

    check_ours(dest, force)
    whole = read(source, root=root, columns=columns, format=format)
    built = build_set(whole, dest, Making(split, tail, split_seed, class_order, empty_classes, licence), layout, twin, link, force)
    if json:
        print_json(build_record(built[0], layout) | {"twin": build_record(built[1], layout) if twin else None})
    else:
        for one in built:
            print_built(one)
        print_next(built)


def build_record(built: Built, layout: str) -> dict[str, Any]:
    """Give what was written as plain values."""
    written = built.manifest
    return {
        "schema": "tailwise.build/1",
        "folder": str(built.folder),
        "layout": layout,
        "name": written.name,
        "identity": written.identity,
        "classes": list(written.classes),
        "counts": {split: list(written.counts(split)) for split in written.splits},
        "linked": built.linked,
        "copied": built.copied,
        "provenance": list(written.provenance),
    }


def print_built(built: Built) -> None:
    """Say what was written and where, and which files are links."""
    from tailwise.cli.tables import print_data, say

    print_data(built.manifest)
    say(f"{'already done' if built.stood else 'built'}: {built.folder} ({', '.join(_inside(built.folder))})")
    if built.linked or built.copied:
        say(f"files: {built.linked:,} hard links, {built.copied:,} copies")


def print_next(built: list[Built]) -> None:
    """Say what to do next."""
    from shlex import quote

    from tailwise.cli.tables import say

    for command in ("explore", "compare") if built[0].manifest.has_files else ("explore",):
        say(f"next: tailwise {command} {quote(str(built[0].folder))}")


def _inside(folder: Path) -> list[str]:
    """List what lies in a folder: those of splits first, then other folders, then files."""
    from tailwise.data.columns import SPLITS

    order = {split: place for place, split in enumerate(SPLITS)}
    entries = sorted(os.scandir(folder), key=lambda entry: (entry.is_file(), order.get(entry.name, len(order)), entry.name))
    return [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
