"""Reader of (domain, class) lists: tables with the domain in a column (PACS, OfficeHome, VLCS, TerraIncognita), and text lists of one
domain each (DomainNet, the older PACS)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tailwise.data.cells import cell_counts
from tailwise.data.listing import first_five
from tailwise.data.locating import AS_WRITTEN, clean_paths, locate
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.delimited import glance, read_texts
from tailwise.data.readers.labels import SPLIT_WORDS, number_labels
from tailwise.data.readers.lines import ROW, read_fields
from tailwise.data.readers.roles import ROLES, find_roles, plain
from tailwise.data.readers.table import by_role, manifest_of_paths, said_columns
from tailwise.errors import BadData

_ROLES = {role: ROLES[role] for role in ("path", "label", "split", "weight")} | {"domain": ("domain", "env")}
"""Ids are the paths as written: the first part of each is the domain, the second the class."""

_LIST = re.compile(rf"(?P<domain>.+?)_(?P<split>{'|'.join(SPLIT_WORDS)})(?![A-Za-z]).*\.txt(\.gz)?", re.IGNORECASE | re.DOTALL)
"""Names of text lists: `clipart_train.txt`, `art_painting_crossval_kfold.txt`."""

_LINE = r"(?P<path>.*\S)[ \t]+(?P<label>0|[1-9][0-9]{0,17})[ \t]*"

DUPLICATES = "domain_net_duplicates.txt"
"""Paths of DomainNet's images that are there twice, as published with its lists; the images are left out."""


def recognises(place: Place) -> bool:
    """A table or text lists whose paths begin with the domain.

    The domain is a column `env` or `domain` beside a path and a label, or the first part of the list's name.
    """
    if place.is_folder:
        return any(_is_list(place.path / name) for name in place.names if _LIST.fullmatch(name))
    if place.plain_name.startswith(DUPLICATES) or _is_list(place.path):
        return True
    table = glance(place)
    roles = {role: [name for name in table.columns if plain(name) in _ROLES[role]] for role in ("domain", "path", "label")}
    if any(len(columns) != 1 for columns in roles.values()) or table.is_empty():
        return False
    begins = _part(pl.col(roles["path"][0]), 0) == pl.col(roles["domain"][0]).str.strip_chars()
    return bool(table.select(begins.fill_null(False).mean()).item() > 0.5)


def _is_list(file: Path) -> bool:
    name = _LIST.fullmatch(file.name)
    if name is None or not file.is_file():
        return False
    lines = Place(file).lines
    return bool(lines) and all(line.startswith(f"{name['domain']}/") for line in lines[:10])


def read_domains(path: Path | str, root: Path | str | None = None) -> Manifest:
    """Read a table with the columns domain (or env), label, path and split, a text list of a domain, or a folder of those.

    The domain is the first part of a path and the class the second, which gives a class its name where it fits the label; what does
    not fit is a finding. Labels may be any whole numbers: they are numbered anew, and are the `class_id` of the class table. Cells of
    domain and class without training images are fine.

    Args:
        path: a `.csv` or `.tsv`; a text list of lines `path label`, called `<domain>_<split>.txt`; a folder of such lists, from which
            the images are left out that `domain_net_duplicates.txt` beside them names.
        root: folder that paths are relative to; None is the list's own. `/` admits absolute paths.

    Raises:
        BadData: a column is missing, or a row is not what it should be; one line with file and row.
    """
    path, given = Path(path), None if root is None else Path(root)
    place = Place(path)
    if place.plain_name.startswith(DUPLICATES):
        raise BadData(
            f"{path}: names images that are to be left out, without labels; give the folder of DomainNet's lists with it in there"
        )
    if place.is_folder or _LIST.fullmatch(path.name):
        found, tables, findings = _read_lists(place, given)
    else:
        found, tables, findings = _read_table(path, given)
    found, of_names = _named(found, path.name)
    findings += of_names + _elsewhere(found, path.name) + _empty_cells(found, path.name)
    return found.replace(origin=Origin(tables, findings))


_Read = tuple[Manifest, tuple[SourceTable, ...], tuple[Finding, ...]]


