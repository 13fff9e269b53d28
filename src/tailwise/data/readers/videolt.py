"""Reader of VideoLT's lists: videos with one or several labels, their folders and numbers of frames, and a table of counts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tailwise.data.columns import SPLITS
from tailwise.data.listing import first_five
from tailwise.data.locating import AS_WRITTEN, clean_paths, locate
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, Severity, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.labels import SPLIT_WORDS
from tailwise.data.readers.lines import ROW, read_fields
from tailwise.errors import BadData

_LIST = re.compile(rf"(?P<split>{'|'.join(SPLIT_WORDS)})(?P<kind>\.lst|_videofolder\.txt)(\.gz)?")
"""Names of the lists of a split: `train.lst`, `val_videofolder.txt`."""

_COUNTS = re.compile(r"count-labels.*\.lst(\.gz)?")

_NUMBERS = r"[0-9]{1,9}(?:,[0-9]{1,9})*"
_OF_VIDEOS = rf"(?P<id>[^\s/.]+) (?P<labels>{_NUMBERS}),?\s*"
_OF_FRAMES = rf"(?P<path>\S*?(?P<id>[^\s/]+)) (?P<frames>[0-9]{{1,9}}) (?P<labels>{_NUMBERS}),?\s*"
_OF_COUNTS = r"(?P<name>\S+) (?P<label>[0-9]{1,9}) (?P<count>[0-9]{1,15})(?:\.0*)?\s*"

_SHOWN = {
    _OF_VIDEOS: "'xYjQkWxF8h0 126' or 'Rijq4BMl4Ig 178,343'",
    _OF_FRAMES: "'armWrestling/bmJxIlOApIQ 6 58,'",
    _OF_COUNTS: "'3DPainting 0 137.0'",
}

_LOOK = 200
"""Lines by which a list is recognised."""


def recognises(place: Place) -> bool:
    """A folder with lists of VideoLT's names, or a list of such lines; `path label` lists have a suffix in their paths."""
    if place.is_folder:
        return any(_form(Place(place.path / name)) is not None for name in place.names if _LIST.fullmatch(name) or _COUNTS.fullmatch(name))
    return _form(place) is not None


def _form(place: Place) -> str | None:
    """Tell the kind of a list by its first lines; None where it is none of VideoLT's."""
    if place.is_folder or not place.lines:
        return None
    lines = place.lines[:_LOOK]
    if all(re.fullmatch(_OF_FRAMES, line) and line.rstrip().endswith(",") for line in lines):
        return _OF_FRAMES
    if place.plain_name.startswith("count-labels") and all(re.fullmatch(_OF_COUNTS, line) for line in lines):
        return _OF_COUNTS
    is_called = ".lst" in place.plain_name
    has_several = any("," in line for line in lines)
    if (is_called or has_several) and all(re.fullmatch(_OF_VIDEOS, line) for line in lines):
        return _OF_VIDEOS
    return None


