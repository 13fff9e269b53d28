"""Reader of mini-ImageNet-LT's own files: lists of real and generated images, a table of counts, and ImageNet's names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.locating import AS_WRITTEN, Located, clean_paths, locate
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.delimited import parse_table
from tailwise.data.readers.listed import (
    LIST,
    MOST_LABEL,
    ROW,
    WNID,
    distinct_names,
    gap_note,
    once,
    positions,
    set_name,
    unseen,
    whole_labels,
)
from tailwise.data.readers.opening import read_text
from tailwise.errors import BadData

TRAIN, VAL, TEST = "train.csv", "val.csv", "test.csv"
GENERATED, FILLED = "gentrain.csv", "alltrain.csv"
COUNTS, NAMES = "cls_label.json", "classname.txt"
HEADER = ("img", "label")

POSITION = "position"
"""Column that keeps the order of the lists: within a class they are in no order that could be found again by sorting."""

_SPLITS = {VAL: "val", TEST: "test"}
_PUBLISHED = re.compile(r"(data/)?(images/n[0-9]{16}|genimages/[0-9]+)\.jpg,.*", re.DOTALL)
_OF_GENERATED = r"(^|/)genimages/"
_CLASS_ID = re.compile(r"0|[1-9][0-9]{0,9}")


def recognises(place: Place) -> bool:
    """A folder with `train.csv` and `cls_label.json`, or `gentrain.csv` and the header `img,label`; or one of its lists."""
    if place.is_folder:
        train = place.inside(TRAIN)
        if train is None:
            return False
        return place.inside(COUNTS) is not None or (place.inside(GENERATED) is not None and _is_header(Place(train).lines[:1]))
    if place.plain_name not in (TRAIN, VAL, TEST, GENERATED, FILLED):
        return False
    rows = place.lines[1:200] if _is_header(place.lines[:1]) else place.lines[:200]
    return bool(rows) and all(_PUBLISHED.fullmatch(row) for row in rows)


def _is_header(lines: Sequence[str]) -> bool:
    return [line.strip() for line in lines] == [",".join(HEADER)]


def read_mini_imagenet_lt(path: Path | str, root: Path | str | None = None) -> Manifest:
    """Read the folder of mini-ImageNet-LT's lists, or one list alone, all plain or `.gz`.

    Generated images (`source`) are those of `gentrain.csv`. Those that `alltrain.csv` leaves out weigh 0, which training takes for
    what it is, and the lists can be written again as they were. Without `gentrain.csv` they are those of `alltrain.csv`.

    Labels are class ids. Classes are named by `classname.txt`, which is joined through the wnid that image names begin with: its own
    numbers are ImageNet's. Without it a class has its wnid for a name, or its class id. What contradicts itself is a finding.

    Args:
        path: the folder, or one of its CSV files, which is then read without the others (but for the names).
        root: folder that `data/images` is in, or `data`, or `data/images`; None is the lists' own.

    Raises:
        BadData: a file is missing or is not what it should be, a label is no whole number, a path leaves the root, or the root holds
            none of the images; one line with file and row.
    """
    path, given = Path(path), None if root is None else Path(root)
    place = Place(path)
    found = _read_folder(place, given) if place.is_folder else _read_file(place, given)
    rows, repeated = once(found.rows)
    class_ids = sorted({*rows["label"], *found.counts})
    named, of_names = _read_names(place)
    names, wnids, of_wnids = _names(rows, class_ids, named)
    rows = rows.with_columns(positions(rows["label"], class_ids))
    located = _located(rows["path"], path, given)
    table = pl.DataFrame(
        {"class_id": [str(number) for number in class_ids], "wnid": wnids}, schema={"class_id": pl.String, "wnid": pl.String}
    )
    notes = (*gap_note(class_ids, path.name), *unseen(rows, names, path.name), *_left_out(rows, names))
    return Manifest(
        _columns(rows, located.paths),
        names,
        located.root,
        {},
        set_name(path),
        (f"read from mini-ImageNet-LT's lists in {path.name!r}: {_sizes(rows)}", *([] if located.said == AS_WRITTEN else [located.said])),
        table if table["wnid"].is_not_null().any() else table.select("class_id"),
        Origin((*found.tables, *of_names), (*found.findings, *repeated, *of_wnids, *notes)),
    )


class _Lists(NamedTuple):
    """What the lists say.

    Attributes:
        rows: `row`, `path`, `label` (Int64, class ids), `list`, `split`, `source` and `weight`, in the order of the lists.
        counts: class id -> number of training images, as `cls_label.json` has it.
        tables: as they stand there.
        findings: what is odd about them.
    """

    rows: pl.DataFrame
    counts: Mapping[int, int]
    tables: tuple[SourceTable, ...]
    findings: tuple[Finding, ...]


class _List(NamedTuple):
    """One list: its rows, as in `_Lists`, taken for real training images."""

    rows: pl.DataFrame
    source: SourceTable
    findings: tuple[Finding, ...]


def _read_file(place: Place, root: Path | None) -> _Lists:
    """Read one list alone."""
    found = _read_list(place.path, root)
    split = _SPLITS.get(place.plain_name, "train")
    is_generated = pl.lit(True) if place.plain_name == GENERATED else pl.col("path").str.contains(_OF_GENERATED)
    source = pl.when(is_generated).then(pl.lit("generated")).otherwise(pl.lit("real"))
    return _Lists(found.rows.with_columns(source=source, split=pl.lit(split)), {}, (found.source,), found.findings)


def _read_folder(place: Place, root: Path | None) -> _Lists:
    """Read all lists of a folder, and compare them."""
    place.file(TRAIN)
    files = {name: file for name in (TRAIN, GENERATED, FILLED, VAL, TEST) if (file := place.inside(name)) is not None}
    lists = {name: _read_list(file, root) for name, file in files.items()}
    generated, of_generated = _generated(lists)
    held_out = [lists[name].rows.with_columns(split=pl.lit(split)) for name, split in _SPLITS.items() if name in lists]
    rows = pl.concat([lists[TRAIN].rows, generated.with_columns(source=pl.lit("generated")), *held_out])
    counts, of_counts, different = _read_counts(place, rows)
    findings = (*(finding for one in lists.values() for finding in one.findings), *of_generated, *different)
    return _Lists(rows, counts, (*(one.source for one in lists.values()), *of_counts), findings)


def _read_list(file: Path, root: Path | None) -> _List:
    """Read a list, with a header or without: a first row whose second field is a whole number is a row."""
    text = read_text(file)
    first = next((line for line in text.splitlines() if line.strip()), "")
    header, lines, fields = parse_table(file, text, HEADER if re.fullmatch(r'.*,\s*"?-?[0-9]+"?\s*', first) else ())
    if tuple(header) != HEADER:
        shown = first_five([repr(name) for name in header])
        raise BadData(f"{file}: its header is {shown}, expected img,label; name another format with --format, as in table")
    table = pl.DataFrame(fields, schema=dict.fromkeys(HEADER, pl.String), orient="row")
    numbers = pl.Series(ROW, lines, dtype=pl.Int64)
    labels, odd = whole_labels(table["label"], numbers, file)
    rows = pl.DataFrame([numbers, clean_paths(table["img"], numbers, file, root), labels.alias("label")])
    rows = rows.with_columns(
        pl.lit(file.name).alias(LIST), pl.lit("train").alias("split"), pl.lit("real").alias("source"), pl.lit(1.0).alias("weight")
    )
    return _List(rows, SourceTable(file.name, table.height, table.row(0, named=True)), odd)


def _generated(lists: Mapping[str, _List]) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Give the generated images, and compare `alltrain.csv` with the lists that it is made of."""
    train = lists[TRAIN].rows
    if FILLED not in lists:
        return (lists[GENERATED].rows if GENERATED in lists else train.clear()), ()
    filled, twice = once(lists[FILLED].rows)
    if GENERATED in lists:
        generated = lists[GENERATED].rows
    else:
        generated = filled.join(train, on="path", how="anti").filter(pl.col("path").str.contains(_OF_GENERATED))
    parts = pl.concat([train, generated])
    is_kept = generated["path"].is_in(filled["path"].implode())
    findings = (
        *twice,
        *_apart("not-in-parts", filled.join(parts, on="path", how="anti"), "are in neither", lists),
        *_apart("not-in-alltrain", train.join(filled, on="path", how="anti"), "are not in it", lists),
        *_apart("other-label", filled.join(parts, on="path").filter(pl.col("label") != pl.col("label_right")), "have another label", lists),
    )
    return generated.with_columns(is_kept.cast(pl.Float64).alias("weight")), findings


