"""Reader of mini-ImageNet's split lists, in the two forms that are in use: Ravi and Larochelle's, and Vinyals's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.locating import Located, clean_paths, locate
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.delimited import NAME, parse_table
from tailwise.data.readers.labels import split_in_name
from tailwise.data.readers.listed import LIST, ROW, WNID, once, set_name, unseen
from tailwise.data.readers.opening import read_text
from tailwise.errors import BadData

_HEADERS = (("filename", "label"), ("filename", "class"))
_BOTH = "trainval"
_SPLITS = ("train", _BOTH, "val", "test")
_ROW = re.compile(rf"[^,]+,{WNID[1:]}\s*")
_LOOK = 200
"""Lines by which a list is recognised."""


def recognises(place: Place) -> bool:
    """A list whose header is `filename,label` or `filename,class` and whose labels are wnids, or a folder with such lists."""
    if place.is_folder:
        return any(_is_list(Place(place.path / name)) for name in place.names if _split_of(name) is not None)
    return _is_list(place)


def _is_list(place: Place) -> bool:
    if place.is_folder or len(place.lines) < 2:
        return False
    header = tuple(name.strip() for name in place.lines[0].split(","))
    rows = place.lines[1:_LOOK]
    return header in _HEADERS and sum(_ROW.fullmatch(line) is not None for line in rows) * 2 > len(rows)


def _split_of(name: str) -> str | None:
    """Give the split that a CSV file's name says, `trainval` among them."""
    found = NAME.fullmatch(name)
    if found is None:
        return None
    return _BOTH if _BOTH in found["stem"].lower() else split_in_name(found["stem"])


def read_mini_imagenet(path: Path | str, root: Path | str | None = None) -> Manifest:
    """Read the train, val and test lists of a folder, or one list, plain or `.gz`.

    Labels are wnids, sorted and numbered within what is read. The lists divide the classes, not the images of each class: no class is
    in two of them. So they are merged into one pool, all of it `train`, to be split within the classes; where a class came from is
    `list` in the class table. Lists that share classes keep their splits. A list alone is a pool too.

    Args:
        path: a folder of lists, where `trainval.csv` stands in for train and val if there is no train list; or a list.
        root: folder of the images: all in one, or in a folder a wnid, or in those of `train`, `val` and `test`; None looks beside the
            lists, and in `images` there.

    Raises:
        BadData: two lists of a split; a label is no wnid; a path leaves the root; the root holds none of the images; one line with
            file and row.
    """
    path, given = Path(path), None if root is None else Path(root)
    place = Place(path)
    files = _lists(place)
    read = [_read_list(file, split, given) for split, file in files.items()]
    rows, repeated = once(pl.concat([one.rows for one in read]))
    wnids = tuple(rows["label"].unique().sort())
    numbered = rows.with_columns(rows["label"].replace_strict(wnids, range(len(wnids)), return_dtype=pl.Int32))
    numbered, class_table, merged = _merged(numbered, wnids, path.name)
    located = _located(rows, path, given)
    table = numbered.select(pl.col("path").alias("id"), located.paths.alias("path"), "label", "split")
    findings = (*repeated, *_elsewhere(rows, path.name), *unseen(numbered, wnids, path.name), *merged)
    return Manifest(
        table,
        wnids,
        located.root,
        {},
        set_name(path),
        (
            f"read from mini-ImageNet's lists in {path.name!r}: {table.height:,} images, {len(wnids):,} classes",
            located.said,
            *(finding.says for finding in merged),
        ),
        class_table,
        Origin(tuple(one.source for one in read), findings),
    )


class _List(NamedTuple):
    """One list: `row`, `path`, `label` (wnids), `list`, `split` and `where` (folders that the image may be in)."""

    rows: pl.DataFrame
    source: SourceTable


def _lists(place: Place) -> Mapping[str, Path]:
    """Give the lists to read by split."""
    path = place.path
    if not place.is_folder:
        return {_split_of(path.name) or "train": path}
    found: dict[str, Path] = {}
    for name in place.names:
        split = _split_of(name)
        if split is None or not _is_list(Place(path / name)):
            continue
        if split in found:
            raise BadData(f"{path}: both {found[split].name} and {name} list {split}; give each set a folder, or name one list")
        found[split] = path / name
    for name in place.names:  # what is named like a list beside lists claims to be one: its reader says what is wrong with it
        if found and (split := _split_of(name)) is not None:
            found.setdefault(split, path / name)
    if not found:
        raise BadData(f"{path}: no list of mini-ImageNet there; expected train.csv, val.csv or test.csv with the header filename,label")
    left = {"train", "val"} if _BOTH in found and "train" not in found else {_BOTH}
    return {split: found[split] for split in _SPLITS if split in found and split not in left}


