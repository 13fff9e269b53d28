"""One number a class from a user's file: training images, or what is expected at test. Nothing is ever unpickled."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tailwise.counts import ESTIMATED, PRIOR_WORDS
from tailwise.errors import BadData
from tailwise.posthoc.prior_shift import prior_shares
from tailwise.study.words import check_test_prior

FORMS = 'a list in label order, or {"0": 480, "1": 12}'


@contextmanager
def opened_arrays(file: Path) -> Iterator[Any]:
    """Open an `.npy` array or an `.npz` archive of arrays; whatever goes wrong until it is closed becomes one line.

    Raises:
        BadData: no such file, a damaged one, or Python objects.
    """
    try:
        found = np.load(file, allow_pickle=False)
        with nullcontext(found) if isinstance(found, np.ndarray) else found:
            yield found
    except FileNotFoundError:
        raise BadData(f"{file}: no such file; give an .npy or .npz file") from None
    except BadData:
        raise
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        if "Object arrays" in str(error):
            raise BadData(f"{file}: holds Python objects, which are never unpickled; save a plain array of numbers with np.save") from None
        # NumPy takes whatever it does not know for a pickle, and advises to open it.
        said = "neither, or damaged" if "pickle" in str(error) else " ".join(str(error).split())
        raise BadData(f"{file}: no readable .npy or .npz file ({said}); write it again with np.save") from None


def read_prior(expected: str | Path | Sequence[float] | np.ndarray, classes: Sequence[str] = ()) -> str | Sequence[float] | np.ndarray:
    """Read the prior that is expected at test where it is a file, and give words and numbers as they are.

    Args:
        expected: `train`, `uniform`, `reversed`, `estimated`, a file as in `read_class_numbers`, or numbers.
        classes: class names in label order, where they are known.

    Raises:
        BadData: no such word or file, or numbers as in `prior_shares`.
    """
    if not isinstance(expected, str | Path):
        return expected
    check_test_prior(expected)
    if str(expected) in (*PRIOR_WORDS, ESTIMATED):
        return str(expected)
    file = Path(expected)
    numbers = read_class_numbers(file, classes)
    prior_shares(numbers, str(file))
    if classes and len(numbers) != len(classes):
        raise BadData(f"{file}: has {len(numbers):,} numbers for {len(classes):,} classes; give one a class, 0 where it is not expected")
    return numbers


def read_class_numbers(file: Path, classes: Sequence[str] = ()) -> list[Any]:
    """Read one value a class, in label order; what they are is for the caller to check.

    Args:
        file: JSON, a list in label order, an object of labels, {"0": 480, "1": 12}, or where class names are given an object of them,
            {"ant": 480, "bee": 12}; or an `.npy` array of one axis.
        classes: class names in label order, where they are known.

    Raises:
        BadData: no such file, a damaged one, or keys that do not name every class once.
    """
    return _read_array(file) if file.suffix.lower() == ".npy" else _read_json(file, classes)


def _read_json(file: Path, classes: Sequence[str]) -> list[Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_Pairs)
    except FileNotFoundError:
        raise BadData(f"{file}: no such file; give counts as JSON or .npy") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadData(f"{file}: cannot be read as JSON ({error}); write {FORMS}") from None
    if isinstance(found, _Pairs):
        return _by_key(found, file, classes)
    if isinstance(found, list):
        return found
    raise BadData(f"{file}: holds a single value, expected {FORMS.replace('a list', 'a list of counts')}")


class _Pairs(tuple[tuple[str, Any], ...]):
    """A JSON object as written: a label that is there twice must not go unseen."""

    __slots__ = ()


def _by_key(pairs: _Pairs, file: Path, classes: Sequence[str]) -> list[Any]:
    """Give the values by class name where keys are names, else by label."""
    words = [word for word, _ in pairs]
    are_labels = all(map(_is_label, words)) and sorted(map(int, words)) == list(range(len(words)))
    if not are_labels and any(word in classes for word in words):
        return _in_class_order(pairs, file, classes)
    if are_labels and sorted(words) == sorted(classes) and list(map(int, classes)) != list(range(len(classes))):
        raise BadData(f"{file}: {words[0]!r} may be a label or a class name, which differ in this run; write a list in label order")
    return _in_label_order(pairs, file)


def _in_class_order(pairs: _Pairs, file: Path, classes: Sequence[str]) -> list[Any]:
    words = [word for word, _ in pairs]
    unknown = [word for word in words if word not in classes]
    if unknown:
        raise BadData(f"{file}: {unknown[0][:40]!r} is no class of this run; its {len(classes):,} classes are {_some(classes)}")
    lacking = [name for name in classes if words.count(name) != 1]
    if lacking:
        raise BadData(f"{file}: {lacking[0]!r} is named {words.count(lacking[0])} times; name every class once, 0 where it is not expected")
    value_of = dict(pairs)
    return [value_of[name] for name in classes]


def _in_label_order(pairs: _Pairs, file: Path) -> list[Any]:
    words = [word[:40] for word, _ in pairs if not _is_label(word)]
    if words:
        raise BadData(f"{file}: {words[0]!r} is no label, expected 0..{len(pairs) - 1}; names have no order, so give a list in label order")
    by_label = {int(word): value for word, value in pairs}
    if sorted(by_label) != list(range(len(pairs))):
        raise BadData(f"{file}: its {len(pairs)} labels are not 0..{len(pairs) - 1}, once each; name every class")
    return [by_label[label] for label in range(len(pairs))]


def _is_label(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:5]) + (", ..." if len(words) > 5 else "")


def _read_array(file: Path) -> list[Any]:
    with opened_arrays(file) as array:
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "iuf":
            raise BadData(f"{file}: expected an array of shape (classes,) of numbers; write it with np.save")
        return array.tolist()