def _apart(kind: str, rows: pl.DataFrame, what: str, lists: Mapping[str, _List]) -> tuple[Finding, ...]:
    if rows.is_empty():
        return ()
    parts = " and ".join(lists[name].source.name for name in (TRAIN, GENERATED) if name in lists)
    first = f"first: {rows['path'][0]!r} in row {rows[ROW][0]} of {rows[LIST][0]}"
    says = f"{lists[FILLED].source.name} is not {parts} together: {rows.height:,} images {what} ({first})"
    return (Finding(kind, "error", says, rows.height, tuple(rows["path"])),)


def _left_out(rows: pl.DataFrame, classes: Sequence[str]) -> tuple[Finding, ...]:
    """Note the generated images that weigh nothing, by class."""
    dropped = rows.filter(pl.col("weight") == 0)
    if dropped.is_empty():
        return ()
    by_class = dropped.group_by("label").len().sort("len", "label", descending=[True, False])
    shown = [f"{classes[label]} {count:,}" for label, count in by_class.iter_rows()]
    says = f"{FILLED} leaves out {dropped.height:,} generated images, which weigh 0, in {by_class.height:,} classes: {first_five(shown)}"
    return (Finding("generated-left-out", "note", says, dropped.height, tuple(dropped["path"])),)


def _read_counts(place: Place, rows: pl.DataFrame) -> tuple[Mapping[int, int], tuple[SourceTable, ...], tuple[Finding, ...]]:
    """Read `cls_label.json`, where there is one, and compare it with the list of training images."""
    file = place.inside(COUNTS)
    if file is None:
        return {}, (), ()
    table = _read_json(file)
    for key, count in table.items():
        if not _CLASS_ID.fullmatch(key) or int(key) > MOST_LABEL or type(count) is not int or count < 0:
            raise BadData(f'{file}: {key[:40]!r} has {str(count)[:40]!r}, expected a label and its number of images, as in "0": 147')
    said = {int(key): count for key, count in table.items()}
    source = SourceTable(file.name, len(table), dict(list(table.items())[:1]) or None)
    return said, (source,), (*_beyond(file.name, said, rows), *_other_counts(file.name, said, rows))


