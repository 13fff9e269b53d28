"""A table's labels and splits: words or numbers in, class names in label order and positions out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from tailwise.errors import BadData

SPLIT_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "crossval", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""What a split may be called -> what we call it."""

_BETWEEN = re.compile(r"[-._ 0-9]+")

_NOTHING = ("", "nan", "NaN")
"""What no label looks like: pandas writes a gap in a column of objects as `nan`."""

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DIGITS = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Labels(NamedTuple):
    """Labels as positions.

    Attributes:
        numbers: (N,) Int32, positions in `classes`.
        classes: names in label order.
        notes: what is to be said in the provenance.
    """

    numbers: pl.Series
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def number_labels(values: pl.Series, rows: pl.Series, where: object) -> Labels:
    """Number the classes: names are sorted; whole numbers keep their order, and their values where they are 0..C-1.

    Codes of digits that are equally long, as in 007 and 123, are names.

    Args:
        values: (N,) text, whole numbers or categories.
        rows: (N,) whole numbers by which errors name the rows.
        where: the table, for errors.

    Raises:
        BadData: a label is missing, negative, a fraction, or a number among names.
    """
    texts = as_text(values, "label", where).str.strip_chars().str.normalize("NFC")
    _refuse_first(texts.fill_null("").is_in(_NOTHING), rows, where, "has no label; give every row one")
    texts, notes = _whole(texts)
    kinds = {text: _kind(text) for text in texts.unique().sort()}
    present = set(kinds.values())
    if present == {"whole number"}:
        found = _numbered(texts, rows, where)
        return found._replace(notes=(*notes, *found.notes))
    are_codes = present <= {"whole number", "code"} and len({len(text) for text in kinds}) == 1
    if present != {"name"} and not are_codes:
        raise _mixed(texts, kinds, rows, where)
    classes = tuple(sorted(kinds))
    return Labels(_positions(texts, classes), classes)


def as_text(values: pl.Series, role: str, where: object) -> pl.Series:
    """Give a column of text, numbers or categories as text.

    Raises:
        BadData: it holds anything else: lists, dates, bytes.
    """
    kinds = (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null)
    if values.dtype not in kinds and not values.dtype.is_numeric():
        raise BadData(
            f"{where}: column for the {role} holds {values.dtype}, expected text or numbers; choose another with --columns {role}="
        )
    return values.cast(pl.String)


def _whole(texts: pl.Series) -> tuple[pl.Series, tuple[str, ...]]:
    """Take `1.0` for 1 where all labels are whole numbers, as tables have them that once held a gap."""
    plain = texts.str.replace(r"^(-?[0-9]+)\.0+$", "$1")
    odd = (texts != plain).arg_true()
    if not len(odd) or not plain.str.contains(rf"^{_WHOLE.pattern}$").all():
        return texts, ()
    return plain, (f"{len(odd):,} labels are written like {texts[odd[0]]}: taken as whole numbers",)


def _kind(text: str) -> str:
    if _WHOLE.fullmatch(text):
        return "whole number"
    if _DIGITS.fullmatch(text):
        return "code"
    return "number" if _NUMBER.fullmatch(text) else "name"


def _mixed(texts: pl.Series, kinds: Mapping[str, str], rows: pl.Series, where: object) -> BadData:
    """Name the first row of another kind than most."""
    often = Counter(kinds[text] for text in texts if kinds[text] in ("whole number", "name"))
    usual = often.most_common(1)[0][0] if often else ""
    row, text = next((row, text) for row, text in zip(rows, texts, strict=True) if kinds[text] != usual)
    others = f"most others are {usual}s" if usual else "no label is a whole number or a name"
    return BadData(
        f"{where}: label {text!r} in row {row} is a {kinds[text]}, and {others}; "
        f"expected whole numbers throughout, as in 3, or names throughout; correct the labels"
    )


def _numbered(texts: pl.Series, rows: pl.Series, where: object) -> Labels:
    numbers = texts.cast(pl.Int64)
    negative = (numbers < 0).arg_true()
    if len(negative):
        first = negative[0]
        raise BadData(
            f"{where}: label {numbers[first]} in row {rows[first]}, expected 0 or more; leave rows without a label out of the table"
        )
    ordered = numbers.unique().sort().to_list()
    classes = tuple(str(number) for number in ordered)
    if ordered == list(range(len(ordered))):
        return Labels(numbers.cast(pl.Int32), classes)
    said = f"labels {ordered[0]}..{ordered[-1]} are not 0..C-1: sorted and numbered anew, {len(ordered):,} classes named by their number"
    return Labels(_positions(texts, classes), classes, (said,))


def _positions(texts: pl.Series, classes: Sequence[str]) -> pl.Series:
    return texts.replace_strict(list(classes), list(range(len(classes))), return_dtype=pl.Int32)


def named_labels(values: pl.Series, names: Sequence[str], rows: pl.Series, where: object) -> Labels:
    """Take labels that are positions in a list of class names.

    Args:
        values: (N,) whole numbers.
        names: class names in label order.
        rows: (N,) whole numbers by which errors name the rows.
        where: the table, for errors.

    Raises:
        BadData: a label is missing, no whole number, or no position in `names`.
    """
    if not values.dtype.is_integer():
        raise BadData(f"{where}: labels are {values.dtype}, expected whole numbers for the {len(names)} named classes; convert them")
    wrong = (values.is_null() | ~values.is_between(0, len(names) - 1)).arg_true()
    if len(wrong):
        first = wrong[0]
        raise BadData(f"{where}: label {values[first]} in row {rows[first]} has no name, expected 0..{len(names) - 1}; correct it")
    return Labels(values.cast(pl.Int32), tuple(names))


def split_column(values: pl.Series, rows: pl.Series, where: object) -> pl.Series:
    """Translate a table's words for splits into train, val and test.

    Raises:
        BadData: a word is none of `SPLIT_WORDS`, or missing.
    """
    words = as_text(values, "split", where).str.strip_chars().str.to_lowercase()
    splits = words.replace_strict(list(SPLIT_WORDS), list(SPLIT_WORDS.values()), default=None, return_dtype=pl.String)
    unknown = splits.is_null().arg_true()
    if len(unknown):
        first = unknown[0]
        raise BadData(
            f"{where}: split {values[first]!r} in row {rows[first]} is unknown; "
            f"use train, val or test, or leave the column out by naming the others with --columns"
        )
    return splits.alias("split")


def split_in_name(name: str) -> str | None:
    """Give the split that a file's or folder's name says: a word of its own between dashes, dots, underscores, blanks and digits.

    None where there is no such word, or two that mean different splits.

    >>> split_in_name("train-00000-of-00002.parquet"), split_in_name("testfile.csv")
    ('train', None)
    """
    found = {SPLIT_WORDS[word] for word in _BETWEEN.split(name.lower()) if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def _refuse_first(unfit: pl.Series, rows: pl.Series, where: object, what: str) -> None:
    found = unfit.arg_true()
    if len(found):
        more = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
        raise BadData(f"{where}: row {rows[found[0]]}{more} {what}")
