"""What is under way: commands that train say so in the store, so that nobody cleans away what they need.

An announcement is `live/<name>.json`: which folder is being made, from which stored things, since when. It is withdrawn when the
folder stands. Whatever it says is text: nothing is imported, opened for writing or run because of it, and a damaged one is ignored.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from tailwise import processes
from tailwise.disk import json_bytes, whole_file
from tailwise.errors import OutputExists, TailwiseError
from tailwise.pixels.packed import pixel_key
from tailwise.registry import Row
from tailwise.store import Store
from tailwise.study.extractor import Extractor, chunk_keys
from tailwise.study.prepare import ordered
from tailwise.study.setup import Setup

KIND = "live"
"""Where in the store announcements lie."""

SCHEMA = "tailwise.live/1"

KEY = re.compile(r"[0-9a-f]{32}")
"""A key of ours, or an announcement's name. What else lies in the store's folder is somebody's, and never touched."""

HELD_SECONDS = 30 * 24 * 3600.0
"""How long a run that was left alone keeps what it needs, from the last time that something of it was written."""

KEPT = ("states", "pixels", "features", "files")
"""Kinds of stored things that an announcement may need, by their keys."""

LONGEST = 64 * 1024**2
"""Bytes of an announcement beyond which it is none; features of a hundred million images have keys of half of it."""

What = Literal["train", "compare", "features"]
RECORDS: dict[What, str] = {"train": "run.json", "compare": "study.json", "features": "features.json"}
"""The record, with a key, that each command leaves in its folder."""


@dataclass(frozen=True)
class Needs:
    """What of the store something is made from.

    Attributes:
        keys: of lines, packed pixels, frozen features, unpacked images.
        undecided: whether lines follow that no plan knows yet, since results decide them.
    """

    keys: frozenset[str]
    undecided: bool = False


def needs_of(setup: Setup, rows: Sequence[Row], seeds: Iterable[int]) -> Needs:
    """Give what runs need of the store: their lines, and what their data were decoded or computed into."""
    plans = [fold.plan(row, seed) for seed in seeds for fold in setup.folds for row in rows]
    lines = {leg.line for plan in plans for leg in plan.legs}
    manifest = setup.manifest
    contents = ordered(manifest)["content"].to_list()
    if setup.extractor is not None:
        arrays = set(chunk_keys(setup.extractor, contents))
    elif manifest.kind == "images" and not manifest.arrays:
        channels = setup.splits.shape[-1]
        arrays = {pixel_key(contents, setup.recipe.image_size, channels)}
    else:
        arrays = set()
    return Needs(frozenset(lines | arrays | _unpacked(setup.store, manifest.root)), any(plan.decided_by_results for plan in plans))


def features_needs(extractor: Extractor, contents: Sequence[str], store: Store, root: Path | None) -> Needs:
    """Give what features of images need of the store: their chunks, and images that were unpacked."""
    return Needs(frozenset({*chunk_keys(extractor, contents)} | _unpacked(store, root)))


def _unpacked(store: Store, root: Path | None) -> set[str]:
    """Give the key of the images' folder where they were unpacked into the store."""
    inside = root is not None and os.path.realpath(root.parent) == os.path.realpath(store.path("files"))
    return {root.name} if root is not None and inside else set()


# --- announcing -------------------------------------------------------------------------------------------------------


class _Record(msgspec.Struct):
    """What an announcement's file holds."""

    schema: str
    folder: str
    kind: What
    key: str
    begun: datetime
    made: bool
    undecided: bool
    needs: list[str]
    command: list[str] | None = None
    cwd: str | None = None


def announce(store: Store, folder: Path, kind: What, key: str, needs: Needs) -> None:
    """Say that a folder is about to be made, before anything is stored for it; saying it again is fine.

    Best effort: a store that cannot be written stops nobody. Of several processes that train together the first one speaks.

    Args:
        store: where to say it, and from which things it is made.
        folder: that will stand.
        kind: the command that makes it.
        key: that the folder's record will have.
        needs: from `needs_of`.
    """
    if not processes.is_first():
        return
    place = _place(store, folder, key)
    before = _read(place)
    record = _Record(
        schema=SCHEMA,
        folder=os.path.abspath(folder),
        kind=kind,
        key=key,
        begun=before.begun if before is not None else datetime.now(UTC).replace(microsecond=0),
        made=_key_in(folder, kind) == key,
        undecided=needs.undecided,
        needs=sorted(needs.keys),
        command=_typed(),
        cwd=os.getcwd(),
    )
    with suppress(TailwiseError, OSError):
        whole_file(place, json_bytes(msgspec.to_builtins(record)))


def withdraw(store: Store, folder: Path, key: str) -> None:
    """Take an announcement back: the folder stands, or was never begun. Nothing happens where there is none."""
    if processes.is_first():
        with suppress(OSError):
            _place(store, folder, key).unlink(missing_ok=True)


@contextmanager
def announced(store: Store, folder: Path, kind: What, key: str, needs: Needs) -> Iterator[Callable[[], None]]:
    """Hold an announcement while a folder is made; as `announce` and `withdraw`.

    It is withdrawn at the end, or where the folder turns out to be somebody else's. What is interrupted or fails stays announced, so
    that the same command finds what it had.

    Yields:
        What to call once a comparison's folder is claimed: from then on, deleting the folder ends the announcement.
    """
    announce(store, folder, kind, key, needs)
    try:
        yield lambda: announce(store, folder, kind, key, needs)
    except OutputExists:
        withdraw(store, folder, key)
        raise
    withdraw(store, folder, key)