def _other_counts(file: str, said: Mapping[int, int], rows: pl.DataFrame) -> tuple[Finding, ...]:
    train = rows.filter((pl.col("split") == "train") & (pl.col("source") == "real"))
    there = dict(train["label"].value_counts().iter_rows())
    wrong = [label for label in sorted(said) if said[label] != there.get(label, 0)]
    if not wrong:
        return ()
    more = f" (and {len(wrong) - 1:,} more classes differ: {first_five(wrong[1:])})" if len(wrong) > 1 else ""
    says = f"{file} says {said[wrong[0]]:,} for class {wrong[0]}, {rows[LIST][0]} has {there.get(wrong[0], 0):,}{more}"
    return (Finding("counts-differ", "error", says, len(wrong), tuple(str(label) for label in wrong)),)


def _beyond(file: str, said: Mapping[int, int], rows: pl.DataFrame) -> tuple[Finding, ...]:
    strange = rows.filter(~pl.col("label").is_in(list(said)))
    if strange.is_empty():
        return ()
    row, path, label, name = strange.select(ROW, "path", "label", LIST).row(0)
    labels = f"0..{max(said)}" if said else "none"
    says = f"label {label} in row {row} of {name} ({path!r}) is none of {file}, which has {labels}; {strange.height:,} images in all"
    return (Finding("label-out-of-range", "error", says, strange.height, tuple(strange["path"])),)


def _read_names(place: Place) -> tuple[Mapping[str, str] | None, tuple[SourceTable, ...]]:
    """Read `classname.txt`, where there is one: wnid -> name."""
    file = place.inside(NAMES)
    if file is None:
        return None, ()
    table = _read_json(file)
    for key, entry in table.items():
        is_pair = isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) and part.strip() for part in entry)
        if not is_pair:
            raise BadData(f'{file}: {key[:40]!r} has {str(entry)[:60]!r}, expected a wnid and a name, as in ["n04522168", "vase"]')
    source = SourceTable(file.name, len(table), dict(list(table.items())[:1]) or None)
    return {wnid: name.replace("_", " ").strip() for wnid, name in table.values()}, (source,)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        table = json.loads(read_text(file), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise BadData(f"{file}: cannot be read as JSON ({error}); download or write it again") from error
    if not isinstance(table, dict):
        raise BadData(f"{file}: holds a {type(table).__name__}, expected a JSON dictionary; download or write it again")
    return table


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"duplicate key {key[:40]!r}")
        table[key] = value
    return table


