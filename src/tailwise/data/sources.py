"""One door for all readers: a name, a folder, a file or a data set object in, a manifest out."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tailwise.data.formats import detect, find_format
from tailwise.data.manifest import Manifest
from tailwise.data.names import ACCEPTED, NAMES
from tailwise.errors import BadData, BadValue, UnknownName


def read(source: Any, root: Path | str | None = None, columns: str | None = None, format: str | None = None) -> Manifest:
    """Read a data set.

    A name of `NAMES`, a manifest, a saved one (a folder with `manifest.parquet`) or a data set object is what it is; what any other
    path holds is asked of each format of `tailwise.data.formats.FORMATS` in turn, which look at names and first bytes. Image files are
    not opened: `check_sound` does it for those who need pixels.

    Args:
        source: one of the above; paths as text or `Path`.
        root: folder that the paths of a list, or of a saved manifest, are relative to; for `cifar10` and `cifar100` where their files
            are; for nothing else.
        columns: names of a table's columns where they are not recognised, as in `path=file,label=species`; for nothing else.
        format: name of the format, where it is not to be recognised.

    Raises:
        UnknownName: neither a known name nor a path; no such format.
        BadData: the path does not exist or is nothing that is read here, or as its reader says.
        BadValue: `root`, `columns` or `format` for a source that has no use for it; something that is no data set.

    >>> read("digits")
    Manifest 'digits': 1,797 images, 10 classes, imbalance ratio 1.052; train 1,797
    """
    words = {"root": root, "columns": columns, "format": format}
    if isinstance(source, Manifest):
        _refuse_words(repr(source), words)
        return source
    if not isinstance(source, (str, os.PathLike)):
        return _read_object(source, words)
    if isinstance(source, str) and source in NAMES:
        return _read_named(source, words)
    path = Path(source)
    if path.name == "manifest.parquet":
        path = path.parent
    if format is None and os.path.isfile(path / "manifest.parquet"):
        _refuse_words(repr(str(source)), {"columns": columns})
        return Manifest.load(path, root)
    # os.path answers False to names that are too long or hold a null character; pathlib raises.
    if not os.path.exists(path):
        raise _not_there(path, os.fspath(source))
    found = detect(path) if format is None else find_format(format)
    taken = {word: words.pop(word) for word in found.takes}
    _refuse_words(f"{str(source)!r} ({found.title})", {**words, "format": None})
    return found.read(path, **{word: value for word, value in taken.items() if value is not None})


def _refuse_words(source: str, words: Mapping[str, object]) -> None:
    for word, value in words.items():
        if value is not None:
            raise BadValue(f"{word} is for {_FOR[word]}, and {source} has no use for it; leave {word} out")


_FOR = {
    "root": "lists of paths, saved manifests and CIFAR by name",
    "columns": "tables",
    "format": "paths",
}


def _read_named(name: str, words: Mapping[str, Any]) -> Manifest:
    if name == "digits":
        from tailwise.data.readers.digits import read_digits

        _refuse_words(repr(name), words)
        return read_digits()
    from tailwise.data.readers.cifar import read_cifar_by_name

    _refuse_words(repr(name), {**words, "root": None})
    return read_cifar_by_name(name, words["root"])


def _read_object(source: Any, words: Mapping[str, Any]) -> Manifest:
    from tailwise.data.readers.objects import is_object, read_object

    if not is_object(source):
        what = f"{source!r}" if isinstance(source, (int, float, type(None))) else f"of type {type(source).__name__}"
        raise BadValue(
            f"source {what} is no data set; give a name ({', '.join(NAMES)}), {ACCEPTED}, a manifest, "
            f"or a data set object with a length and items by number"
        )
    _refuse_words(f"a {type(source).__name__} object", {**words, "columns": None})
    return read_object(source, words["columns"])


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
