"""Reader of COCO-style JSON: iNaturalist 2017 to 2021, Herbarium 2020 to 2022, LVIS; joined by id, never by position."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from tailwise.data.columns import SPLITS, all_differ
from tailwise.data.listing import first_five
from tailwise.data.locating import AS_WRITTEN, clean_paths, locate
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.coco_classes import Classes, join_classes, read_categories
from tailwise.data.readers.coco_findings import empty_boxes, label_findings, orphans, shared_files
from tailwise.data.readers.json_tables import JsonTables
from tailwise.data.readers.labels import split_in_name
from tailwise.errors import BadData

_OBJECT = re.compile(rb'\s*\{.*?"(images|annotations|categories)"\s*:', re.DOTALL)
_OF_RECORDS = re.compile(rb'\s*\{.*?"(images|annotations|categories)"\s*:\s*\[\s*[{\]]', re.DOTALL)
_LIST = re.compile(rb'\s*\[\s*\{[^{}]*"file_name"\s*:', re.DOTALL)
Id = int | str


class Image(msgspec.Struct, gc=False):
    """An image record; Herbarium 2022 calls its key `image_id`, LVIS v1 says where it is by `coco_url`."""

    id: Id | None = None
    image_id: Id | None = None
    file_name: str | None = None
    coco_url: str | None = None


class Annotation(msgspec.Struct, gc=False):
    """An annotation record; `fpath` stands in lists that have no images table."""

    id: Id | None = None
    image_id: Id | None = None
    category_id: Id | None = None
    genus_id: Id | None = None
    bbox: list[float | None] | None = None
    fpath: str | None = None


class Genus(msgspec.Struct, gc=False):
    """A genus record of Herbarium 2022."""

    genus_id: Id | None = None
    genus: str | None = None


class Part(NamedTuple):
    """What one file says.

    Attributes:
        file: where.
        split: that its name says.
        images: `image`, `path`: ids as text, in the file's order.
        annotations: `annotation`, `image`, `class`, `genus`: ids as text.
        boxes: whether most annotations have boxes.
        tables: of the file.
        findings: of the file alone.
    """

    file: Path
    split: str
    images: pl.DataFrame
    annotations: pl.DataFrame
    boxes: bool
    tables: tuple[SourceTable, ...]
    findings: tuple[Finding, ...]


def recognises(place: Place) -> bool:
    """A `.json` file that begins like COCO, or a folder with such files on top or in `train/`, `val/`, `test/`."""
    return bool(_files(place.path)) if place.is_folder else _is_coco(place.path)


def _is_coco(file: Path, sign: re.Pattern[bytes] = _OBJECT) -> bool:
    """Tell by how a file begins: one in a folder must surely be one, of one that the user named the reader says what is wrong."""
    if not file.name.lower().removesuffix(".gz").endswith(".json"):
        return False
    start = Place(file).start.removeprefix(b"\xef\xbb\xbf")
    return bool(sign.match(start) or _LIST.match(start))


def _files(folder: Path) -> list[Path]:
    """List the files of a folder, those of subfolders named like splits included."""
    below = [folder, *(folder / name for name in Place(folder).names if split_in_name(name) and (folder / name).is_dir())]
    names = [place / name for place in below for name in Place(place).names if re.search(r"\.json(\.gz)?$", name, re.IGNORECASE)]
    files = [file for file in names if file.is_file()]
    found = [file for file in files if _is_coco(file, _OF_RECORDS)]
    splits = {split_in_name(_stem(file.name)) for file in found}
    # What is named like a split beside COCO's files claims to be one: it is read, and said to be damaged where it is.
    claims = [file for file in files if found and split_in_name(_stem(file.name)) not in splits and _starts_like_nothing(file)]
    return [*found, *claims]


def _starts_like_nothing(file: Path) -> bool:
    """Tell a file that is empty, cut off or no UTF-8, in which nobody can see what it was."""
    return not Place(file).lines


def _stem(name: str) -> str:
    return re.sub(r"\.json(\.gz)?$", "", name, flags=re.IGNORECASE)


def read_coco(path: Path | str, root: Path | str | None = None) -> Manifest:
    """Read COCO-style JSON: one file, or a folder with one a split.

    Images, annotations and categories are joined by their ids, which stay text. Labels are the ranks of the class ids; `class_table` has
    the ids and the levels of the hierarchy. An image with annotations of one class counts once; with several classes it has several
    labels where most annotations have boxes (LVIS), and is a conflict elsewhere. Images of a list without annotations have no label.
    Lists that are not needed (`distances`) are counted and never kept. Names in a `categories.json` beside the file win over those in it.

    Args:
        path: `.json` or `.json.gz`; its name says the split, or its folder's, else it is train.
        root: folder that file names are relative to; None tries the file's own and `images/`, `train_images/` and the like in it.

    Raises:
        BadData: no such JSON, cut off, of another shape; names that leave the root; no image has a label.
    """
    path = Path(path)
    files = _files(path) if path.is_dir() else [path]
    texts = [JsonTables(file) for file in files]
    parts = [_part(text, path) for text in texts]
    classes = join_classes([read_categories(text) for text in texts], path)
    if not classes.ids:
        classes = classes.of_annotations(pl.concat([part.annotations for part in parts])["class"])
    rows, place, said = _rows(parts, path, None if root is None else Path(root))
    is_lvis = "frequency" in classes.table.columns
    labelled, of_labels = _label(rows, parts, classes, is_lvis)
    of_labels += shared_files(labelled)
    findings = (*classes.findings, *(found for part in parts for found in part.findings), *of_labels)
    tables = tuple(table for part in parts for table in part.tables)
    name = path.resolve().name if path.is_dir() else _stem(path.name)
    summary = f"read from the JSON of {path.name!r}: {labelled.height:,} images, {len(classes.ids):,} classes, joined by id"
    notes = (summary, *([] if said == AS_WRITTEN else [said]), *classes.notes)
    return Manifest(labelled, classes.names, place, {}, name, notes, classes.table, Origin(tables, findings))


def _part(text: JsonTables, source: Path) -> Part:
    """Decode one file, a list at a time, into columns of text."""
    file = text.file
    images = _images(text.records("" if "" in text.lists else "images", Image))
    genera = {_text(genus.genus_id): genus.genus for genus in text.records("genera", Genus)}
    records = text.records("annotations", Annotation)
    known = {"": images.table.height, "images": images.table.height, "annotations": len(records), "genera": len(genera)}
    if images.table.is_empty() and records and records[0].fpath is not None:
        images = _images([Image(image_id=one.image_id, file_name=one.fpath) for one in records])
    if images.table.is_empty():
        raise BadData(f'{file}: no images; expected a list \'images\' with records such as {{"id": 1, "file_name": "a.jpg"}}')
    annotations = _annotations(records, genera)
    boxes = [(one.id, one.bbox) for one in records if one.bbox is not None]
    del records  # a list that is only counted may come next, and there need not be room for both
    findings = [*empty_boxes(file, boxes)]
    if len(images.kinds | annotations.kinds) > 1:
        findings.append(Finding("mixed-ids", "note", f"{file.name}: image ids are numbers in some records, text in others; read as text."))
    split = _split_of(file, source, is_bare=bool("" in text.lists))
    has_boxes = 2 * len(boxes) > annotations.table.height
    return Part(file, split, images.table, annotations.table, has_boxes, text.tables(known), tuple(findings))


class Columns(NamedTuple):
    """Records as columns.

    Attributes:
        table: of text.
        kinds: what image ids are in the file.
    """

    table: pl.DataFrame
    kinds: frozenset[type]


def _images(records: Sequence[Image]) -> Columns:
    """Give `image`, `path`."""
    ids = _ids([one.image_id if one.id is None else one.id for one in records])
    return Columns(pl.DataFrame({"image": ids.text, "path": pl.Series(_paths(records), dtype=pl.String)}), ids.kinds)


def _annotations(records: Sequence[Annotation], genera: Mapping[str | None, str | None]) -> Columns:
    """Give `annotation`, `image`, `class`, `genus`."""
    images = _ids([one.image_id for one in records])
    genus = pl.Series([None] * len(records), dtype=pl.String)
    if genera:
        genus = _ids([one.genus_id for one in records]).text.replace_strict(genera, default=None, return_dtype=pl.String)
    classes = _ids([one.category_id for one in records]).text
    annotations = _ids([one.id for one in records]).text
    return Columns(pl.DataFrame({"annotation": annotations, "image": images.text, "class": classes, "genus": genus}), images.kinds)


def _split_of(file: Path, source: Path, is_bare: bool) -> str:
    named = split_in_name(_stem(file.name))
    return named or split_in_name(file.parent.name if file.parent != source else "") or ("test" if is_bare else "train")


def _text(value: Id | None) -> str | None:
    return None if value is None else str(value)


class Ids(NamedTuple):
    """Ids of a list.

    Attributes:
        text: as text.
        kinds: what they are in the file.
    """

    text: pl.Series
    kinds: frozenset[type]


def _ids(values: Sequence[Id | None]) -> Ids:
    """Give ids as text; polars refuses a list that is not all of a kind, and then each is asked for its own."""
    kinds: tuple[tuple[type, type[pl.DataType]], ...] = ((str, pl.String), (int, pl.Int64))
    for kind, column in kinds:
        try:
            found = pl.Series(values, dtype=column, strict=True)
        except (OverflowError, TypeError):  # another kind, or beyond 64 bits
            continue
        return Ids(found.cast(pl.String), frozenset([kind] if found.null_count() < len(found) else []))
    return Ids(pl.Series(list(map(_text, values)), dtype=pl.String), frozenset(type(value) for value in values if value is not None))


def _paths(images: Sequence[Image]) -> list[str | None]:
    """Give files' names, or the ends of their addresses with the folder that images of COCO lie in."""
    names = [image.file_name for image in images]
    if None not in names:
        return names
    ends = (None if image.coco_url is None else "/".join(image.coco_url.split("/")[-2:]) for image in images)
    return [end if name is None else name for name, end in zip(names, ends, strict=True)]


