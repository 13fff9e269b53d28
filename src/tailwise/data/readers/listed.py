"""What lists of images and whole-number labels have in common: labels, class names, and images that are listed again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import polars as pl

from tailwise.data.listing import SHOWN, first_five
from tailwise.data.origin import Finding, Severity
from tailwise.errors import BadData

ROW = "row"
"""Column that numbers the rows of a list as an editor does, for errors."""

LIST = "list"
"""Column that names the list a row is from."""

WNID = r"^n[0-9]{8}"
"""What WordNet's noun ids look like, with which ImageNet names its classes."""

MOST_LABEL = 10**9
"""Beyond it a label is no class of a set, but a mistake."""

_ENDING = re.compile(r"\.(csv|tsv|txt|lst|list)(\.gz)?$", re.IGNORECASE)

_WHOLE = r"^(0|-?[1-9][0-9]*)$"


def set_name(path: Path) -> str:
    """Call a set what its list or folder is called, without the ending of a list.

    >>> set_name(Path("lists/ImageNet_LT_val.txt.gz"))
    'ImageNet_LT_val'
    """
    return _ENDING.sub("", path.name) or path.name or "lists"


def whole_labels(texts: pl.Series, rows: pl.Series, file: Path, lowest: int = 0) -> tuple[pl.Series, tuple[Finding, ...]]:
    """Read labels that are class ids; `1.0` and blanks around a number are accepted and noted.

    Args:
        texts: (N,) String.
        rows: (N,) by which errors name the rows.
        file: the list, for errors.
        lowest: number that a label may be; -1 where the format has it for unknown ones.

    Returns:
        (N,) Int64, and what is to be noted.

    Raises:
        BadData: a label is no whole number, or beyond `lowest` or `MOST_LABEL`; with its row.
    """
    plain = texts.str.strip_chars().str.replace(r"\.0+$", "")
    numbers = plain.cast(pl.Int64, strict=False)  # null beyond 64 bits
    is_negative = plain.str.starts_with("-")
    rules = (
        (~plain.str.contains(_WHOLE), "is not a whole number; correct it"),
        (is_negative & (numbers < lowest).fill_null(True), f"is below {lowest}; correct it"),
        ((numbers > MOST_LABEL).fill_null(True), f"exceeds the limit of {MOST_LABEL:,}; number the classes from 0"),
    )
    for unfit, what in rules:
        found = unfit.fill_null(True).arg_true()
        if len(found):
            more = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
            raise BadData(f"{file}: label {_shortened(texts[found[0]])} in row {rows[found[0]]}{more} {what}")
    odd = (texts != plain).arg_true()
    if not len(odd):
        return numbers, ()
    says = f"{file.name}: {len(odd):,} labels are written like {texts[odd[0]]!r} in row {rows[odd[0]]}; taken as whole numbers"
    return numbers, (Finding("odd-labels", "note", says, len(odd)),)


def _shortened(text: str, most: int = 40) -> str:
    return repr(text) if len(text) <= most else f"{text[:most]!r}..."


def gap_note(class_ids: Sequence[int], where: str) -> tuple[Finding, ...]:
    """Note which numbers below the highest class id are none's.

    >>> gap_note([0, 1, 3], "train.txt")[0].says
    'train.txt: labels 0..3 without 2; kept as class ids, 3 classes'
    """
    present, highest = set(class_ids), max(class_ids)
    count = highest + 1 - len(present)
    if not count:
        return ()
    shown = [str(number) for number in islice((n for n in range(highest) if n not in present), SHOWN)]  # there may be a billion
    more = f" and {count - SHOWN:,} more" if count > SHOWN else ""
    says = f"{where}: labels 0..{highest} without {', '.join(shown)}{more}; kept as class ids, {len(present):,} classes"
    return (Finding("label-gap", "note", says, count),)


