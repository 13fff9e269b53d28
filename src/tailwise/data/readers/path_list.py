"""Reader of `path label` lists, as ImageNet-LT, Places-LT and iNaturalist 2018 are published: text, a row an image, no header."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tailwise.data.images import is_image_name
from tailwise.data.listing import first_five
from tailwise.data.locating import AS_WRITTEN, clean_paths, locate
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.labels import SPLIT_WORDS, split_in_name
from tailwise.data.readers.listed import LIST, ROW, WNID, distinct_names, gap_note, once, positions, set_name, unseen, whole_labels
from tailwise.data.readers.opening import read_text
from tailwise.data.walk import entries
from tailwise.errors import BadData

NAMES = "classnames.txt"

UNKNOWN = -1
"""Label of open-set images, which are of no class."""

_SEPARATORS = ("\t", ";", ",", " ")
"""Of equals the first is taken: blanks may follow other separators."""

_LOOK = 100
"""Rows by which the separator of a list is decided."""

_NUMBER = r"-?[0-9]+(\.0+)?"
_ENDS = re.compile(r"\r\n|\n|\r")
_NAMED = re.compile(r".+\.(txt|lst|list|csv|tsv)(\.gz)?", re.IGNORECASE | re.DOTALL)


def recognises(place: Place) -> bool:
    """A text file whose lines are the path of an image and a whole number, or a folder with lists of splits and no class folders.

    The first line must be such a line, and 99 % of the others that are looked at; one may always be another.
    """
    if place.is_folder:
        return any(_is_list(Place(place.path / name)) for name in _called(place)) and not _has_class_folders(place.path)
    return _is_list(place)


def _is_list(place: Place) -> bool:
    if place.is_folder or not place.lines or not _is_row(place.lines[0]):
        return False
    unfit = sum(not _is_row(line) for line in place.lines)
    return unfit <= max(1, len(place.lines) // 100)


def _is_row(line: str) -> bool:
    line = line.rstrip(" \t")
    cut = max(line.rfind(sign) for sign in _SEPARATORS)
    return re.fullmatch(_NUMBER, line[cut + 1 :]) is not None and is_image_name(line[: max(cut, 0)].rstrip("".join(_SEPARATORS)))


def _called(place: Place) -> list[str]:
    """Name what may be a list of a split, by its name."""
    return [name for name in place.names if _NAMED.fullmatch(name) and split_in_name(name) is not None]


def _has_class_folders(folder: Path) -> bool:
    """Tell whether two folders or more hold images themselves, but for those that are named like splits."""
    found = 0
    for entry in entries(folder):
        if entry.is_dir() and entry.name.lower() not in SPLIT_WORDS and _holds_images(entry.path):
            found += 1
            if found > 1:
                return True
    return False


def _holds_images(folder: str) -> bool:
    try:
        with os.scandir(folder) as inside:
            return any(is_image_name(entry.name) for entry in inside)
    except OSError:
        return False


def read_path_list(path: Path | str, root: Path | str | None = None) -> Manifest:
    """Read a list, or a folder of lists whose names say their split (`ImageNet_LT_train.txt`), plain or `.gz`.

    A row is a path, a blank, tab, comma or semicolon, and a label. Rows are parted once, from the right, so that paths may hold blanks;
    which sign parts them is decided once for a list. There are no quotes.

    Labels are class ids, and those without images leave a gap: they are numbered anew, and kept in the class table. A class is called by
    its class id, or as `classnames.txt` beside the list says, whose lines are a wnid (or a word) and a name. The label -1 is unknown.

    Args:
        path: a list or a folder.
        root: folder that paths are relative to; None is the list's own. `/` admits absolute paths.

    Raises:
        BadData: a row has no label, or one that is no whole number or is out of range; the list ends inside a row; a path leaves the
            root; the root holds none of the images; two lists of a split; one line with file and row.
    """
    path, given = Path(path), None if root is None else Path(root)
    place = Place(path)
    files, left = _lists(place)
    read = [_read_list(file, split, given) for split, file in files.items()]
    rows, repeated = once(pl.concat([one.rows for one in read]))
    named, of_names = _read_names(place)
    class_ids = sorted(rows["label"].drop_nulls().unique()) or list(range(len(named)))
    if not class_ids:
        raise BadData(f"{path}: all its labels are {UNKNOWN}, unknown, expected some that are classes; put {NAMES} beside it to name them")
    classes, class_table = _classes(class_ids, named)
    rows = rows.with_columns(positions(rows["label"], class_ids))
    located = locate(rows["path"], [path if place.is_folder else path.parent], path, given)
    table = rows.select(pl.col("path").alias("id"), located.paths.alias("path"), "label", "split")
    findings = (
        *(finding for one in read for finding in one.findings),
        *repeated,
        *_unknown(rows, path.name),
        *gap_note(class_ids, path.name),
        *_unnamed(class_ids, named, path.name),
        *unseen(rows, classes, path.name),
    )
    summary = f"read from {first_five([file.name for file in files.values()])}: {table.height:,} images, {len(classes):,} classes"
    notes = ([] if located.said == AS_WRITTEN else [located.said]) + ([f"left unread: {first_five(left)}"] if left else [])
    tables = (*(one.source for one in read), *of_names)
    return Manifest(table, classes, located.root, {}, set_name(path), (summary, *notes), class_table, Origin(tables, findings))


class _List(NamedTuple):
    """One list: `row`, `path`, `label` (Int64, null where unknown), `list` and `split`."""

    rows: pl.DataFrame
    source: SourceTable
    findings: tuple[Finding, ...]


def _lists(place: Place) -> tuple[Mapping[str, Path], list[str]]:
    """Give the lists to read by split, train first, and the names of lists that are left unread."""
    path = place.path
    if not place.is_folder:
        return {split_in_name(path.name) or "train": path}, []
    called, found = _called(place), dict[str, Path]()
    for name in called:
        split = split_in_name(name)
        if split is None or not _is_list(Place(path / name)):
            continue
        if split in found:
            raise BadData(f"{path}: both {found[split].name} and {name} list {split}; name one list, or give each set a folder")
        found[split] = path / name
    for name in called:  # what is named like a split beside lists claims to be one: its reader says what is wrong with it
        if found and (split := split_in_name(name)) is not None:
            found.setdefault(split, path / name)
    if not found:
        raise BadData(f"{path}: no list of a split there, expected one with lines 'path label' and a name like ImageNet_LT_train.txt")
    others = [name for name in place.names if _NAMED.fullmatch(name) and name not in called and _is_list(Place(path / name))]
    return {split: found[split] for split in ("train", "val", "test") if split in found}, others


def _read_list(file: Path, split: str, root: Path | None) -> _List:
    text = read_text(file)
    lines = pl.Series("line", _ENDS.split(text), dtype=pl.String)
    table = pl.DataFrame([pl.int_range(1, len(lines) + 1, eager=True).alias(ROW), lines]).filter(pl.col("line").str.strip_chars() != "")
    if table.is_empty():
        raise BadData(f"{file}: no rows; expected lines such as 'train/n01440764/n01440764_762.JPEG 0'")
    sign = _separator(table["line"].head(_LOOK))
    fields = table["line"].str.strip_chars_end(" \t").str.extract_groups(rf"^(?P<path>.*){sign}(?P<label>[^{sign}]*)$").struct.unnest()
    fields = pl.DataFrame([table[ROW], fields["path"].str.strip_chars_end(" \t"), fields["label"]])
    _refuse_cut(file, text, table["line"][-1], fields["label"][-1], table[ROW][-1])
    unfit = table.filter(fields["label"].is_null())
    if unfit.height:
        more = f" (and {unfit.height - 1:,} more)" if unfit.height > 1 else ""
        shown = unfit["line"][0][:80]
        raise BadData(
            f"{file}: row {unfit[ROW][0]}{more} is {shown!r}, expected a path, {_called_sign(sign)} and a label; correct the list"
        )
    labels, odd = whole_labels(fields["label"], fields[ROW], file, lowest=UNKNOWN)
    labels = labels.set(labels == UNKNOWN, None).alias("label")
    paths = clean_paths(fields["path"], fields[ROW], file, root)
    rows = pl.DataFrame([fields[ROW], paths, labels]).with_columns(pl.lit(file.name).alias(LIST), pl.lit(split).alias("split"))
    return _List(rows, SourceTable(file.name, rows.height, fields.drop(ROW).row(0, named=True)), odd)


def _separator(lines: pl.Series) -> str:
    """Decide what parts a list: what leaves a whole number at the end of most rows; a blank where nothing does."""
    fitting = {sign: int(lines.str.contains(rf"{sign}[ \t]*{_NUMBER}[ \t]*$").sum()) for sign in _SEPARATORS}
    best = max(_SEPARATORS, key=fitting.__getitem__)  # the first of equals
    return best if fitting[best] else " "


def _called_sign(sign: str) -> str:
    return {"\t": "a tab", " ": "a blank"}.get(sign, repr(sign))


def _refuse_cut(file: Path, text: str, last: str, label: str | None, row: int) -> None:
    """Refuse a list whose last line has neither a line end nor what begins like a label: a download that broke off."""
    if text.endswith(("\n", "\r")) or (label is not None and re.match(r"[ \t]*[+-]?[0-9]", label)):
        return
    raise BadData(f"{file}: list ends inside row {row} ({last[-80:]!r}); download incomplete? Fetch it again")


def _read_names(place: Place) -> tuple[list[tuple[str, str]], tuple[SourceTable, ...]]:
    """Read `classnames.txt`, where there is one: a word and a name of each class id in turn."""
    file = place.inside(NAMES)
    if file is None or (not place.is_folder and file == place.path):
        return [], ()
    named = []
    for line in _ENDS.split(read_text(file).rstrip()):
        word, name = (line.split(maxsplit=1) * 2 or ["", ""])[:2]  # a word alone is the name too
        named.append((word, name.strip()))
    return named, (SourceTable(file.name, len(named), {"id": named[0][0], "name": named[0][1]}),)


def _classes(class_ids: Sequence[int], named: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], pl.DataFrame]:
    """Give class names in label order, and the class table: class ids, and wnids where the names have them."""
    texts = [str(class_id) for class_id in class_ids]
    pairs = [named[class_id] if class_id < len(named) else ("", "") for class_id in class_ids]
    names = [name or text for (_, name), text in zip(pairs, texts, strict=True)]
    words = pl.Series("wnid", [word for word, _ in pairs], dtype=pl.String)
    table = pl.DataFrame({"class_id": texts}, schema={"class_id": pl.String})
    if words.str.contains(f"{WNID}$").all():
        table = table.with_columns(words)
    return distinct_names(names, [word or text for word, text in zip(words, texts, strict=True)], texts), table


def _unknown(rows: pl.DataFrame, where: str) -> tuple[Finding, ...]:
    ids = rows.filter(pl.col("label").is_null())["path"]
    if ids.is_empty():
        return ()
    says = f"{where}: {len(ids):,} images have the label {UNKNOWN}, unknown: they are of no class ({first_five(ids.to_list())})"
    return (Finding("unknown-labels", "note", says, len(ids), tuple(ids)),)


def _unnamed(class_ids: Sequence[int], named: Sequence[tuple[str, str]], where: str) -> tuple[Finding, ...]:
    without = [class_id for class_id in class_ids if class_id >= len(named) or not named[class_id][1]]
    if not named or not without:
        return ()
    says = f"{where}: {NAMES} names {len(named):,} classes, and none of {len(without):,} labels ({first_five(without)}); is it of this set?"
    return (Finding("labels-without-name", "warning", says, len(without), tuple(str(class_id) for class_id in without)),)
