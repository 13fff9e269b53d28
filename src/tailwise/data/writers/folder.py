"""Writer of image folders: `train/<class>/<name>`, `val/...`, `test/...`, with the manifest beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tailwise.data.content import WRITTEN, hash_bytes, hash_files
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.png import encode_png
from tailwise.data.storage import CARD, TABLE, check_made, read_card, write_files
from tailwise.data.writers.names import unique_names
from tailwise.disk import put_back, replace_folder, whole_folder
from tailwise.errors import BadData, BadValue, OutputExists, Stopped, Unwritable
from tailwise.store import Store

LEFT = (".DS_Store", "Thumbs.db", "desktop.ini", ".directory")
"""What file managers leave in a folder, beside names that begin with `._`."""


@dataclass(frozen=True)
class Built:
    """An image folder on disk.

    Attributes:
        manifest: of the folder.
        stood: whether it stood already, whole, and nothing was written.
    """

    manifest: Manifest
    stood: bool


def write_folder(manifest: Manifest, dest: Path | str, link: bool = False, force: bool = False) -> Manifest:
    """Write a set as an image folder, as `build_folder` does, and give the manifest of `dest`."""
    return build_folder(manifest, dest, link, force).manifest


def build_folder(manifest: Manifest, dest: Path | str, link: bool = False, force: bool = False) -> Built:
    """Write a set as an image folder that every tool can read, with `manifest.parquet` and `card.json` in it.

    Files are copied as they are, arrays are written as PNG, both without loss. The manifest keeps ids, content hashes and class
    names, so that the identity stays; only paths are new, and relative to `dest`, which may be moved. Equal sets give equal bytes of
    table and card. `dest` appears whole or not at all; where it stands already, built in the same way from an equal set and whole to
    the byte, nothing is written.

    Args:
        manifest: of images.
        dest: must not exist, or hold this set, unless `force`.
        link: make symbolic links to where the files are (absolute: they survive a move of `dest`, not of the files).
        force: replace `dest` where a manifest's card lies in it; the old folder stands until the new one is whole.

    Raises:
        BadData: features instead of images, or images that cannot be read.
        BadValue: `dest` lies among the images, or images lie in `dest`; links to arrays
            or into the store.
        OutputExists: `dest` exists and holds something else, or is damaged, and `force` is not given; it carries no card of ours; or
            files were added to it.
        Unwritable, Stopped: it cannot be written, or the disk is full.
    """
    dest = Path(dest)
    if manifest.kind == "features":
        raise BadData(f"manifest {manifest.name!r} holds features, expected images; there is nothing to write as an image folder")
    if link and manifest.arrays:
        raise BadValue(f"manifest {manifest.name!r} holds images in arrays, which cannot be linked to; leave link out")
    _check_place(manifest, dest, link)
    if not os.path.lexists(dest):
        put_back(dest)  # a replacing was killed between its two renames
    check_ours(dest, force)
    manifest = manifest.with_content()
    written = _moved(manifest, dest, link)
    if os.path.lexists(dest):
        difference = _difference(written, dest, link)
        if difference is None:
            if force:
                put_back(dest)  # a replacing was killed with the new folder in its place: now the old one goes
            return Built(Manifest.load(dest), stood=True)
        if not force:
            raise OutputExists(f"{dest} {difference}; give the name of another folder, or replace this one with --force")
        check_nothing_added(dest)
    make = replace_folder if force else whole_folder
    make(dest, lambda draft: _fill(draft, manifest, written, link))
    check_made(written, dest)
    return Built(Manifest.load(dest), stood=False)


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


def _difference(written: Manifest, dest: Path, link: bool) -> str | None:
    """Say in what a folder with a card of ours is not the one that would be written; None where it is, whole to the byte."""
    try:
        found = Manifest.load(dest)
    except BadData as error:
        return f"was built before and is damaged ({error})"
    if found.identity != written.identity:
        return "was built from another set, or with another split, tail or seed"
    if not _paths(found).equals(_paths(written)):
        return "was built from an equal set under other file names"
    is_link = [os.path.islink(dest / path) for path in found.rows["path"]]
    if any(is_link) != link:
        return "holds copies, not the links that --link asks for" if link else "holds links, not copies"
    changed = _changed(found.rows, dest)
    if changed:
        return f"was built before and is damaged: {len(changed):,} files are missing or have changed, {first_five(changed)}"
    return None


def _paths(manifest: Manifest) -> pl.DataFrame:
    return manifest.rows.select("id", "path").sort("id")


def _changed(rows: pl.DataFrame, dest: Path) -> list[str]:
    """List the files of a folder that are missing, or are not those that its table describes."""
    expected = pl.coalesce(WRITTEN, "content") if WRITTEN in rows.columns else pl.col("content")
    table = rows.select("path", expected.alias("expected")).sort("path")
    there = [path for path in table["path"] if os.path.isfile(dest / path)]
    files = [os.path.join(os.path.abspath(dest), path) for path in there]
    try:
        hashes = hash_files(files, Store().shelf("hashes"))
    except (Unwritable, Stopped):  # the cache of hashes only saves time
        hashes = hash_files(files)
    found = dict(zip(there, hashes, strict=True))
    return [path for path, hash_ in table.iter_rows() if found.get(path) != hash_]


def _built(dest: Path) -> set[str]:
    """Name the files that the table of a folder knows, whether they are still there or not."""
    try:
        table = pl.read_parquet(dest / TABLE, columns=["path", "container"])
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        raise OutputExists(
            f"{dest / TABLE} is damaged, so what was added to the folder cannot be told from what was built; "
            "remove the folder, or give the name of another one"
        ) from None
    arrays = {f"{container}.npy" for container in table["container"].drop_nulls().unique()}
    return {TABLE, CARD, *arrays, *table["path"].drop_nulls()}


def _files_in(folder: Path) -> set[str]:
    """List the files and links that lie in a folder, without what file managers leave there."""
    found = set()
    for top, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        found |= {os.path.relpath(os.path.join(top, name), folder) for name in (*names, *links) if not _is_left(name)}
    return {path.replace(os.sep, "/") for path in found}


def _is_left(name: str) -> bool:
    return name in LEFT or name.startswith("._")


def _check_place(manifest: Manifest, dest: Path, link: bool) -> None:
    """Refuse to write among the images: a replacing would delete them, and a later reading find them twice."""
    if manifest.root is None:
        return
    root, place = os.path.realpath(manifest.root), os.path.realpath(dest)
    if any(is_inside(os.path.realpath(os.path.join(root, path)), place) for path in manifest.rows["path"].drop_nulls()):
        raise BadValue(f"{dest} holds images of {manifest.name!r} itself; write to another folder")
    if is_inside(place, root) and _is_of_class_folders(manifest):
        raise BadValue(f"{dest} lies inside {manifest.root}, where the images of {manifest.name!r} are; write to a folder outside")
    if link and Store().holds(root):
        raise BadValue(f"the images of {manifest.name!r} were unpacked into the store, which may be emptied; copy them, without --link")


def is_inside(place: str, folder: str) -> bool:
    """Tell whether an absolute path is a folder or lies in it."""
    return place == folder or place.startswith(os.path.join(folder, ""))


def _is_of_class_folders(manifest: Manifest) -> bool:
    """Whether the folders of all paths name their class, so that a reader of class folders would look through the root."""
    rows = manifest.rows.filter(pl.col("path").is_not_null()).select("path", "label")
    return all(manifest.classes[label] in path.split("/")[:-1] for path, label in rows.iter_rows())


def _moved(manifest: Manifest, dest: Path, link: bool) -> Manifest:
    """Give the manifest with the paths that its images get below `dest`, sorted by id."""
    rows = manifest.rows.sort("id")
    folders = unique_names(manifest.classes)
    plain = [_plain_name(path, id_) for path, id_ in rows.select("path", "id").iter_rows()]
    paths = pl.Series("path", [""] * rows.height)
    table = rows.select("split", "label").with_columns(pl.Series("plain", plain)).with_row_index("place")
    for (split, label), group in table.group_by(["split", "label"], maintain_order=True):
        names = unique_names(group["plain"])
        paths = paths.scatter(group["place"], [f"{split}/{folders[int(str(label))]}/{name}" for name in names])
    renamed = [path for path, name in zip(paths, plain, strict=True) if path.rsplit("/", 1)[1] != name]
    done = [f"written as an image folder: {rows.height:,} images, {_how(manifest, link)}"]
    other = [f"{name!r} -> {folder!r}" for name, folder in zip(manifest.classes, folders, strict=True) if name != folder]
    if other:
        done.append(f"{len(other):,} classes have folders of other names: {first_five(other)}")
    if renamed:
        done.append(f"{len(renamed):,} files got other names, to be safe and unique: {first_five(renamed)}")
    moved = rows.with_columns(paths, pl.lit(None, pl.String).alias("container"), pl.lit(None, pl.Int64).alias("row"))
    return manifest.replace(*done, rows=moved, root=dest, arrays={})


def _plain_name(path: str | None, id_: str) -> str:
    """Give the name that a file has, or that an array's row gets: the end of its id."""
    return path.rsplit("/", 1)[-1] if path is not None else f"{id_.rstrip('/').rsplit('/', 1)[-1]}.png"