def read_videolt(path: Path | str, root: Path | str | None = None) -> Manifest:
    """Read `train.lst`, `validate.lst`, `test.lst` and the `*_videofolder.txt` of a folder, or one of them.

    Every video is a row with all its labels; ids are those of the lists, whatever they begin with. `frames` is known where a list of
    folders is there, and so is the path; elsewhere it is the id. Class names are those of `count-labels-train.lst`, where a folder has
    it; else the numbers, of those classes that have videos.

    Args:
        path: a folder of lists, or a list.
        root: folder that the videos' paths are relative to; None is the lists' own.

    Raises:
        BadData: a line is not what it should be; a video without frames; a label without a name; no list of videos.
    """
    path, given = Path(path), None if root is None else Path(root)
    place = Place(path)
    lists = _read_lists(place, given)
    counted = _read_counts(place)
    if not lists:
        raise BadData(
            f"{path}: no list of videos there, only counts; put train.lst, or train_videofolder.txt, beside it and give the folder"
            if counted is not None
            else f"{path}: no list of videos there; expected train.lst, validate.lst, test.lst or *_videofolder.txt"
        )
    listed = pl.concat([one.rows for one in lists])
    videos = _one_row_each(listed)
    class_ids, names = _classes(listed, counted, path)
    position = pl.element().replace_strict(class_ids, range(len(class_ids)), return_dtype=pl.Int32)
    located = locate(videos["path"], [path if place.is_folder else path.parent], path, given)
    rows = videos.select(
        "id",
        "split",
        "frames",
        located.paths.alias("path"),
        pl.col("labels").list.eval(position).alias("targets"),
        pl.lit(None, pl.Int32).alias("label"),
    )
    summary = f"read from VideoLT's lists in {path.name!r}: {rows.height:,} videos, {len(names):,} classes"
    provenance = (summary, *([] if located.said == AS_WRITTEN else [located.said]))
    class_table = pl.DataFrame({"class_id": [str(number) for number in class_ids]})
    name = re.sub(r"\.(lst|txt)(\.gz)?$", "", path.name) or "videolt"
    found = Manifest(rows, names, located.root, {}, name, provenance, class_table)
    findings = _contradictions(listed, path.name) + (() if counted is None else _count_differences(found, counted))
    tables = (*(one.source for one in lists), *([] if counted is None else [counted.source]))
    return found.replace(origin=Origin(tables, findings))


class _List(NamedTuple):
    """A list: `file`, `split`, `id`, `path` and `frames` (null where it does not say), `labels` (List(Int64), sorted, each once)."""

    rows: pl.DataFrame
    source: SourceTable


def _read_lists(place: Place, root: Path | None) -> list[_List]:
    """Read the lists of a folder, those of a split after another; or one list."""
    if not place.is_folder:
        form = _form(place) or (_OF_FRAMES if "videofolder" in place.plain_name else _OF_VIDEOS)
        word = re.split(r"[._-]", place.plain_name)[0]
        return [] if form == _OF_COUNTS else [_read_list(place.path, form, SPLIT_WORDS.get(word, "train"), root)]
    named = [(SPLIT_WORDS[found["split"]], name, found["kind"]) for name in place.names if (found := _LIST.fullmatch(name))]
    named.sort(key=lambda one: SPLITS.index(one[0]))
    return [_read_list(place.path / name, _OF_VIDEOS if kind == ".lst" else _OF_FRAMES, split, root) for split, name, kind in named]


def _read_list(file: Path, form: str, split: str, root: Path | None) -> _List:
    lines = read_fields(file, form, _SHOWN[form])
    source = SourceTable(file.name, lines.height, lines.drop(ROW).row(0, named=True))
    labels = pl.col("labels").str.split(",").cast(pl.List(pl.Int64)).list.unique().list.sort()
    rows = lines.with_columns(labels, pl.lit(file.name).alias("file"), pl.lit(split).alias("split"))
    if form == _OF_FRAMES:
        rows = rows.with_columns(pl.col("frames").cast(pl.Int32), clean_paths(rows["path"], rows[ROW], file, root))
        empty = rows.filter(pl.col("frames") == 0)
        if empty.height:
            more = f" (and {empty.height - 1:,} more videos)" if empty.height > 1 else ""
            raise BadData(f"{file}: video {empty['id'][0]!r} in row {empty[ROW][0]}{more} has 0 frames, expected 1 or more; take it out")
    else:
        rows = rows.with_columns(pl.lit(None, pl.Int32).alias("frames"), pl.lit(None, pl.String).alias("path"))
    return _List(rows.select("file", "split", "id", "path", "frames", "labels"), source)


def _one_row_each(listed: pl.DataFrame) -> pl.DataFrame:
    """Put together what several lists say of a video; the first has the word."""
    first, known = pl.col("split", "labels").first(), pl.col("path", "frames").drop_nulls().first()
    return listed.group_by("id", maintain_order=True).agg(first, known).with_columns(pl.col("path").fill_null(pl.col("id")))


