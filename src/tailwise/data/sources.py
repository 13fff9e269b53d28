"""One door for all readers: a name, a folder, a file or a data set object in, a manifest out."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tailwise.data.manifest import Manifest
from tailwise.data.names import ACCEPTED, NAMES
from tailwise.errors import BadData, BadValue, UnknownName


def read(source: Any, root: Path | str | None = None, columns: str | None = None) -> Manifest:
    """Read a data set.

    What a path holds is told by its first bytes where they say, else by its name:

    | what | reader |
    | --- | --- |
    | a name of `NAMES` | `read_digits` |
    | a manifest, or a folder with `manifest.parquet` | the manifest, `Manifest.load` |
    | a folder with `train-images-idx3-ubyte` or the like, or such a file | `read_idx` |
    | a folder with `train-00000-of-00001.parquet` or the like, on top or in `data/`, or such a file | `read_parquet` |
    | another folder | `read_folder` |
    | `.csv`, `.tsv`, plain or `.gz` | `read_delimited` |
    | `.npz` | `read_npz` |
    | an object with items, or a dictionary of them by split | `read_object` |

    Args:
        source: one of the above; paths as text or `Path`.
        root: folder that the paths of a table, or of a saved manifest, are relative to; for nothing else.
        columns: names of a table's columns where they are not recognised, as in `path=file,label=species`; for nothing else.

    Raises:
        UnknownName: neither a known name nor a path.
        BadData: the path does not exist or is nothing that is read here, or as its reader says.
        BadValue: `root` or `columns` for a source that has neither paths nor columns; something that is no data set.

    >>> read("digits")
    Manifest 'digits': 1,797 images, 10 classes, imbalance ratio 1.052; train 1,797
    """
    if isinstance(source, Manifest):
        _refuse_words(repr(source), root, columns)
        return source
    if not isinstance(source, (str, os.PathLike)):
        return _read_object(source, root, columns)
    if isinstance(source, str) and source in NAMES:
        from tailwise.data.readers.digits import read_digits

        _refuse_words(repr(source), root, columns)
        return read_digits()
    path = Path(source)
    if path.name == "manifest.parquet":
        path = path.parent
    if os.path.isfile(path / "manifest.parquet"):
        _refuse_words(repr(str(source)), None, columns)
        return Manifest.load(path, root)
    # os.path answers False to names that are too long or hold a null character; pathlib raises.
    if not os.path.exists(path):
        raise _not_there(path, os.fspath(source))
    reader, takes_words = _folder_reader(path) if os.path.isdir(path) else _file_reader(path)
    if takes_words:
        return reader(path, root, columns)
    _refuse_words(repr(str(source)), root, columns)
    return reader(path)


def _refuse_words(source: str, root: Path | str | None, columns: str | None) -> None:
    if root is not None:
        raise BadValue(f"root is for tables of paths and saved manifests, and {source} is none; leave root out")
    if columns is not None:
        raise BadValue(f"columns are for tables, and {source} is none; leave columns out")


def _read_object(source: Any, root: Path | str | None, columns: str | None) -> Manifest:
    from tailwise.data.readers.objects import is_object, read_object

    if not is_object(source):
        what = f"{source!r}" if isinstance(source, (int, float, type(None))) else f"of type {type(source).__name__}"
        raise BadValue(
            f"source {what} is no data set; give a name ({', '.join(NAMES)}), {ACCEPTED}, a manifest, "
            f"or a data set object with a length and items by number"
        )
    _refuse_words(f"a {type(source).__name__} object", root, None)
    return read_object(source, columns)


_Reader = tuple[Callable[..., Manifest], bool]
"""A reader, and whether it takes root and columns beside the path."""


def _folder_reader(folder: Path) -> _Reader:
    from tailwise.data.readers.folder import read_folder
    from tailwise.data.readers.idx import idx_files, read_idx
    from tailwise.data.readers.parquet import parquet_files, read_parquet

    try:
        if idx_files(folder):
            return read_idx, False
        if parquet_files(folder):
            return read_parquet, True
    except OSError as error:
        raise BadData(f"{folder}: cannot be opened ({error.strerror}); give leave to read it, or remove it") from error
    return read_folder, False


def _file_reader(file: Path) -> _Reader:
    from tailwise.data.readers.arrays import read_npz
    from tailwise.data.readers.delimited import NAME, read_delimited
    from tailwise.data.readers.idx import IMAGES, read_idx
    from tailwise.data.readers.opening import first_bytes
    from tailwise.data.readers.parquet import read_parquet

    start, suffix = first_bytes(file), file.suffix.lower()
    if start.startswith(b"PAR1") or suffix == ".parquet":
        return read_parquet, True
    if IMAGES.fullmatch(file.name):
        return read_idx, False
    if NAME.fullmatch(file.name):
        return read_delimited, True
    if suffix == ".npz":
        return read_npz, False
    raise BadData(f"{file}: files of this kind are not read here; give {ACCEPTED}")


def _not_there(path: Path, asked: str) -> UnknownName | BadData:
    """A bare word is taken for a misspelt name, anything else for a misspelt path."""
    if os.sep not in asked and not path.suffix:
        return UnknownName("data set", asked, NAMES, f"No file or folder has this name either; give {ACCEPTED}.")
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"did you mean {str(path.parent / near[0])!r}?" if near else "check the path"
    return BadData(f"{path}: no such file or folder, expected {ACCEPTED}; {hint}")