def _rows(parts: Sequence[Part], source: Path, root: Path | None) -> tuple[pl.DataFrame, Path | None, str]:
    """Give `image`, `path`, `split`, `part`, `id` of all images, the folder that paths are relative to, and how they were mapped."""
    if root is not None and not root.is_dir():
        raise BadData(f"{source}: its images cannot be in {root}, which is no folder; pass --root with their folder")
    found: list[pl.DataFrame] = []
    places, said = [], AS_WRITTEN
    for part in parts:
        images = _once(part)
        written = clean_paths(images["path"], images["row"], part.file, root, strip_absolute="images" not in _names(part))
        located = locate(written, _folders(part, root), part.file)
        found.append(images.select("image").with_columns(located.paths, pl.lit(part.split).alias("split"), part=pl.lit(len(found))))
        places.append(located.root)
        said = located.said if located.root is not None and located.said != AS_WRITTEN else said
    there = [os.path.abspath(place) for place in places if place is not None]
    if root is not None and not there:
        raise BadData(f"{source}: none of its images is in {root}; pass --root with the folder that file names start from")
    common = Path(os.path.commonpath(there)) if there else None
    for number, place in enumerate(places):
        if common is not None and place is not None and (below := os.path.relpath(os.path.abspath(place), common)) != ".":
            found[number] = found[number].with_columns(path=pl.lit(f"{Path(below).as_posix()}/") + pl.col("path"))
    rows = pl.concat(found)
    ids = pl.col("image") if all_differ(rows["image"]) else pl.col("split") + "/" + pl.col("image")
    rows = rows.with_columns(id=ids)
    if not all_differ(rows["id"]):
        twice = rows.filter(pl.col("id").is_duplicated())["id"]
        raise BadData(
            f"{source}: image ids {first_five(twice.unique().sort().to_list())} are in several files of one split; give one file a split"
        )
    return rows, common, said