def _read_table(file: Path, root: Path | None) -> _Read:
    table = read_texts(file)
    roles = find_roles(table.texts.columns, {}, file, usual=_ROLES, needed=("path", "label", "domain"))
    by_name = by_role(table.texts, roles, table.lines).with_columns(pl.col("domain").str.strip_chars())
    without = by_name.filter(pl.col("domain") == "")[ROW]
    if len(without):
        raise BadData(f"{file}: row {without[0]} has no domain ({len(without):,} rows in all); give every row one")
    found = manifest_of_paths(by_name, file, table.name, said_columns(table.texts.columns, roles), root)
    return found.replace(rows=found.rows.with_columns(by_name["domain"])), (table.source,), ()


def _read_lists(place: Place, root: Path | None) -> _Read:
    """Read all lists of a folder, or one."""
    path = place.path
    found = [match for name in (place.names if place.is_folder else [path.name]) if (match := _LIST.fullmatch(name))]
    if not found:
        raise BadData(f"{path}: no text lists there; expected names such as clipart_train.txt")
    folder = path if place.is_folder else path.parent
    read = [_read_list(folder / match.string, match, root) for match in found]
    rows, findings = _once(pl.concat([one.rows for one in read]), path.name)
    rows, notes = _without_duplicates(rows, place)
    if rows.is_empty():
        raise BadData(f"{path}: all its images are in {DUPLICATES}, expected some that are not; is it the right list?")
    labels = number_labels(rows["label"], rows[ROW], path)
    located = locate(rows["id"], [folder], path, root)
    summary = f"read from {len(read):,} lists of {path.name!r}: {rows.height:,} images, {len(labels.classes):,} classes"
    provenance = (summary, *([] if located.said == AS_WRITTEN else [located.said]), *labels.notes, *notes)
    rows = rows.select("id", "domain", "split", labels.numbers.alias("label"), located.paths.alias("path"))
    name = path.name if place.is_folder else re.sub(r"\.txt(\.gz)?$", "", path.name)
    manifest = Manifest(rows, labels.classes, located.root, {}, name or "domains", provenance)
    return manifest, tuple(one.source for one in read), findings


class _List(NamedTuple):
    rows: pl.DataFrame
    source: SourceTable


def _read_list(file: Path, name: re.Match[str], root: Path | None) -> _List:
    """Read the lines of one list into `id`, `label` (String), `domain`, `split` and `row`."""
    lines = read_fields(file, _LINE, "'clipart/bird/clipart_032_000255.jpg 31'")
    source = SourceTable(file.name, lines.height, lines.drop(ROW).row(0, named=True))
    paths = clean_paths(lines["path"], lines[ROW], file, root)
    domain, split = pl.lit(name["domain"]).alias("domain"), pl.lit(SPLIT_WORDS[name["split"].lower()]).alias("split")
    return _List(lines.select(ROW, paths.alias("id"), "label", domain, split), source)


