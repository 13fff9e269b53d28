"""Write a set as a folder in one of the layouts: images, lists, manifest, card and a page that says what it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from tailwise.data.content import WRITTEN, hash_bytes
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.png import encode_png
from tailwise.data.storage import CARD, card_of, check_made, write_card, write_table
from tailwise.data.writers.layouts import Layout, find_layout
from tailwise.data.writers.names import plain_name, unique_names
from tailwise.data.writers.page import PAGE, page_of
from tailwise.data.writers.parquet import as_packed, shards
from tailwise.data.writers.standing import check_nothing_added, check_ours, check_place, difference, linked_files
from tailwise.disk import put_back, replace_folder, whole_folder
from tailwise.errors import BadData, BadValue, OutputExists


@dataclass(frozen=True)
class Built:
    """A set on disk.

    Attributes:
        manifest: of the folder; where images lie in Parquet, of these images where they came from.
        folder: where it is.
        stood: whether it stood already, whole, and nothing was written.
        linked: image files that are hard links to those of the source.
        copied: image files that are copies.
    """

    manifest: Manifest
    folder: Path
    stood: bool
    linked: int
    copied: int


def write_folder(manifest: Manifest, dest: Path | str, link: bool = False, force: bool = False) -> Manifest:
    """Write a set as an image folder, as `write_set` does, and give the manifest of `dest`."""
    return write_set(manifest, dest, "folder", link, force).manifest


def write_set(
    manifest: Manifest,
    dest: Path | str,
    layout: str = "folder",
    link: bool = False,
    force: bool = False,
    said: Mapping[str, Any] | None = None,
) -> Built:
    """Write a set as a folder that other tools can read, with `card.json`, `README.md` and, but for Parquet, `manifest.parquet`.

    Files are copied as they are, arrays are written as PNG, both without loss. The manifest keeps ids, content hashes and class
    names, so that the identity stays; only paths are new, and relative to `dest`, which may be moved. Equal sets and words give equal
    bytes. `dest` appears whole or not at all; where it stands already, built in the same way from an equal set and whole to the byte,
    nothing is written. Of a list whose images are not there the lists alone are written, in layouts that have them.

    Args:
        manifest: of images.
        dest: must not exist, or hold this set, unless `force`.
        layout: name of a layout of `LAYOUTS`.
        link: make hard links to the files, so that they take no room and an edit in place changes both; where the file system refuses
            (another disk), copies.
        force: replace `dest` where a manifest's card lies in it; the old folder stands until the new one is whole.
        said: further fields of the card: where the set comes from.

    Raises:
        BadData: what the layout cannot hold, such as features, or images that cannot be read.
        BadValue: `dest` lies among the images, or images lie in `dest`; links to arrays, or into Parquet.
        OutputExists: `dest` exists and holds something else, or is damaged, and `force` is not given; it carries no card of ours; or
            files were added to it.
        Unwritable, Stopped: it cannot be written, or the disk is full.
    """
    dest, form = Path(dest), find_layout(layout)
    form.check_holds(manifest)
    _check_links(manifest, form, link)
    check_place(manifest, dest)
    if not os.path.lexists(dest):
        put_back(dest)  # a replacing was killed between its two renames
    check_ours(dest, force)
    source, said = manifest.with_content(), said or {}
    written = _packed(source) if form.is_packed else _moved(source, dest, form)
    stood = os.path.lexists(dest)
    if stood:
        other = difference(source, written, dest, form, link, said)
        if other is not None and not force:
            raise OutputExists(f"{dest} {other}; give the name of another folder, or replace this one with --force")
        if other is not None:
            check_nothing_added(dest)
        elif force:
            put_back(dest)  # a replacing was killed with the new folder in its place: now the old one goes
        stood = other is None
    if not stood:
        make = replace_folder if force else whole_folder
        make(dest, partial(_fill, source=source, written=written, dest=dest, form=form, link=link, said=said))
        check_made(written, dest)
    if form.is_packed:
        return Built(written, dest, stood, 0, 0)
    linked = linked_files(source, written)
    files = source.rows["path"].drop_nulls().len() if source.root is not None else 0
    return Built(Manifest.load(dest), dest, stood, linked, files - linked)


def _check_links(manifest: Manifest, form: Layout, link: bool) -> None:
    if link and manifest.arrays:
        raise BadValue(f"manifest {manifest.name!r} holds images in arrays, which cannot be linked to; leave link out")
    if link and form.is_packed:
        raise BadValue(f"{form.title} holds its images itself, so there is nothing to link; leave link out")


def _packed(manifest: Manifest) -> Manifest:
    return as_packed(manifest).replace(f"written as Parquet: {manifest.rows.height:,} images, {_how(manifest)}")


def _moved(manifest: Manifest, dest: Path, form: Layout) -> Manifest:
    """Give the manifest with the paths that its images get below `dest`, sorted by id."""
    manifest = manifest.replace(rows=manifest.rows.sort("id"))
    paths = form.placing.paths(manifest).alias("path")
    if paths.n_unique() < len(paths):
        same = paths.filter(paths.is_duplicated()).unique().sort().to_list()
        raise BadData(f"{len(same):,} names of {form.title} would name several images each: {first_five(same)}; rename the images")
    if not manifest.has_files:
        alone = f"written as {form.title}: a list of {manifest.rows.height:,} images, which are not there themselves"
        return manifest.replace(alone, rows=manifest.rows.with_columns(paths))
    done = [f"written as {form.title}: {manifest.rows.height:,} images, {_how(manifest)}", *_renamed(manifest, paths, form)]
    moved = manifest.rows.with_columns(paths, pl.lit(None, pl.String).alias("container"), pl.lit(None, pl.Int64).alias("row"))
    return manifest.replace(*done, rows=moved, root=dest, arrays={})


def _how(manifest: Manifest) -> str:
    if manifest.rows["path"].null_count() == 0:
        return "files as they are"
    return "PNG" if manifest.rows["container"].null_count() == 0 else "files as they are, and PNG of arrays"


def _renamed(manifest: Manifest, paths: pl.Series, form: Layout) -> list[str]:
    """Say which classes and files have other names than before."""
    done = []
    names = zip(manifest.classes, unique_names(manifest.classes), strict=True)
    classes = [f"{name!r} -> {folder!r}" for name, folder in names if name != folder]
    if form.is_by_class and classes:
        done.append(f"{len(classes):,} classes have folders of other names: {first_five(classes)}")
    before = zip(paths, manifest.rows["path"], manifest.rows["id"], strict=True)
    files = [path for path, old, id_ in before if path.rsplit("/", 1)[-1] != plain_name(old, id_)]
    if files:
        done.append(f"{len(files):,} files got other names, to be safe and unique: {first_five(files)}")
    return done


def _fill(draft: Path, source: Manifest, written: Manifest, dest: Path, form: Layout, link: bool, said: Mapping[str, Any]) -> None:
    """Write all files into `draft`, which will be renamed to `dest`; what is not an image is hashed in the card."""
    if form.is_packed:
        files = _write(draft, shards(source))
    else:
        if source.has_files:
            written = written.replace(rows=_place_images(draft, source, written, link))
        here = written.replace(root=draft) if source.has_files else written
        files = _write(draft, form.placing.lists(here).items())
        write_table(written, draft)
    card = card_of(written, dest, {"layout": form.name, **said})
    files |= _write(draft, [(PAGE, page_of(card))])
    write_card(card | {"files": files}, draft / CARD)


def _write(draft: Path, files: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Write files and give their hashes."""
    hashes = {}
    for name, data in files:
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_bytes(data)
        hashes[name] = hash_bytes(data)
    return hashes