def _read_list(file: Path, split: str, root: Path | None) -> _List:
    header, lines, fields = parse_table(file, read_text(file))
    if tuple(header) not in _HEADERS:
        shown = first_five([repr(name) for name in header])
        raise BadData(f"{file}: its header is {shown}, expected filename,label or filename,class; name another format with --format")
    table = pl.DataFrame(fields, schema=dict.fromkeys(header, pl.String), orient="row")
    numbers = pl.Series(ROW, lines, dtype=pl.Int64)
    wnids = table[header[1]].str.strip_chars().alias("label")
    unfit = (~wnids.str.contains(f"{WNID}$")).arg_true()
    if len(unfit):
        more = f" (and {len(unfit) - 1:,} more)" if len(unfit) > 1 else ""
        raise BadData(f"{file}: label {wnids[unfit[0]][:40]!r} in row {numbers[unfit[0]]}{more} is no wnid, expected one like n01532829")
    paths = clean_paths(table["filename"], numbers, file, root)
    kept = "train" if split == _BOTH else split
    rows = pl.DataFrame([numbers, paths, wnids]).with_columns(pl.lit(file.name).alias(LIST), pl.lit(kept).alias("split"))
    return _List(rows, SourceTable(file.name, table.height, table.row(0, named=True)))


def _merged(rows: pl.DataFrame, wnids: tuple[str, ...], where: str) -> tuple[pl.DataFrame, pl.DataFrame, tuple[Finding, ...]]:
    """Make one pool of lists that share no class.

    Returns:
        The rows, the class table, and a note where lists were merged.
    """
    table = pl.DataFrame({"class_id": wnids}, schema={"class_id": pl.String})
    lists_of = rows.group_by("label").agg(pl.col("split").unique()).sort("label")
    if (lists_of["split"].list.len() > 1).any():
        return rows, table, ()
    table = table.with_columns(lists_of["split"].list.first().alias(LIST))
    rows = rows.with_columns(pl.lit("train").alias("split"))
    if table[LIST].n_unique() == 1:
        return rows, table.drop(LIST), ()
    sizes = dict(table[LIST].value_counts().iter_rows())
    shares = ", ".join(f"{sizes[split]:,} of {split}" for split in ("train", "val", "test") if split in sizes)
    says = (
        f"{where}: its lists share no class, so they are merged into one pool of {rows.height:,} images and {len(wnids):,} classes "
        f"({shares}); split it within the classes"
    )
    return rows, table, (Finding("class-disjoint-lists", "note", says, len(wnids)),)


def _elsewhere(rows: pl.DataFrame, where: str) -> tuple[Finding, ...]:
    """Report images whose names begin with another wnid than their label."""
    wnid = pl.col("path").str.split("/").list.last().str.extract(f"({WNID})")
    unlike = rows.filter(wnid != pl.col("label"))
    if unlike.is_empty():
        return ()
    path, label, row, name = unlike.select("path", "label", ROW, LIST).row(0)
    says = f"{where}: {unlike.height:,} images are named after another class (first: {path!r} with label {label} in row {row} of {name})"
    return (Finding("class-unlike-path", "error", says, unlike.height, tuple(unlike["path"])),)


def _located(rows: pl.DataFrame, path: Path, given: Path | None) -> Located:
    """Find the images in folders of split and wnid, of wnid, or all in one: paths are tried without their first parts in turn."""
    folder = path if path.is_dir() else path.parent
    longest = rows.select(pl.concat_str("split", "label", "path", separator="/").alias("path"))["path"]
    found = locate(longest, [folder / "images", folder], path, given)
    if found.root is None:
        return found._replace(paths=rows["path"])
    added = found.paths[0].count("/") - rows["path"][0].count("/")
    said = {2: "images are in folders of split and wnid", 1: "images are in a folder a wnid"}.get(added, "images are all in one folder")
    return found._replace(said=said)