def positions(labels: pl.Series, class_ids: Sequence[int]) -> pl.Series:
    """Give each label's place among the sorted class ids, as Int32; null stays null."""
    return labels.replace_strict(list(class_ids), list(range(len(class_ids))), return_dtype=pl.Int32).alias("label")


def distinct_names(names: Sequence[str], *beside: Sequence[str]) -> tuple[str, ...]:
    """Make class names unique: those that two classes share get what stands beside them attached.

    Args:
        names: one a class.
        beside: further names of the classes, tried in turn; the last ones are unique, and taken in place of all where nothing else helps.

    >>> distinct_names(["crane", "crane", "vase"], ["n02012849", "n03126707", "n04522168"])
    ('crane n02012849', 'crane n03126707', 'vase')
    """
    for further in beside:
        shared = pl.Series(names).is_duplicated()
        names = [f"{name} {more}" if twice else name for name, more, twice in zip(names, further, shared, strict=True)]
    return tuple(names) if len(set(names)) == len(names) else tuple(beside[-1])


def once(rows: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Keep the first row of each path, and report the others.

    Args:
        rows: `path`, `label`, `list` and `row`, list by list.

    Returns:
        The rows with a path each of its own, and a finding for: images with two labels in a list (error), images listed twice in it
        (warning), and images of another list (error).
    """
    if not rows["path"].is_duplicated().any():
        return rows, ()
    again = rows.filter(pl.col("path").is_duplicated())
    return rows.unique("path", keep="first", maintain_order=True), (*_within(again), *_across(again))


def _within(again: pl.DataFrame) -> list[Finding]:
    images = (
        again.group_by(LIST, "path", maintain_order=True).agg(pl.col("label").n_unique(), pl.col(ROW)).filter(pl.col(ROW).list.len() > 1)
    )
    found = []
    kinds: tuple[tuple[str, Severity, str, pl.Expr], ...] = (
        ("conflicting-labels", "error", "have two labels", pl.col("label") > 1),
        ("listed-twice", "warning", "are listed more than once", pl.col("label") == 1),
    )
    for kind, severity, what, those in kinds:
        for (name,), of_list in images.filter(those).group_by(LIST, maintain_order=True):
            path, at = of_list.select("path", ROW).row(0)
            says = f"{name}: {of_list.height:,} images {what} (first: {path!r} in rows {first_five(at)}); the first row was taken"
            found.append(Finding(kind, severity, says, of_list.height, tuple(of_list["path"])))
    return found


def _across(again: pl.DataFrame) -> list[Finding]:
    """Compare each list with the first one that an image is in."""
    first = again.unique("path", keep="first", maintain_order=True).select("path", pl.col(LIST).alias("first"))
    pairs = (
        again.unique(["path", LIST], maintain_order=True)
        .join(first, on="path", maintain_order="left")
        .filter(pl.col(LIST) != pl.col("first"))
    )
    found = []
    for (name, other), shared in pairs.group_by(LIST, "first", maintain_order=True):
        says = f"{shared.height:,} images of {name} also in {other} (first: {shared['path'][0]!r}); results would be inflated"
        found.append(Finding("in-two-lists", "error", says, shared.height, tuple(shared["path"])))
    return found


def unseen(rows: pl.DataFrame, classes: Sequence[str], where: str) -> tuple[Finding, ...]:
    """Note classes that have val or test images, and none in training.

    Args:
        rows: `label` and `split`.
        classes: names in label order.
        where: the set, for the note.
    """
    seen = rows.filter(pl.col("split") == "train")["label"].unique()
    others = rows.filter(pl.col("split") != "train")["label"].drop_nulls().unique().sort()
    labels = others.filter(~others.is_in(seen.implode()))
    if seen.is_empty() or labels.is_empty():
        return ()
    says = f"{where}: {len(labels):,} classes have val or test images, and none in training: {first_five([classes[n] for n in labels])}"
    return (Finding("unseen-classes", "note", says, len(labels), tuple(classes[n] for n in labels)),)