def _place(store: Store, folder: Path, key: str) -> Path:
    name = hashlib.sha256(f"{os.path.abspath(folder)}\0{key}".encode("utf-8", "surrogateescape")).hexdigest()
    return store.path(KIND, f"{name[:32]}.json")


def _typed() -> list[str] | None:
    """Give the words of this process's command line where it is ours; a notebook has none."""
    program = Path(sys.argv[0]) if sys.argv else Path()
    is_ours = program.stem == "tailwise" or (program.name == "__main__.py" and program.parent.name == "tailwise")
    return ["tailwise", *sys.argv[1:]] if is_ours else None


# --- what is announced ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Announcement:
    """Something that was begun.

    Attributes:
        place: the announcement's file.
        folder: that is being made, absolute.
        kind: the command that makes it.
        begun: when it was first announced, UTC.
        touched: when something of it was last written, seconds since 1970.
        needs: keys of stored things.
        undecided: whether results decide which lines it needs.
        is_live: whether it is under way, or waits to be continued.
        command: the words that make it, untrusted, for reading alone; None where it was no command.
        cwd: where these were typed.
    """

    place: Path
    folder: Path
    kind: What
    begun: datetime
    touched: float
    needs: frozenset[str]
    undecided: bool
    is_live: bool
    command: tuple[str, ...] | None
    cwd: str | None


def announcements(store: Store) -> tuple[list[Announcement], list[Path]]:
    """List what was announced, and the files that are no announcements."""
    found, damaged = [], []
    for place in (store.path(KIND, name) for name in sorted(_names(store, KIND)) if KEY.fullmatch(name.removesuffix(".json"))):
        record = _read(place)
        if record is None:
            damaged.append(place)
        else:
            found.append(_judged(store, place, record))
    return found, damaged


def dear(store: Store) -> frozenset[str]:
    """Give the keys of what is live: what comparisons and runs need that were begun and do not stand, and lines in training.

    A run that nobody continued within thirty days is not live, nor is a comparison whose folder was deleted.
    """
    live = [found for found in announcements(store)[0] if found.is_live]
    lines = _names(store, "states")
    undecided = [found.begun.timestamp() for found in live if found.undecided]
    kept = {line for line in lines if store.is_locked("line", line)}
    if undecided:  # which lines they are nobody knows, so all that was written since
        kept |= {line for line in lines if _written(store.path("states", line)) >= min(undecided)}
    return frozenset(kept.union(*(found.needs for found in live)))


def _names(store: Store, kind: str) -> set[str]:
    """List what the store holds of a kind; nothing where it cannot be read."""
    try:
        return store.names(kind)
    except OSError:
        return set()


def _judged(store: Store, place: Path, record: _Record) -> Announcement:
    folder = Path(record.folder)
    touched = max(_written(place), *(_written(store.path(kind, key)) for kind in KEPT for key in record.needs), 0.0)
    is_recent = time.time() - touched < HELD_SECONDS
    if _stands(folder, record):
        is_live = False
    elif record.kind == "compare" and _key_in(folder, record.kind) == record.key:
        is_live = True
    else:
        is_live = is_recent and not record.made
    command = None if record.command is None else tuple(record.command)
    needs = frozenset(record.needs)
    return Announcement(place, folder, record.kind, record.begun, touched, needs, record.undecided, is_live, command, record.cwd)


def _stands(folder: Path, record: _Record) -> bool:
    """Whether the folder that was announced is finished."""
    if _key_in(folder, record.kind) != record.key:
        return False
    return record.kind != "compare" or _is_finished(folder)


def _is_finished(folder: Path) -> bool:
    """Whether a comparison has its report and all its runs."""
    try:
        rows = msgspec.json.decode((folder / "study.json").read_bytes())["rows"].values()
        return (folder / "report.json").is_file() and all((folder / "runs" / run / "run.json").is_file() for runs in rows for run in runs)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, msgspec.DecodeError, RecursionError):
        return False


def _key_in(folder: Path, kind: What) -> str | None:
    """Give the key of the record in a folder; None where there is no such record."""
    try:
        key = msgspec.json.decode((folder / RECORDS[kind]).read_bytes())["key"]
    except (OSError, ValueError, TypeError, KeyError, msgspec.DecodeError, RecursionError):
        return None
    return key if isinstance(key, str) else None


def _written(place: Path) -> float:
    """Give when something was last written, seconds since 1970; 0 where it is not there."""
    try:
        return place.stat().st_mtime
    except (OSError, ValueError):
        return 0.0


def _read(place: Path) -> _Record | None:
    """Read an announcement; None where it is not there or damaged."""
    try:
        if place.stat().st_size > LONGEST:
            return None
        record = msgspec.json.decode(place.read_bytes(), type=_Record)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
        return None
    plain = record.schema == SCHEMA and record.begun.tzinfo is not None and os.path.isabs(record.folder) and "\0" not in record.folder
    # A key is one name in the store: it must not lead out of it.
    return record if plain and all(key and os.path.basename(key) == key and key not in (".", "..") for key in record.needs) else None