def _contradictions(listed: pl.DataFrame, where: str) -> tuple[Finding, ...]:
    """Report videos that lists speak of differently, or not at all."""
    expected = listed.group_by("split").agg(pl.col("file").n_unique().alias("expected"))
    seen = listed.group_by("id", maintain_order=True).agg(
        pl.col("split").first(),
        pl.col("split").n_unique().alias("splits"),
        pl.col("labels").n_unique(),
        pl.col("file").n_unique().alias("files"),
        pl.len().alias("lines"),
    )
    seen = seen.join(expected, on="split", maintain_order="left")
    kinds: tuple[tuple[str, Severity, str, pl.Expr], ...] = (
        ("in-two-splits", "error", "are in lists of two splits, and stay in the first", pl.col("splits") > 1),
        ("label-conflict", "error", "have other labels in another line, and keep those of the first", pl.col("labels") > 1),
        ("listed-twice", "error", "are listed twice in a file", pl.col("lines") > pl.col("files")),
        (
            "in-one-list-only",
            "warning",
            "are in only one of the two lists of their split",
            (pl.col("splits") == 1) & (pl.col("files") < pl.col("expected")),
        ),
    )
    findings = []
    for kind, severity, what, is_so in kinds:
        ids = tuple(seen.filter(is_so)["id"])
        if ids:
            findings.append(Finding(kind, severity, f"{where}: {len(ids):,} videos {what}: {first_five(ids)}", len(ids), ids))
    return tuple(findings)


class _Counts(NamedTuple):
    """A table of counts: `label` (Int64), `name`, `count` (Int64), by label."""

    rows: pl.DataFrame
    source: SourceTable


def _read_counts(place: Place) -> _Counts | None:
    """Read the table of counts of a folder, or the one that the path is."""
    if place.is_folder:
        files = [place.path / name for name in place.names if _COUNTS.fullmatch(name)]
    else:
        files = [place.path] if _form(place) == _OF_COUNTS else []
    if not files:
        return None
    file = files[0]
    lines = read_fields(file, _OF_COUNTS, _SHOWN[_OF_COUNTS])
    rows = lines.with_columns(pl.col("label", "count").cast(pl.Int64)).sort("label", ROW)
    twice = rows.filter(pl.col("label").is_duplicated())
    if twice.height:
        raise BadData(f"{file}: row {twice[ROW][1]} has label {twice['label'][1]} again, after row {twice[ROW][0]}; keep one")
    return _Counts(rows, SourceTable(file.name, rows.height, lines.drop(ROW).row(0, named=True)))


def _classes(listed: pl.DataFrame, counted: _Counts | None, where: Path) -> tuple[list[int], tuple[str, ...]]:
    """Give numbers and names of the classes, in the order of their numbers."""
    present = listed["labels"].explode().unique().sort()
    if counted is None:
        return present.to_list(), tuple(str(number) for number in present)
    unknown = present.filter(~present.is_in(counted.rows["label"].implode()))
    if len(unknown):
        ids = listed.filter(pl.col("labels").list.contains(unknown[0]))["id"]
        raise BadData(
            f"{where}: label {unknown[0]} of video {ids[0]!r} is not in {counted.source.name}, which has {counted.rows.height:,} classes; "
            f"correct the list, or take the table of counts away"
        )
    names = counted.rows["name"] if counted.rows["name"].is_unique().all() else counted.rows["label"].cast(pl.String)
    return counted.rows["label"].to_list(), tuple(names)


def _count_differences(found: Manifest, counted: _Counts) -> tuple[Finding, ...]:
    """Compare the training labels with the table of counts."""
    if "train" not in found.splits:
        return ()
    pairs = zip(counted.rows.iter_rows(named=True), found.counts("train"), strict=True)
    unlike = [(row, count) for row, count in pairs if row["count"] != count]
    if not unlike:
        return ()
    shown = [f"{row['count']:,} for {row['name']} (found {count:,})" for row, count in unlike]
    says = f"{counted.source.name} says other counts than the list for training has, for {len(unlike):,} classes: {first_five(shown)}"
    return (Finding("counts-disagree", "error", says, len(unlike), tuple(str(row["label"]) for row, _ in unlike)),)
