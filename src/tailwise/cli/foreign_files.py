"""Files of other programs that `tailwise adjust` reads: logits, labels and counts. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tailwise.errors import BadData
from tailwise.posthoc.foreign import whole_counts
from tailwise.study.class_numbers import opened_arrays, read_class_numbers


def read_logits(file: Path) -> np.ndarray:
    """Read an array as it is stored.

    Args:
        file: `.npy`, or `.npz` with one array or the key `logits`.

    Raises:
        BadData: no such file, a damaged one, Python objects, or several arrays without that key.
    """
    return _read_one(file, "logits")


def read_labels(file: Path) -> np.ndarray:
    """Read an array as it is stored.

    Args:
        file: `.npy`, or `.npz` with one array or the key `labels`.

    Raises:
        BadData: as `read_logits`.
    """
    return _read_one(file, "labels")


def _read_one(file: Path, key: str) -> np.ndarray:
    with opened_arrays(file) as found:
        if isinstance(found, np.ndarray):
            return found
        names = list(found)
        if key not in names and len(names) != 1:
            raise BadData(f"{file}: holds {', '.join(names) or 'no arrays'}; expected one array, or the key {key}")
        return np.asarray(found[key if key in names else names[0]])


def read_counts(file: Path) -> tuple[int, ...]:
    """Read training images a class from a file.

    Args:
        file: JSON, a list in label order or an object of labels, {"0": 480, "1": 12}; or an `.npy` array of one axis.

    Raises:
        BadData: no such file, a damaged one, labels that are not 0..C-1 once each, or values as in `whole_counts`.
    """
    return whole_counts(read_class_numbers(file), str(file))