def _names(part: Part) -> set[str]:
    return {table.name.rpartition(": ")[2] for table in part.tables}


def _once(part: Part) -> pl.DataFrame:
    """Give the images with a row number, those of a repeated id once."""
    images = part.images.with_row_index("row")
    nameless = images.filter(pl.col("image").is_null() | pl.col("path").is_null())
    if nameless.height:
        raise BadData(
            f"{part.file}: image record {nameless['row'][0]} has no id or no file_name (and {nameless.height - 1:,} more); correct it"
        )
    return images if all_differ(images["image"]) else images.unique("image", keep="first", maintain_order=True)


def _folders(part: Part, root: Path | None) -> list[Path]:
    """Give the folders in which the images of a file may lie."""
    bases = [part.file.parent] if root is None else [root]
    inside = [f"{part.split}_images", "images", part.split, "train_images", "train", "train2017", "val2017"]
    return [*bases, *(base / name for base in bases for name in inside)]


def _label(rows: pl.DataFrame, parts: Sequence[Part], classes: Classes, is_lvis: bool) -> tuple[pl.DataFrame, list[Finding]]:
    """Join images, annotations and classes; give rows of a manifest, and what does not fit.

    Ids are text and there are many: annotations are joined to them once, and rows go by their numbers from there on.
    """
    rows = rows.with_row_index("at")
    findings: list[Finding] = []
    pairs = []
    for number, part in enumerate(parts):
        here = rows.filter(pl.col("split") == part.split).select("at", "image", "part")
        joined = part.annotations.join(here, on="image", how="left", maintain_order="left")
        joined = joined.join(classes.labels, on="class", how="left", maintain_order="left")
        findings += orphans(part.file.name, part.split, part.images, rows, joined, number)
        known = joined.filter(pl.col("at").is_not_null() & pl.col("label").is_not_null())
        findings += label_findings(part.file.name, known, rows["id"], classes)
        pairs.append(known.select("at", "label"))
    labels = pl.concat(pairs)
    if labels.is_empty():
        raise BadData(f"{parts[0].file}: no image has a label; give the file with the annotations beside it, in one folder")
    several = pl.Series([], dtype=pl.String)
    if np.bincount(labels["at"]).max() > 1:
        labels = labels.unique()
        several = rows[labels.filter(pl.col("at").is_duplicated())["at"].unique()]["id"].sort()
    is_multi = is_lvis or (len(several) > 0 and any(part.boxes for part in parts))
    if len(several):
        says = f"{len(several):,} images have annotations of several classes: {first_five(several.to_list())}."
        findings.append(Finding("several-classes", "note" if is_multi else "error", says, len(several), tuple(several)))
    order = pl.col("split").replace_strict(dict(zip(SPLITS, range(3), strict=True)), return_dtype=pl.Int8)
    if is_multi:
        of_image = labels.sort("at", "label").group_by("at", maintain_order=True).agg(pl.col("label"))
        table = rows.join(of_image, on="at", how="left", maintain_order="left")
        annotated = {part.split for part in parts if part.annotations.height}
        targets = pl.when(pl.col("split").is_in(sorted(annotated))).then(pl.col("label").fill_null([])).otherwise(pl.col("label"))
        table = table.with_columns(targets=targets.cast(pl.List(pl.Int32)), label=pl.lit(None, pl.Int32)).sort(order, "image")
        return table.select("id", "path", "label", "split", "targets"), findings
    known = labels.filter(pl.col("at").is_unique()) if len(several) else labels
    of_row = np.full(rows.height, -1, dtype=np.int32)
    of_row[known["at"]] = known["label"]
    table = rows.with_columns(order.alias("order"), label=pl.Series(of_row).replace(-1, None))
    return _by_class(table).select("id", "path", "label", "split"), findings


def _by_class(table: pl.DataFrame) -> pl.DataFrame:
    """Sort by `order`, `label` and `image`: by the numbers alone where images of a class come in order, as they mostly do."""
    coarse = table.sort("order", "label", maintain_order=True)
    image, alike = pl.col("image"), [pl.col(name).eq_missing(pl.col(name).shift()) for name in ("order", "label")]
    torn = pl.all_horizontal(alike) & (image < image.shift())
    return coarse if not coarse.select(torn.any()).item() else table.sort("order", "label", "image")