def _how(manifest: Manifest, link: bool) -> str:
    if manifest.rows["path"].null_count() == 0:
        return "links to the files" if link else "copies of the files"
    return "PNG" if manifest.rows["container"].null_count() == 0 else "copies of the files, and PNG of arrays"


def _fill(draft: Path, source: Manifest, written: Manifest, link: bool) -> None:
    base = os.path.realpath(source.root or ".")
    known = pl.col(WRITTEN) if WRITTEN in source.rows.columns else pl.lit(None, pl.String)
    rows = source.rows.sort("id").select("path", "container", "row", known.alias(WRITTEN))
    hashes: list[str | None] = []
    for folder in {new.rsplit("/", 1)[0] for new in written.rows["path"]}:
        (draft / folder).mkdir(parents=True)
    for (path, container, row, of_file), new in zip(rows.iter_rows(), written.rows["path"], strict=True):
        if path is None:
            data = encode_png(source.arrays[container][row])
            (draft / new).write_bytes(data)
            hashes.append(hash_bytes(data))
        else:
            _take(os.path.join(base, path), draft / new, link)
            hashes.append(of_file)
    assert written.root is not None
    # What an array's row holds is its content; the file that it becomes has a hash of its own, by which a later change is seen.
    write_files(written.replace(rows=written.rows.with_columns(pl.Series(WRITTEN, hashes, dtype=pl.String))), draft, written.root)


def _take(file: str, new: Path, link: bool) -> None:
    if link:
        new.symlink_to(os.path.realpath(file))
        return
    try:
        shutil.copyfile(file, new)
    except OSError as error:
        if error.filename != file:  # the draft's fault, which the store puts into words
            raise
        raise BadData(f"{file}: cannot be read ({error.strerror}); restore it or read the data again") from error
