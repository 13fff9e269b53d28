"""What stands at a place that is to be written: nothing, somebody else's, what would be written, or what we wrote otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tailwise.data.content import WRITTEN, hash_files
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.storage import CARD, TABLE, read_card
from tailwise.data.writers.layouts import Layout
from tailwise.errors import BadData, BadValue, OutputExists, Stopped, Unwritable
from tailwise.store import Store

LEFT = (".DS_Store", "Thumbs.db", "desktop.ini", ".directory")
"""What file managers leave in a folder, beside names that begin with `._`."""


def check_ours(dest: Path, force: bool = False) -> None:
    """Refuse a place where something lies that we did not make, before any work.

    Raises:
        OutputExists: it is no folder with a card of ours; `force` changes nothing but the words.
    """
    if not os.path.lexists(dest):
        return
    if dest.is_symlink():
        what = "is a link"
    elif not dest.is_dir():
        what = "is a file"
    else:
        try:
            read_card(dest)
            return
        except BadData:
            what = "carries no card of tailwise"
    end = ", so --force does not replace it" if force else ""
    raise OutputExists(f"{dest} exists already and {what}{end}; give the name of a folder that does not")


def check_place(manifest: Manifest, dest: Path) -> None:
    """Refuse to write among the images: a replacing would delete them, and a later reading find them twice.

    Raises:
        BadValue: images lie in `dest`, or `dest` among class folders of images.
    """
    if manifest.root is None:
        return
    root, place = os.path.realpath(manifest.root), os.path.realpath(dest)
    if any(is_inside(os.path.realpath(os.path.join(root, path)), place) for path in manifest.rows["path"].drop_nulls()):
        raise BadValue(f"{dest} holds images of {manifest.name!r} itself; write to another folder")
    if is_inside(place, root) and _is_of_class_folders(manifest):
        raise BadValue(f"{dest} lies inside {manifest.root}, where the images of {manifest.name!r} are; write to a folder outside")


def check_nothing_added(dest: Path, beside: Iterable[str] = ()) -> None:
    """Refuse to replace a folder of ours that holds more than what we wrote into it.

    Args:
        dest: with a card of ours.
        beside: names of further files of ours.

    Raises:
        OutputExists: files or links were added, or the table is damaged, so that nobody can tell.
    """
    added = sorted(_files_in(dest) - _built(dest) - set(beside))
    if added:
        raise OutputExists(
            f"{dest} holds {len(added):,} files that were added after it was built, which --force would delete: {first_five(added)}; "
            "move them, or give the name of another folder"
        )


def difference(source: Manifest, written: Manifest, dest: Path, layout: Layout, link: bool, said: Mapping[str, Any]) -> str | None:
    """Say in what a folder with a card of ours is not the one that would be written; None where it is, whole to the byte.

    Args:
        source: the set that is written, where its images are now.
        written: the set as it would stand at `dest`.
        dest: the folder.
        layout: asked for.
        link: whether hard links are asked for.
        said: fields of the card that the user has words for.
    """
    card = read_card(dest)
    if (there := card.get("layout", "folder")) != layout.name:
        return f"was built as {there}, not as {layout.name}"
    damaged = _changed(_hashes_of_lists(card), dest)
    if not layout.is_packed:
        try:
            found = Manifest.load(dest)
        except BadData as error:
            return f"was built before and is damaged ({error})"
        if found.identity == written.identity and not _paths(found).equals(_paths(written)):
            return "was built from an equal set under other file names"
        damaged += _changed(_hashes_of_images(found), dest)
    if card["identity"] != written.identity:
        return "was built from another set, or with another split, tail or seed"
    if card.get("licence") != said.get("licence"):
        return "states another licence"
    if not damaged and not layout.is_packed:
        if link and (copy := next(_copies(source, written), None)) and _can_link(copy, dest):
            return "holds copies, not the links that --link asks for"
        if not link and linked_files(source, written):
            return "holds links, not copies"
    if damaged:
        return f"was built before and is damaged: {len(damaged):,} files are missing or have changed, {first_five(damaged)}"
    return None


def linked_files(source: Manifest, written: Manifest) -> int:
    """Count the image files that are one with those of the source: hard links."""
    return sum(is_one for _, is_one in _pairs(source, written))


def _copies(source: Manifest, written: Manifest) -> Iterator[str]:
    return (file for file, is_one in _pairs(source, written) if not is_one)


def _pairs(source: Manifest, written: Manifest) -> Iterator[tuple[str, bool]]:
    """Give each image file of the source, and whether the one that was written for it is the same file."""
    if source.root is None or written.root is None:
        return
    root, dest = os.path.realpath(source.root), os.path.abspath(written.root)
    for old, new in zip(source.rows.sort("id")["path"], written.rows.sort("id")["path"], strict=True):
        if old is not None:
            file = os.path.join(root, old)
            yield file, _is_one(file, os.path.join(dest, new))


def _is_one(file: str, other: str) -> bool:
    try:
        return os.path.samefile(file, other)
    except OSError:  # one of them is gone
        return False


def _can_link(file: str, folder: Path) -> bool:
    """Try whether a file can have a further name in a folder; the name goes at once."""
    trial = folder.with_name(f".{folder.name}-{os.getpid()}.link")
    try:
        os.link(os.path.realpath(file), trial)
    except OSError:
        return False
    trial.unlink()
    return True


def _paths(manifest: Manifest) -> pl.DataFrame:
    return manifest.rows.select("id", "path").sort("id")


def _hashes_of_lists(card: Mapping[str, Any]) -> dict[str, str]:
    """Give the hashes of the files beside images and manifest; a card of an earlier version names none."""
    files = card.get("files")
    return files if isinstance(files, dict) else {}


def _hashes_of_images(found: Manifest) -> dict[str, str]:
    if found.root is None:
        return {}
    expected = pl.coalesce(WRITTEN, "content") if WRITTEN in found.rows.columns else pl.col("content")
    return dict(found.rows.select("path", expected.alias("expected")).drop_nulls("path").sort("path").iter_rows())


def _changed(hashes: Mapping[str, str], dest: Path) -> list[str]:
    """List the files of a folder that are missing, or have other hashes than these."""
    there = [path for path in hashes if os.path.isfile(dest / path)]
    files = [os.path.join(os.path.abspath(dest), path) for path in there]
    try:
        found = hash_files(files, Store().shelf("hashes"))
    except (Unwritable, Stopped):  # the cache of hashes only saves time
        found = hash_files(files)
    by_path = dict(zip(there, found, strict=True))
    return [path for path, hash_ in hashes.items() if by_path.get(path) != hash_]


def _built(dest: Path) -> set[str]:
    """Name the files that card and table of a folder know, whether they are still there or not."""
    try:
        card = read_card(dest)
    except BadData:  # damaged; whoever asks knows that the folder is ours
        card = {}
    ours = {CARD, *_hashes_of_lists(card)}
    if card.get("layout") == "parquet":
        return ours
    try:
        table = pl.read_parquet(dest / TABLE, columns=["path", "container"])
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        raise OutputExists(
            f"{dest / TABLE} is damaged, so what was added to the folder cannot be told from what was built; "
            "remove the folder, or give the name of another one"
        ) from None
    arrays = {f"{container}.npy" for container in table["container"].drop_nulls().unique()}
    return {TABLE, *ours, *arrays, *table["path"].drop_nulls()}


def _files_in(folder: Path) -> set[str]:
    """List the files and links that lie in a folder, without what file managers leave there."""
    found = set()
    for top, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        found |= {os.path.relpath(os.path.join(top, name), folder) for name in (*names, *links) if not _is_left(name)}
    return {path.replace(os.sep, "/") for path in found}


def _is_left(name: str) -> bool:
    return name in LEFT or name.startswith("._")


def is_inside(place: str, folder: str) -> bool:
    """Tell whether an absolute path is a folder or lies in it."""
    return place == folder or place.startswith(os.path.join(folder, ""))


def _is_of_class_folders(manifest: Manifest) -> bool:
    """Whether the folders of all paths name their class, so that a reader of class folders would look through the root."""
    rows = manifest.rows.filter(pl.col("path").is_not_null()).select("path", "label")
    return all(label is not None and manifest.classes[label] in path.split("/")[:-1] for path, label in rows.iter_rows())