_Named = tuple[tuple[str, ...], list[str | None], tuple[Finding, ...]]
"""Class names and wnids in label order, and findings."""


def _names(rows: pl.DataFrame, class_ids: Sequence[int], named: Mapping[str, str] | None) -> _Named:
    """Name the classes by the wnids that the names of their real images begin with.

    Args:
        rows: as `_Lists` has them.
        class_ids: in label order.
        named: wnid -> name; None where nobody says.
    """
    real = rows.filter(pl.col("source") == "real").with_columns(wnid=pl.col("path").str.split("/").list.last().str.extract(f"({WNID})"))
    often = real.drop_nulls("wnid").group_by("label", "wnid").len().sort("label", "len", "wnid", descending=[False, True, False])
    of_class = dict(often.unique("label", keep="first", maintain_order=True).select("label", "wnid").iter_rows())
    wnids = [of_class.get(class_id) for class_id in class_ids]
    names = [wnid if wnid is None or named is None else named.get(wnid, wnid) for wnid in wnids]
    texts = [str(class_id) for class_id in class_ids]
    filled = [name or text for name, text in zip(names, texts, strict=True)]
    classes = distinct_names(filled, [wnid or text for wnid, text in zip(wnids, texts, strict=True)], texts)
    findings = _wnid_findings(real, of_class) if of_class else ()
    return classes, wnids, (*findings, *_nameless(of_class, named))


def _wnid_findings(real: pl.DataFrame, of_class: Mapping[int, str]) -> tuple[Finding, ...]:
    """Report images that do not show the wnid of their class, and wnids of several classes."""
    real = real.with_columns(expected=pl.col("label").replace_strict(of_class, default=None, return_dtype=pl.String))
    found = []
    for kind, what, those in (
        ("wnid-missing", "have no wnid at the beginning of their names", real.filter(pl.col("wnid").is_null())),
        ("wnid-of-another-class", "have another wnid than the rest of their class", real.filter(pl.col("wnid") != pl.col("expected"))),
    ):
        if those.height:
            path, row, name, label = those.select("path", ROW, LIST, "label").row(0)
            says = f"{those.height:,} images {what} (first: {path!r}, label {label}, in row {row} of {name})"
            found.append(Finding(kind, "error", says, those.height, tuple(those["path"])))
    labels_of: dict[str, list[int]] = {}
    for label, wnid in of_class.items():
        labels_of.setdefault(wnid, []).append(label)
    shared = [f"{wnid} (labels {first_five(labels)})" for wnid, labels in labels_of.items() if len(labels) > 1]
    if shared:
        found.append(
            Finding("wnid-of-two-classes", "error", f"{len(shared):,} wnids stand for several labels: {first_five(shared)}", len(shared))
        )
    return tuple(found)


def _nameless(of_class: Mapping[int, str], named: Mapping[str, str] | None) -> tuple[Finding, ...]:
    if named is None:
        return ()
    missing = [(label, wnid) for label, wnid in of_class.items() if wnid not in named]
    if not missing:
        return ()
    shown = [f"{wnid} (label {label})" for label, wnid in missing]
    says = f"{NAMES} has no name for {len(missing):,} wnids: {first_five(shown)}"
    return (Finding("wnid-without-name", "error", says, len(missing), tuple(wnid for _, wnid in missing)),)


def _located(paths: pl.Series, path: Path, given: Path | None) -> Located:
    """Find the images. Generated ones lie beside `images`, so who names that folder means the one above it."""
    folder = path if path.is_dir() else path.parent
    if given is not None and given.name == "images" and given.is_dir():
        given = given.parent
    return locate(paths, [folder, folder.parent], path, given)


def _columns(rows: pl.DataFrame, paths: pl.Series) -> pl.DataFrame:
    """Give the columns of the manifest; `source` and `weight` only where they tell rows apart."""
    optional = [column for column, usual in (("source", "real"), ("weight", 1.0)) if (rows[column] != usual).any()]
    return rows.select(pl.col("path").alias("id"), paths.alias("path"), "label", "split", *optional, pl.int_range(pl.len()).alias(POSITION))


def _sizes(rows: pl.DataFrame) -> str:
    kinds = pl.when(pl.col("source") == "real").then(pl.col("split")).otherwise(pl.lit("generated"))
    sizes = dict(rows.select(kinds.alias("kind"))["kind"].value_counts().iter_rows())
    return ", ".join(f"{sizes[kind]:,} {kind}" for kind in ("train", "generated", "val", "test") if kind in sizes)