def _once(rows: pl.DataFrame, where: str) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Keep each image once, and report those of several lists: as in PACS's own, whose test lists hold a domain's training images."""
    order = pl.col("split").replace_strict({"train": 0, "val": 1, "test": 2}, return_dtype=pl.Int8)
    rows = rows.sort(order, maintain_order=True)
    kept = rows.unique("id", keep="first", maintain_order=True)
    if kept.height == rows.height:
        return rows, ()
    again = rows.filter(pl.col("id").is_duplicated()).group_by("id", maintain_order=True)
    several = again.agg(pl.col("split").unique(maintain_order=True), pl.col("label").n_unique())
    findings = []
    for kind, what, those in (
        ("label-conflict", "have two labels, and the first was taken", several.filter(pl.col("label") > 1)),
        ("in-two-splits", "are in lists of two splits, and stay in the first", several.filter(pl.col("split").list.len() > 1)),
        ("listed-twice", "are listed twice in a split", several.filter((pl.col("split").list.len() == 1) & (pl.col("label") == 1))),
    ):
        if those.height:
            ids = tuple(those["id"])
            findings.append(Finding(kind, "error", f"{where}: {len(ids):,} images {what} ({first_five(ids)})", len(ids), ids))
    return kept, tuple(findings)


def _without_duplicates(rows: pl.DataFrame, place: Place) -> tuple[pl.DataFrame, tuple[str, ...]]:
    listed = place.inside(DUPLICATES) if place.is_folder else None
    if listed is None:
        return rows, ()
    duplicates = read_fields(listed, r"(?P<path>.*\S)[ \t]*", "'clipart/bird/clipart_032_000255.jpg'")["path"]
    kept = rows.filter(~pl.col("id").is_in(duplicates.implode()))
    return kept, (f"left out {rows.height - kept.height:,} duplicates that {listed.name} names ({len(duplicates):,} lines)",)


def _named(found: Manifest, where: str) -> tuple[Manifest, tuple[Finding, ...]]:
    """Name classes after the folders that their images lie in, and report images that lie elsewhere.

    A class has the name of its folder where most of its images are there and most of that folder are of this class; otherwise it
    keeps its number, which is its `class_id` in any case.
    """
    rows = found.rows.select("id", "label", _part(pl.col("id"), 1).alias("folder"))
    pairs = rows.drop_nulls().group_by("label", "folder").len().sort("len", "label", "folder", descending=[True, False, False])
    largest = [pairs.unique(column, keep="first", maintain_order=True) for column in ("label", "folder")]
    agreed = largest[0].join(largest[1], on=["label", "folder"], how="semi")
    elsewhere = rows.join(agreed, on=["label", "folder"], how="anti").sort("id")
    class_ids = found.classes
    found = found.replace(class_table=pl.DataFrame({"class_id": class_ids}, schema={"class_id": pl.String}))
    if elsewhere.height * 2 > rows.height:
        says = f"{where}: the second part of its paths is not the class; classes are named by their numbers"
        return found, (Finding("folders-are-no-classes", "note", says),)
    folder_of = dict(agreed.select("label", "folder").iter_rows())
    names = tuple(folder_of.get(label, class_id) for label, class_id in enumerate(class_ids))
    if len(set(names)) == len(names):
        found = found.replace(classes=names)
    if elsewhere.is_empty():
        return found, ()
    shown = [f"{id_} has label {class_ids[label]}" for id_, label in elsewhere.select("id", "label").iter_rows()]
    says = f"{where}: {elsewhere.height:,} images have another label than the rest of their folder: {first_five(shown)}"
    return found, (Finding("class-unlike-path", "error", says, elsewhere.height, tuple(elsewhere["id"])),)


def _elsewhere(found: Manifest, where: str) -> tuple[Finding, ...]:
    """Report images whose paths begin with another domain than theirs."""
    unlike = found.rows.filter(_part(pl.col("id"), 0).ne_missing(pl.col("domain"))).sort("id")
    if unlike.is_empty():
        return ()
    shown = [f"{id_} is said to be {domain}" for id_, domain in unlike.select("id", "domain").iter_rows()]
    says = f"{where}: {unlike.height:,} images have another domain than their paths begin with: {first_five(shown)}"
    return (Finding("domain-unlike-path", "error", says, unlike.height, tuple(unlike["id"])),)


def _empty_cells(found: Manifest, where: str) -> tuple[Finding, ...]:
    """Name the cells that are tested, but never seen in training: they are data, not errors."""
    train, test = cell_counts(found), cell_counts(found, "test")
    empty = train.filter((train["images"] == 0) & (test["images"] > 0))
    if empty.is_empty() or "train" not in found.splits:
        return ()
    cells = [f"({domain}, {found.classes[label]})" for domain, label in empty.select("domain", "label").iter_rows()]
    says = f"{where}: {len(cells):,} cells of domain and class have test images and no training image: {first_five(cells)}"
    return (Finding("empty-cells", "note", says, len(cells), tuple(cells)),)


def _part(path: pl.Expr, place: int) -> pl.Expr:
    """Give a folder of the path; null where it has none."""
    return path.str.split("/").list.slice(0, path.str.count_matches("/")).list.get(place, null_on_oob=True)
