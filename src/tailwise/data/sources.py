"""One door for all readers: a name, a folder or a file in, a manifest out."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from tailwise.data.manifest import Manifest
from tailwise.data.names import NAMES
from tailwise.errors import BadData, BadValue, UnknownName

_ACCEPTED = "a folder with one folder a class, a folder with manifest.parquet, or an .npz file"


def read(source: Manifest | Path | str, root: Path | str | None = None) -> Manifest:
    """Read a data set.

    Args:
        source: a name of `NAMES`, a folder that `Manifest.save` wrote, a folder of class folders, an `.npz` file, or a manifest,
            which is given back as it is.
        root: where the images of a saved manifest are now; for nothing else.

    Raises:
        UnknownName: neither a known name nor a path.
        BadData: the path does not exist or is nothing that is read here, or as its reader says.
        BadValue: `root` for a source whose paths it cannot change.

    >>> read("digits")
    Manifest 'digits': 1,797 images, 10 classes, imbalance ratio 1.052; train 1,797
    """
    if not isinstance(source, (Manifest, str, os.PathLike)):
        raise BadValue(f"source {source!r} is no data set; give a name ({', '.join(NAMES)}), {_ACCEPTED}, or a manifest")
    path = None if isinstance(source, Manifest) or source in NAMES else Path(source)
    if path is not None and path.name == "manifest.parquet":
        path = path.parent
    if path is not None and os.path.isfile(path / "manifest.parquet"):
        return Manifest.load(path, root)
    if root is not None:
        raise BadValue(f"root is for a saved manifest, and {str(source)!r} is none; leave root out")
    if isinstance(source, Manifest):
        return source
    if path is None:
        from tailwise.data.readers.digits import read_digits

        return read_digits()
    return _read_path(path, os.fspath(source))


def _read_path(path: Path, asked: str) -> Manifest:
    # os.path answers False to names that are too long or hold a null character; pathlib raises.
    if os.path.isdir(path):
        from tailwise.data.readers.folder import read_folder

        return read_folder(path)
    if not os.path.exists(path):
        raise _not_there(path, asked)
    if path.suffix.lower() == ".npz":
        from tailwise.data.readers.arrays import read_npz

        return read_npz(path)
    raise BadData(f"{path}: files of this kind are not read here; give {_ACCEPTED}")


def _not_there(path: Path, asked: str) -> UnknownName | BadData:
    """A bare word is taken for a misspelt name, anything else for a misspelt path."""
    if os.sep not in asked and not path.suffix:
        return UnknownName("data set", asked, NAMES, f"No file or folder has this name either; give {_ACCEPTED}.")
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"did you mean {str(path.parent / near[0])!r}?" if near else "check the path"
    return BadData(f"{path}: no such file or folder, expected {_ACCEPTED}; {hint}")