def _place_images(draft: Path, source: Manifest, written: Manifest, link: bool) -> pl.DataFrame:
    """Link, copy or encode every image, and give the rows of `written` with the hashes of the files that arrays became.

    What an array's row holds is its content; the file that it becomes has a hash of its own, by which a later change is seen.
    """
    base = os.path.realpath(source.root or ".")
    known = pl.col(WRITTEN) if WRITTEN in source.rows.columns else pl.lit(None, pl.String)
    rows = source.rows.sort("id").select("path", "container", "row", known.alias(WRITTEN))
    take: Callable[[str, Path], None] = _link if link else _copy
    hashes: list[str | None] = []
    for folder in {os.path.dirname(new) for new in written.rows["path"]}:
        (draft / folder).mkdir(parents=True, exist_ok=True)
    for (path, container, row, of_file), new in zip(rows.iter_rows(), written.rows["path"], strict=True):
        if path is None:
            data = encode_png(source.arrays[container][row])
            (draft / new).write_bytes(data)
            hashes.append(hash_bytes(data))
        else:
            take(os.path.join(base, path), draft / new)
            hashes.append(of_file)
    return written.rows.with_columns(pl.Series(WRITTEN, hashes, dtype=pl.String))


def _link(file: str, new: Path) -> None:
    """Give a file a further name, or copy it where the file system does not."""
    try:
        os.link(os.path.realpath(file), new)
    except OSError:  # another disk, no such thing on this one, too many names already
        _copy(file, new)


def _copy(file: str, new: Path) -> None:
    try:
        shutil.copyfile(file, new)
    except OSError as error:
        if error.filename != file:  # the draft's fault, which the store puts into words
            raise
        raise BadData(f"{file}: cannot be read ({error.strerror}); restore it or read the data again") from error
