"""A study's folder: claimed by one comparison, mended where it is damaged, and what it replaces kept aside until it stands."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tailwise.data.listing import first_five
from tailwise.disk import PENDING, check_writable, json_bytes, remove_folder, whole_file, whole_folder, writing
from tailwise.errors import BadData, OutputExists
from tailwise.records import STUDY, read_record
from tailwise.study.runs import CARD as RUN_CARD
from tailwise.study.runs import added_files

CARD = "study.json"

REPORT_FILES = ("index.html", "report.md", "report.csv", "report.tex", "report.json")
"""Of a study's report, in the order in which they are written: the study stands once the last one does."""

Files = Callable[[], Mapping[str, bytes]]
"""Makes the files of a study beside its card, by name."""


class _Card(msgspec.Struct):
    """What `study.json` holds beside its schema."""

    key: str
    data: str
    provenance: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    recipe: dict[str, Any]
    network: str
    files: dict[str, str]
    version: str
    folds: int | None = None
    against: str | None = None


def read_study(folder: Path) -> dict[str, Any]:
    """Read `study.json`.

    Raises:
        BadData: the folder is no study, or its card is damaged; one line.
    """
    record = read_record(folder / CARD, STUDY)
    try:
        card = msgspec.convert(record, _Card)
    except msgspec.ValidationError as error:
        raise _damaged(folder, str(error)) from None
    names = [*card.files, *(name for found in card.rows.values() for name in found)]
    if any(name in ("", ".", "..") or Path(name).name != name for name in names):
        raise _damaged(folder, "a name in it leads out of its folder")
    if not card.rows or not card.seeds or any(len(found) != len(card.seeds) * (card.folds or 1) for found in card.rows.values()):
        raise _damaged(folder, "its rows do not have a run for each of its seeds and folds")
    return record


def _damaged(folder: Path, reason: str) -> BadData:
    return BadData(f"{folder / CARD} is damaged ({reason}); put it back, or move {folder} away and let `tailwise compare` make another")


def claim(folder: Path, card: Mapping[str, Any], make: Files, force: bool) -> dict[str, Any]:
    """Make a folder the study's own, or find that it is.

    With `force` another study's folder is moved aside first; `drop_replaced` deletes it once the new study stands. Where the same
    command is killed on the way, the next one goes on.

    Args:
        folder: of the study.
        card: `study.json`, but for the hashes of the files.
        make: makes the files beside it.
        force: whether another study's folder is replaced.

    Returns:
        The card that lies there.

    Raises:
        OutputExists: the folder holds something else.
    """
    check_writable(folder)
    _refuse_foreign(folder)
    if force and (folder / CARD).is_file() and (old := read_study(folder)["key"]) != card["key"]:
        _check_replaceable(folder)
        _set_aside(folder, old, card["key"])
    if not (folder / CARD).is_file():
        _fill(folder, card, make())
    check_ours(folder, card["key"])
    found = read_study(folder)
    _mend(folder, found, make)
    return found


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds anything and is no study; what a killed writer of ours left is nothing."""
    # Listed before the card is looked for: another command writes its card before anything else.
    holds = folder.is_dir() and any(not place.name.startswith(PENDING) for place in folder.iterdir())
    if holds and not (folder / CARD).is_file():
        raise OutputExists(f"{folder} exists and is no study of tailwise; choose another --out")


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace a link, or a study to which somebody has added files.

    Raises:
        OutputExists: naming up to five of them.
    """
    if folder.is_symlink():
        raise OutputExists(f"{folder} is a link, which --force never replaces; give --out the folder itself")
    card = read_study(folder)
    runs = [folder / "runs" / name for names in card["rows"].values() for name in names]
    runs = [run for run in runs if (run / RUN_CARD).is_file()]
    added = [place for run in runs for place in map(run.joinpath, added_files(run))]
    for place in folder.rglob("*"):
        ours = place.name in {CARD, *REPORT_FILES, *card["files"]} and place.parent == folder
        half_written = any(part.startswith(PENDING) for part in place.relative_to(folder).parts)
        inside = half_written or any(place.is_relative_to(run) for run in runs)
        if not ours and not inside and (place.is_symlink() or not place.is_dir()):
            added.append(place)
    if added:
        raise OutputExists(
            f"{folder} holds {len(added):,} files that tailwise did not make, which --force would delete: "
            f"{first_five([place.relative_to(folder) for place in sorted(added)])}; move them, or choose another --out"
        )


def _fill(folder: Path, card: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a study's own files; of two commands that do, one finds that it came second."""
    whole = {CARD: json_bytes({**card, "files": {name: _sha256(data) for name, data in files.items()}}), **files}

    def fill(place: Path) -> None:
        for name, data in whole.items():
            (place / name).write_bytes(data)

    if not folder.is_dir():
        whole_folder(folder, fill)
        return
    for name, data in whole.items():  # an empty folder of the user's may be a mounted disk, over which nothing is renamed
        whole_file(folder / name, data)


def check_ours(folder: Path, key: str) -> None:
    """Refuse to go on in a folder that is another study's.

    Raises:
        OutputExists: it is.
    """
    if read_study(folder)["key"] != key:
        raise OutputExists(f"{folder} holds another study (other rows, data, settings or version); choose another --out, or use --force")


# --- damage -----------------------------------------------------------------------------------------------------------


def damaged_files(folder: Path, card: Mapping[str, Any]) -> list[str]:
    """Name the files of a study that are missing, or are not those that were written."""
    return [name for name, sha256 in card["files"].items() if _sha256_of(folder / name) != sha256]


def _mend(folder: Path, card: Mapping[str, Any], make: Files) -> None:
    """Write again what is missing or damaged.

    Raises:
        BadData: what is made now differs from what was there.
    """
    wrong = damaged_files(folder, card)
    files = make() if wrong else {}
    for name in wrong:
        if name not in files or _sha256(files[name]) != card["files"][name]:
            raise BadData(f"{folder / name} is missing or damaged and cannot be made again as it was; put it back, or choose another --out")
        whole_file(folder / name, files[name])
        logging.getLogger("tailwise").warning(f"{folder / name} was missing or damaged, and is written again")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha256_of(path: Path) -> str | None:
    try:
        return _sha256(path.read_bytes())
    except OSError:
        return None


# --- what is replaced -------------------------------------------------------------------------------------------------


def _set_aside(folder: Path, old: str, new: str) -> None:
    """Move a study out of the way, under a name that says for which one; what it was to replace itself goes along.

    The name alone says what becomes of the folder: wherever a command is killed, the one that goes on finds it.
    """
    with writing(folder):
        for place in (*_replaced(folder, old), folder):
            number = 1
            while (aside := folder.with_name(f"{folder.name}.old-{new[:8]}-{number}")).exists() or aside.is_symlink():
                number += 1
            place.rename(aside)


def _replaced(folder: Path, key: str) -> list[Path]:
    """List the studies that stand aside until the one of a key stands."""
    name = re.compile(re.escape(f"{folder.name}.old-{key[:8]}-") + r"\d+")
    around = folder.parent.iterdir() if folder.parent.is_dir() else ()
    return sorted(place for place in around if name.fullmatch(place.name))


def drop_replaced(folder: Path, key: str) -> None:
    """Delete what a study has replaced: folders that carry our card, never what a link leads to."""
    for place in _replaced(folder, key):
        if place.is_dir() and not place.is_symlink() and (place / CARD).is_file():
            remove_folder(place)
        if place.exists() or place.is_symlink():
            logging.getLogger("tailwise").warning(f"{place}, which this study replaces, was left as it is")
