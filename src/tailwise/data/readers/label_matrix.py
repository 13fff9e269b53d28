"""Reader of label matrices: VOC-LT's and COCO-LT's pickles, and `.npz` files with a row of 0 and 1 an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tailwise.data.listing import first_five
from tailwise.data.locating import AS_WRITTEN, clean_paths, locate
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.labels import split_column, split_in_name
from tailwise.data.readers.lines import read_fields
from tailwise.data.readers.npz import load_npz, npz_headers
from tailwise.data.readers.pickles import read_pickle
from tailwise.errors import BadData

_VOC = """
aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,pottedplant,sheep,sofa,train,tvmonitor
"""
_COCO = """
person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,bench,bird,cat,dog,horse,
sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,
baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,
carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,
oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush
"""

VOC = tuple(_VOC.replace("\n", "").split(","))
"""Classes of VOC in the order of its matrices, which is alphabetical."""

COCO = tuple(_COCO.replace("\n", "").split(","))
"""Classes of COCO in the order of its matrices: by rising category id, which runs to 90 with gaps."""

GROUPS = ("head", "middle", "tail")

_KEYS = ("labels", "targets", "gt_labels", "label_matrix", "y")
_ID_KEYS = ("ids", "image_ids", "img_id", "img_ids")
_PATH_KEYS = ("paths", "path", "files", "filenames", "file_names")
_NAME_KEYS = ("classes", "class_names")
_PIXEL_KEYS = ("images", "image", "data", "x", "features")


class _Source(NamedTuple):
    """What a file or folder holds.

    Attributes:
        matrix: (N, C) 0 and 1; -1 where a label is not known.
        ids: (N,) text.
        paths: (N,) as a list would have them.
        classes: C names.
        splits: (N,) words, or one for all.
        tables: of the source.
        findings: what contradicts itself in it.
        class_table: with the published groups.
    """

    matrix: np.ndarray
    ids: pl.Series
    paths: pl.Series
    classes: tuple[str, ...]
    splits: pl.Series | str
    tables: tuple[SourceTable, ...]
    findings: tuple[Finding, ...] = ()
    class_table: pl.DataFrame | None = None


def recognises(place: Place) -> bool:
    """A folder with `class_freq.pkl`, a pickle of such keys, or an `.npz` with a matrix of labels and no pixels."""
    if place.is_folder:
        return place.inside("class_freq.pkl") is not None
    if place.path.suffix.lower() == ".npz":
        return _is_matrix_npz(place.path)
    return place.keys >= {"gt_labels", "class_freq"} or place.keys >= set(GROUPS)


def read_label_matrix(source: Path | str, root: Path | str | None = None) -> Manifest:
    """Read a multi-label set whose labels are a matrix.

    VOC-LT and COCO-LT (Wu et al., ECCV 2020) are a folder: `class_freq.pkl` with the labels, `img_id.txt` (or `img_id.pkl`, which is
    text as well) with a line an image, and `class_split.pkl` with groups. An `.npz` file has `labels` (N, C), `ids` or `paths`, and
    perhaps `classes` and `split`. Pickles are read as data.

    Args:
        source: a folder, one of its pickles, or an `.npz` file.
        root: folder of the images: of VOC the one with `JPEGImages` or that itself, of COCO the one with `train2017`.

    Returns:
        A manifest of targets. Ids are as in the source. The class table has the `published_group`, where there is one.

    Raises:
        BadData: a file is missing or damaged, other counts of ids than of rows, an id twice, a label that is not 0, 1 or -1.
    """
    source = Path(source)
    given = None if root is None else Path(root)
    if source.suffix.lower() == ".npz":
        found, folders = _from_npz(source), [source.parent]
    else:
        place = Place(source if source.is_dir() else source.parent)
        found = _from_pickles(place)
        # VOC-LT's folder lies beside VOC2012, COCO-LT's beside train2017.
        folders = [place.path, place.path.resolve().parent / "VOC2012", place.path.resolve().parent]
    numbers = pl.int_range(1, len(found.ids) + 1, eager=True)
    _refuse_twice(found.ids, source)
    located = locate(clean_paths(found.paths, numbers, source, given), folders, source, given)
    targets, unknown = _targets(found.matrix, found.classes, source)
    splits = pl.Series("split", [found.splits] * len(numbers)) if isinstance(found.splits, str) else found.splits
    rows = pl.DataFrame([found.ids.alias("id"), located.paths, targets, splits]).with_columns(label=pl.lit(None, dtype=pl.Int32))
    name = source.resolve().name if source.is_dir() else source.name.partition(".")[0]
    summary = f"read from the label matrix {source.name!r}: {rows.height:,} images, {len(found.classes):,} classes"
    notes = [summary, *([] if located.said == AS_WRITTEN else [located.said])]
    origin = Origin(found.tables, (*found.findings, *unknown))
    return Manifest(rows, found.classes, located.root, {}, name, tuple(notes), found.class_table, origin)


def _from_pickles(place: Place) -> _Source:
    file = place.file("class_freq.pkl")
    table = _dictionary(file)
    matrix = _matrix(table.get("gt_labels"), file)
    ids_file = place.file("img_id.txt", "img_id.pkl")
    ids = read_fields(ids_file, r"\s*(?P<id>\S(?:.*\S)?)\s*", "2008_000023")["id"]
    if len(ids) != len(matrix):
        raise BadData(
            f"{ids_file}: {len(ids):,} ids for the {len(matrix):,} rows of {file.name}; there are two generations of these lists, so take "
            f"all files from one"
        )
    classes, paths = _known_set(ids, matrix.shape[1])
    findings = _frequencies(table.get("class_freq"), matrix, file)
    groups_file = place.inside("class_split.pkl")
    class_table = None
    if groups_file is not None:
        groups = _groups(_dictionary(groups_file), len(classes), groups_file)
        findings += _other_groups(groups, (matrix == 1).sum(axis=0), groups_file)
        class_table = pl.DataFrame({"class_id": [str(label) for label in range(len(classes))], "published_group": groups})
    tables = (SourceTable(file.name, len(matrix)), SourceTable(ids_file.name, len(ids), {"id": ids[0]}))
    split = split_in_name(place.path.resolve().name) or "train"
    return _Source(matrix, ids, paths, classes, split, tables, findings, class_table)


def _dictionary(file: Path) -> Mapping[Any, Any]:
    found = read_pickle(file)
    if not isinstance(found, dict):
        raise BadData(f"{file}: holds no dictionary, expected one with gt_labels or head, middle and tail; download it again")
    return found


def _matrix(rows: Any, file: Path) -> np.ndarray:
    """Give (N, C) labels of a list of rows, or of a matrix."""
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        rows = list(rows)
    fits = isinstance(rows, list) and bool(rows) and all(isinstance(row, np.ndarray) and row.ndim == 1 and len(row) for row in rows)
    lengths = np.array([len(row) for row in rows]) if fits else np.zeros(0)
    if not fits or (lengths != lengths[0]).any():
        row = f" (row {np.flatnonzero(lengths != lengths[0])[0]} has another length than row 0)" if fits else ""
        raise BadData(f"{file}: gt_labels is no row of 0 and 1 for each image{row}; download it again")
    matrix = np.stack(rows)
    _refuse_values(matrix, file)
    return matrix.astype(np.int8)


def _refuse_values(matrix: np.ndarray, where: Path) -> None:
    wrong = np.argwhere(~np.isin(matrix, (0, 1, -1)))
    if len(wrong):
        row, label = wrong[0].tolist()
        raise BadData(
            f"{where}: label {matrix[row, label]} in row {row}, class {label} ({len(wrong):,} such values), expected 0 or 1, "
            f"or -1 where it is not known; correct it"
        )


def _known_set(ids: pl.Series, width: int) -> tuple[tuple[str, ...], pl.Series]:
    """Give class names and paths: those of VOC and of COCO, which their ids tell, else numbers and the ids as names of JPEG files."""
    if width == len(VOC) and ids.str.contains(r"^([0-9]{4}_)?[0-9]{6}$").all():
        return VOC, "JPEGImages/" + ids + ".jpg"
    if width == len(COCO) and ids.str.contains(r"^[0-9]{1,12}$").all():
        return COCO, "train2017/" + ids.str.zfill(12) + ".jpg"
    return tuple(str(label) for label in range(width)), ids + ".jpg"


def _frequencies(claimed: Any, matrix: np.ndarray, file: Path) -> tuple[Finding, ...]:
    counts = (matrix == 1).sum(axis=0)
    fits = isinstance(claimed, np.ndarray) and claimed.shape == counts.shape
    if not fits:
        says = f"{file.name}: class_freq is no number for each of {len(counts):,} classes"
        return (Finding("counts-disagree", "error", says, len(counts)),)
    wrong = np.flatnonzero(claimed != counts)
    if not len(wrong):
        return ()
    said = first_five([f"{claimed[label]:g} for class {label}, gt_labels has {counts[label]}" for label in wrong])
    return (Finding("counts-disagree", "error", f"{file.name}: class_freq says {said}", len(wrong)),)


def _groups(table: Mapping[Any, Any], width: int, file: Path) -> list[str]:
    """Give each class its published group."""
    groups: list[str] = [""] * width
    for group in GROUPS:
        members = table.get(group)
        labels = _labels_in(members) if isinstance(members, (set, frozenset, list, tuple, np.ndarray)) else None
        if labels is None or any(not 0 <= label < width or groups[label] for label in labels):
            raise BadData(f"{file}: {group} is no set of labels 0..{width - 1} that are in no other group; download it again")
        for label in labels:
            groups[label] = group
    missing = [label for label in range(width) if not groups[label]]
    if missing:
        raise BadData(f"{file}: class {first_five(missing)} is in none of {', '.join(GROUPS)}; take all files from one generation")
    return groups


def _labels_in(members: Iterable[Any]) -> list[int] | None:
    if isinstance(members, np.ndarray) and members.ndim != 1:
        return None
    found = list(members)
    return [int(label) for label in found] if all(isinstance(label, (int, np.integer)) for label in found) else None


def _other_groups(groups: Sequence[str], counts: np.ndarray, file: Path) -> tuple[Finding, ...]:
    """Compare with the rule of these sets: head from 100 images on, tail below 20."""
    ours = ["head" if count >= 100 else "tail" if count < 20 else "middle" for count in counts]
    wrong = [label for label, group in enumerate(groups) if group != ours[label]]
    if not wrong:
        return ()
    said = first_five([f"class {label} in {groups[label]}, its {counts[label]} images make it {ours[label]}" for label in wrong])
    return (Finding("groups-disagree", "note", f"{file.name} puts {said}", len(wrong)),)


def _is_matrix_npz(file: Path) -> bool:
    """Tell by the headers; what cannot be opened is left to the reader of other `.npz` files, which says why."""
    try:
        headers = npz_headers(file)
    except BadData:
        return False
    keys = {key.lower(): header for key, header in headers.items()}
    label = next((keys[key] for key in _KEYS if key in keys), None)
    if label is None or any(key in keys for key in _PIXEL_KEYS):
        return False
    return len(label.shape) == 2 and label.shape[1] > 1 and any(key in keys for key in (*_ID_KEYS, *_PATH_KEYS))


def _from_npz(file: Path) -> _Source:
    headers = npz_headers(file)
    lower = {key.lower(): key for key in headers}
    roles = {"matrix": _KEYS, "ids": _ID_KEYS, "paths": _PATH_KEYS, "classes": _NAME_KEYS, "split": ("split",)}
    keys = {role: lower[name] for role, names in roles.items() for name in reversed(names) if name in lower}
    if "matrix" not in keys or not {"ids", "paths"} & set(keys):
        have = ", ".join(headers) or "none"
        raise BadData(f"{file}: needs the arrays 'labels' and 'ids' or 'paths', has {have}; rename them with np.savez")
    found = load_npz(file, keys.values())
    matrix = found[keys["matrix"]]
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "buif":
        raise BadData(f"{file}: array {keys['matrix']!r} is {matrix.dtype} {matrix.shape}, expected (N, C) of 0 and 1; convert it")
    _refuse_values(matrix, file)
    columns = {role: _texts(found[key], key, len(matrix), file) for role, key in keys.items() if role in ("ids", "paths", "split")}
    paths = columns["paths"] if "paths" in columns else columns["ids"] + ".jpg"
    names = _texts(found[keys["classes"]], keys["classes"], matrix.shape[1], file) if "classes" in keys else None
    classes = tuple(str(label) for label in range(matrix.shape[1])) if names is None else tuple(names)
    rows = pl.int_range(len(matrix), eager=True)
    splits = split_column(columns["split"], rows, file) if "split" in columns else split_in_name(file.name) or "train"
    tables = (SourceTable(keys["matrix"], len(matrix)),)
    return _Source(matrix.astype(np.int8), columns.get("ids", paths), paths, classes, splits, tables)


def _texts(values: np.ndarray, key: str, length: int, file: Path) -> pl.Series:
    if values.shape != (length,) or values.dtype.kind not in "USiu":
        raise BadData(f"{file}: array {key!r} is {values.dtype} {values.shape}, expected {length:,} texts; give one for each")
    texts = np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values
    return pl.Series("text", [str(text) for text in texts.tolist()], dtype=pl.String)


def _refuse_twice(ids: pl.Series, where: Path) -> None:
    unfit = ((ids == "") | ids.is_duplicated()).arg_true()
    if len(unfit):
        raise BadData(
            f"{where}: {len(unfit):,} rows have no id of their own, the first is row {unfit[0] + 1} ({ids[unfit[0]]!r}); correct it"
        )


def _targets(matrix: np.ndarray, classes: Sequence[str], where: Path) -> tuple[pl.Series, tuple[Finding, ...]]:
    """Give the labels of each row, and a word on those that are not known."""
    rows, labels = np.nonzero(matrix == 1)
    stops = np.searchsorted(rows, np.arange(1, len(matrix)))
    targets = pl.Series("targets", [part.tolist() for part in np.split(labels, stops)], dtype=pl.List(pl.Int32))
    unknown = int((matrix == -1).sum())
    says = f"{unknown:,} labels of {where.name} are not known (-1); they count as absent"
    return targets, (Finding("unknown-labels", "note", says, unknown),) if unknown else ()
