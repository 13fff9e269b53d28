"""The classes of COCO-style JSON: ids of the source, names, and levels of a hierarchy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.origin import Finding
from tailwise.data.readers.json_tables import JsonTables
from tailwise.data.readers.listed import distinct_names
from tailwise.errors import BadData

Id = int | str
BESIDE = "categories.json"
"""A list of categories with the names that a set's own file hides, as iNaturalist 2018 and 2019 publish it."""


class Category(msgspec.Struct, gc=False):
    """A category record; Herbarium 2022 calls its key `category_id` and its name `scientificName`."""

    id: Id | None = None
    category_id: Id | None = None
    name: str | None = None
    scientificName: str | None = None
    kingdom: str | None = None
    phylum: str | None = None
    class_: str | None = msgspec.field(default=None, name="class")
    order: str | None = None
    family: str | None = None
    genus: str | None = None
    species: str | None = None
    specific_epithet: str | None = None
    supercategory: str | None = None
    common_name: str | None = None
    authors: str | None = None
    frequency: str | None = None
    synset: str | None = None
    image_count: int | None = None


_KEPT = (
    *("kingdom", "phylum", "class", "order", "family", "genus", "species", "specific_epithet", "supercategory"),
    *("common_name", "authors", "frequency", "synset", "image_count"),
)
"""Fields that are kept of a category, coarse ones first."""


@dataclass(frozen=True)
class Classes:
    """Classes in label order.

    Attributes:
        ids: what the source calls them, sorted: as numbers where all are whole, else as text.
        names: unique.
        table: `class_id` and the fields that some category has.
        notes: for the provenance.
        findings: what does not fit.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    table: pl.DataFrame
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def labels(self) -> pl.DataFrame:
        """`class` (id as text) and `label`."""
        return pl.DataFrame({"class": list(self.ids), "label": range(len(self.ids))}, schema={"class": pl.String, "label": pl.Int32})

    def of_annotations(self, found: pl.Series) -> Classes:
        """Give the classes that annotations name, of a file without categories."""
        ids = _sorted(set(found.drop_nulls()))
        return Classes(
            tuple(ids), tuple(ids), pl.DataFrame({"class_id": ids}, schema={"class_id": pl.String}), ("classes named by their ids",)
        )


def read_categories(text: JsonTables) -> tuple[list[Category], list[Category]]:
    """Give the categories of a file, and those of a `categories.json` beside it."""
    folder = text.file.parent
    beside = [place for place in (folder / BESIDE, folder / f"{BESIDE}.gz") if place.is_file() and place != text.file]
    return text.records("categories", Category), JsonTables(beside[0]).records("", Category) if beside else []


def join_classes(found: Sequence[tuple[list[Category], list[Category]]], where: Path) -> Classes:
    """Join the categories of several files by id.

    Raises:
        BadData: a category has no id.
    """
    merged: dict[str, Category] = {}
    findings = []
    twice: Counter[str] = Counter()
    torn = set()
    for of_file, _ in found:
        seen = set()
        for category in of_file:
            key = _key(category, where)
            twice[key] += key in seen
            seen.add(key)
            if key in merged and _name(merged[key]) != _name(category):
                torn.add(key)
            merged.setdefault(key, category)
    repeated = [key for key, number in twice.items() if number]
    if torn:
        named = first_five(_sorted(torn))
        findings.append(
            Finding("class-with-two-names", "error", f"{len(torn):,} class ids have two names: {named}.", len(torn), tuple(_sorted(torn)))
        )
    if repeated:
        named = first_five(_sorted(set(repeated)))
        says = f"{len(repeated):,} class ids are there twice: {named}."
        findings.append(Finding("class-twice", "warning", says, len(repeated), tuple(_sorted(set(repeated)))))
    better = {_key(category, where): category for _, beside in found for category in beside}
    notes = [f"names of the classes are those of {BESIDE}"] if better and set(better) & set(merged) else []
    merged = {key: better.get(key, category) for key, category in merged.items()}
    ids = _sorted(set(merged))
    names, of_names = _names([merged[key] for key in ids], ids)
    return Classes(tuple(ids), names, _table(merged, ids), tuple(notes), (*findings, *of_names, *_gaps(ids)))


def _key(category: Category, where: Path) -> str:
    value = category.category_id if category.id is None else category.id
    if value is None:
        raise BadData(f"{where}: a category has neither id nor category_id; correct the file")
    return str(value)


def _name(category: Category) -> str:
    return category.name or category.scientificName or ""


def _sorted(ids: set[str]) -> list[str]:
    """Sort ids, as numbers where all are whole and none is spelt in two ways."""
    is_whole = all(re.fullmatch(r"-?[0-9]{1,19}", key) for key in ids)
    return sorted(ids, key=lambda key: (int(key), key)) if is_whole else sorted(ids)


def _names(categories: Sequence[Category], ids: Sequence[str]) -> tuple[tuple[str, ...], list[Finding]]:
    plain = [_name(category) or key for category, key in zip(categories, ids, strict=True)]
    often = Counter(plain)
    nameless = [key for category, key in zip(categories, ids, strict=True) if not _name(category)]
    findings = []
    if nameless:
        says = f"{len(nameless):,} classes have no name and are called by their ids: {first_five(nameless)}."
        findings.append(Finding("class-without-name", "warning", says, len(nameless), tuple(nameless)))
    shared = sorted(name for name, number in often.items() if number > 1)
    if shared:
        says = f"{len(shared):,} names are those of several classes, which get their ids too: {first_five(shared)}."
        findings.append(Finding("name-of-several-classes", "note", says, len(shared), tuple(shared)))
    return distinct_names(plain, [f"({key})" for key in ids], ids), findings


def _table(merged: dict[str, Category], ids: Sequence[str]) -> pl.DataFrame:
    columns: dict[str, list[str | None]] = {"class_id": list(ids)}
    for field in _KEPT:
        values = [getattr(merged[key], "class_" if field == "class" else field) for key in ids]
        if any(value is not None for value in values):
            columns[field] = [None if value is None else str(value) for value in values]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _gaps(ids: Sequence[str]) -> list[Finding]:
    if not ids or not all(key.isascii() and key.isdigit() and len(key) < 10 for key in ids):
        return []
    first, last = int(ids[0]), int(ids[-1])
    missing = last - first + 1 - len(ids)
    if missing <= 0:
        return []
    present = {int(key) for key in ids}
    named = [str(number) for number in range(first, last + 1) if number not in present][:5] if missing < 1_000_000 else []
    says = f"class ids {first}..{last} have {missing:,} gaps{f' ({first_five(named)})' if named else ''}: {len(ids):,} classes."
    return [Finding("gap-in-class-ids", "note", says, missing, tuple(named))]
