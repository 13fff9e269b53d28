"""Files of other programs that `tailwise adjust` reads: logits and counts. Nothing is ever unpickled."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tailwise.errors import BadData
from tailwise.posthoc.foreign import whole_counts


def read_logits(file: Path) -> np.ndarray:
    """Read an array as it is stored.

    Args:
        file: `.npy`, or `.npz` with one array or the key `logits`.

    Raises:
        BadData: no such file, a damaged one, Python objects, or several arrays without that key.
    """
    with _opened(file) as found:
        if isinstance(found, np.ndarray):
            return found
        names = list(found)
        if "logits" not in names and len(names) != 1:
            raise BadData(f"{file}: holds {', '.join(names) or 'no arrays'}; expected one array, or the key logits")
        return found["logits" if "logits" in names else names[0]]


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open an array or an archive of arrays; whatever goes wrong until it is closed becomes one line."""
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


def read_counts(file: Path) -> tuple[int, ...]:
    """Read training images a class from a file.

    Args:
        file: JSON, a list in label order or an object of labels, {"0": 480, "1": 12}; or an `.npy` array of one axis.

    Raises:
        BadData: no such file, a damaged one, labels that are not 0..C-1 once each, or values as in `whole_counts`.
    """
    values = _read_array(file) if file.suffix.lower() == ".npy" else _read_json(file)
    return whole_counts(values, str(file))


def _read_json(file: Path) -> list[Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_Pairs)
    except FileNotFoundError:
        raise BadData(f"{file}: no such file; give counts as JSON or .npy") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadData(f'{file}: cannot be read as JSON ({error}); write a list in label order, or {{"0": 480, "1": 12}}') from None
    if isinstance(found, _Pairs):
        return _in_label_order(found, file)
    if isinstance(found, list):
        return found
    raise BadData(f'{file}: holds a single value, expected a list of counts in label order, or {{"0": 480, "1": 12}}')


class _Pairs(tuple[tuple[str, Any], ...]):
    """A JSON object as written: a label that is there twice must not go unseen."""

    __slots__ = ()


def _in_label_order(pairs: _Pairs, file: Path) -> list[Any]:
    words = [word[:40] for word, _ in pairs if not (word.isascii() and word.isdigit() and len(word) < 10)]
    if words:
        raise BadData(f"{file}: {words[0]!r} is no label, expected 0..{len(pairs) - 1}; names have no order, so give a list in label order")
    by_label = {int(word): value for word, value in pairs}
    if sorted(by_label) != list(range(len(pairs))):
        raise BadData(f"{file}: its {len(pairs)} labels are not 0..{len(pairs) - 1}, once each; name every class")
    return [by_label[label] for label in range(len(pairs))]


def _read_array(file: Path) -> list[Any]:
    with _opened(file) as array:
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "iuf":
            raise BadData(f"{file}: expected an array of shape (classes,) of numbers; write it with np.save")
        return array.tolist()
