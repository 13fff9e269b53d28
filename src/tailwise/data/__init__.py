"""The data room: what a data set is before anything trains on it.

Here live the manifest (one immutable table of rows, its class names and where it came from), the readers that make one
(`readers/`, one file a format), the writers that make files of one (`writers/`), the only place that opens an image (`images`),
and what turns one manifest into another: splits, tails, the refusal of classes without training images.

Not here: decoded pixels and augmentation (`pixels`), findings about the data (`checks`), generated images (`generation`).

May import: the vocabulary (`errors`, `counts`, `groups`, `seeds`, `store`), NumPy, Pillow, polars; scikit-learn inside the reader that
needs it. Never torch.

Names are looked up on first use, so that `tailwise.data.images` can be imported where there is no polars.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailwise.data.images import IMAGE_SUFFIXES, Survey, read_header, read_pixels, survey
    from tailwise.data.manifest import Manifest
    from tailwise.data.names import NAMES
    from tailwise.data.profiles import profile_counts
    from tailwise.data.readers.arrays import from_arrays, read_npz
    from tailwise.data.readers.delimited import read_delimited
    from tailwise.data.readers.digits import read_digits
    from tailwise.data.readers.folder import read_folder
    from tailwise.data.readers.idx import read_idx
    from tailwise.data.readers.objects import read_object
    from tailwise.data.readers.parquet import read_parquet
    from tailwise.data.sources import read
    from tailwise.data.splits import split
    from tailwise.data.storage import Scanned, scan_manifest
    from tailwise.data.tails import thin
    from tailwise.data.trainable import check_sound, check_trainable, labelled, weigh_generated
    from tailwise.data.writers.writing import write_folder

_HOMES = {
    "IMAGE_SUFFIXES": "images",
    "Survey": "images",
    "read_header": "images",
    "read_pixels": "images",
    "survey": "images",
    "Fold": "folds",
    "deal": "folds",
    "take_fold": "folds",
    "Manifest": "manifest",
    "profile_counts": "profiles",
    "from_arrays": "readers.arrays",
    "read_npz": "readers.arrays",
    "read_delimited": "readers.delimited",
    "read_digits": "readers.digits",
    "read_folder": "readers.folder",
    "read_idx": "readers.idx",
    "read_object": "readers.objects",
    "read_parquet": "readers.parquet",
    "NAMES": "names",
    "read": "sources",
    "split": "splits",
    "Scanned": "storage",
    "scan_manifest": "storage",
    "thin": "tails",
    "check_sound": "trainable",
    "check_trainable": "trainable",
    "labelled": "trainable",
    "weigh_generated": "trainable",
    "write_folder": "writers.writing",
}

__all__ = [
    "IMAGE_SUFFIXES",
    "NAMES",
    "Fold",
    "Manifest",
    "Scanned",
    "Survey",
    "check_sound",
    "check_trainable",
    "deal",
    "from_arrays",
    "labelled",
    "profile_counts",
    "read",
    "read_delimited",
    "read_digits",
    "read_folder",
    "read_header",
    "read_idx",
    "read_npz",
    "read_object",
    "read_parquet",
    "read_pixels",
    "scan_manifest",
    "split",
    "survey",
    "take_fold",
    "thin",
    "weigh_generated",
    "write_folder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
