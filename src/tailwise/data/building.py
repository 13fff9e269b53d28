"""From a set as it was read to folders: split, copies of one image kept together, thinned, written; with its balanced twin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from tailwise.data.columns import SPLITS
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.profiles import said_profile
from tailwise.data.splits import split
from tailwise.data.tails import ClassOrder, thin
from tailwise.data.trainable import EmptyClasses, check_consistent, check_sound, check_trainable, labelled
from tailwise.data.writers.layouts import find_layout
from tailwise.data.writers.standing import check_ours
from tailwise.data.writers.writing import Built, write_set
from tailwise.disk import check_apart
from tailwise.errors import BadData, Stopped, Unwritable
from tailwise.store import Store

NO_LICENCE = "none stated; images keep the licence of their source"

_ROUNDING = "cumulative shares of each class, rounded half up"
_DEFAULT = "20 % test, 10 % of the rest val, rounded half up, each at least 1; all train in classes of fewer than 5"
_OWN = "as in the source"


@dataclass(frozen=True)
class Making:
    """What is to be made of a set.

    Attributes:
        split: shares of train, val and test, as `split` takes them; None keeps the source's own, or makes the default ones.
        tail: a profile, as `thin` takes it; None keeps all training images.
        seed: of both.
        class_order: of the tail.
        empty_classes: what to do with classes without training images.
        licence: a note of the user, for the card.
    """

    split: str | None = None
    tail: str | None = None
    seed: int = 0
    class_order: ClassOrder = "index"
    empty_classes: EmptyClasses = "refuse"
    licence: str | None = None


def build_set(
    whole: Manifest,
    dest: Path | str,
    making: Making = Making(),
    layout: str = "folder",
    twin: Path | str | None = None,
    link: bool = False,
    force: bool = False,
) -> list[Built]:
    """Split a set, thin it and write it; and beside it, where asked for, its balanced twin.

    The splits that are made here are exact and disjoint: rows of one class with equal bytes go together into the first of their splits
    (train, val, test), and equal bytes under two labels in two splits are refused. A source's own splits stay as they are; bytes that
    are in two of them are said. The twin has the same val and test and as many training images, spread evenly over the classes; both
    sets keep a beginning of the same seeded order of the same pool.

    Args:
        whole: as it was read.
        dest: folder to write; appears whole or not at all.
        making: how.
        layout: name of a layout of `tailwise.data.writers.layouts.LAYOUTS`.
        twin: folder of the twin; None for none.
        link: make hard links to files where the file system can, copies elsewhere.
        force: replace folders that were built before.

    Returns:
        What stands at `dest`, and at `twin`.

    Raises:
        TailwiseError: one line on the first thing that does not fit; nothing is written then.
    """
    places = [Path(dest)] if twin is None else [Path(dest), Path(twin)]
    check_apart(*places)
    find_layout(layout).check_holds(whole)
    for place in places:
        check_ours(place, force)
    pool = make_pool(whole, making)
    makings = [making]
    sets = [pool if making.tail is None else thin(pool, making.tail, making.seed, making.class_order)]
    if twin is not None:
        images = sum(sets[0].counts("train"))
        makings.append(replace(making, tail=f"balanced:{images}", class_order="index"))
        sets.append(_twin_of(pool, images, making.seed))
    for made in sets:
        (check_sound if made.has_files else check_consistent)(made)
    said = [_said(whole, how) for how in makings]
    return [write_set(made, place, layout, link, force, of) for made, place, of in zip(sets, places, said, strict=True)]


def make_pool(whole: Manifest, making: Making) -> Manifest:
    """Split a set as `build_set` says, and hash its images.

    Raises:
        BadData, BadValue: the set contradicts itself, its images cannot be read, or the words do not fit.
    """
    check_consistent(whole)
    found = _hashed(labelled(whole))
    pool = _apart(split(found, making.split, making.seed)) if _is_split_here(found, making) else _with_shared_said(found)
    is_of_classes = pool.task == "classification" and pool.kind != "videos"
    return check_trainable(pool, making.empty_classes) if is_of_classes else pool


def _is_split_here(whole: Manifest, making: Making) -> bool:
    return making.split is not None or (whole.splits == ("train",) and whole.task != "multi-label")


def _hashed(manifest: Manifest) -> Manifest:
    try:
        return manifest.with_content(Store().shelf("hashes"))
    except (Unwritable, Stopped):  # the cache of hashes only saves time
        return manifest.with_content()


def _apart(cut: Manifest) -> Manifest:
    """Put rows of one class with equal bytes into the first of their splits, and refuse equal bytes of two classes in two splits."""
    rank = pl.col("split").replace_strict(SPLITS, range(len(SPLITS)), return_dtype=pl.Int8)
    first = rank.min().over("label", "content")
    together = cut.rows.with_columns(split=first.replace_strict(list(range(len(SPLITS))), list(SPLITS), return_dtype=pl.String))
    moved = cut.rows.filter(together["split"] != cut.rows["split"])["id"].sort().to_list()
    if moved:
        done = f"moved {len(moved):,} images into the split of an image of their class with the same bytes: {first_five(moved)}"
        cut = cut.replace(done, rows=together)
    torn = _in_two_splits(cut)
    if torn.height:
        one, other = torn.filter(pl.col("content") == torn["content"][0]).unique("split", maintain_order=True).head(2).to_dicts()
        named = " and ".join(f"{row['id']!r} ({cut.classes[row['label']]}, {row['split']})" for row in (one, other))
        raise BadData(
            f"{cut.name!r}: {torn['content'].n_unique():,} images come into two splits, because they are there under two labels: {named}; "
            "decide on one label, or leave them out with `tailwise check --fix`"
        )
    return cut


def _with_shared_said(own: Manifest) -> Manifest:
    """Say which bytes are in more than one of a source's own splits; they stay, so that val and test are those that others measure on."""
    shared = _in_two_splits(own)
    if shared.is_empty():
        return own
    ids = first_five(shared.filter(pl.col("split") != "train")["id"].to_list())
    return own.replace(f"{shared['content'].n_unique():,} images are in two splits of the source, and stay there: {ids}")


def _in_two_splits(manifest: Manifest) -> pl.DataFrame:
    """List the rows whose bytes are in more than one split, by id."""
    return manifest.rows.filter(pl.col("split").n_unique().over("content") > 1).sort("id")


def _twin_of(pool: Manifest, images: int, seed: int) -> Manifest:
    try:
        return thin(pool, f"balanced:{images}", seed)
    except BadData as error:
        raise BadData(f"no balanced twin of {images:,} training images can be made: {error}, or leave --twin out") from None


def _said(whole: Manifest, making: Making) -> Mapping[str, Any]:
    """Give the fields of a card that say where a set comes from; no time and no place."""
    shares = f"{making.split}: {_ROUNDING}" if making.split else _DEFAULT
    return {
        "source": {"name": whole.name, "format": whole.origin.format},
        "rule": {
            "split": shares if _is_split_here(whole, making) else _OWN,
            "tail": None if making.tail is None else said_profile(making.tail),
            "class_order": making.class_order,
            "empty_classes": making.empty_classes,
        },
        "seed": making.seed,
        "licence": making.licence or NO_LICENCE,
    }
