"""A repaired manifest as a folder: whole or not at all, and never in place of anything but a manifest of ours."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

from tailwise.data.manifest import Manifest
from tailwise.data.storage import card_of, check_made, read_card, write_files
from tailwise.data.writers.standing import check_nothing_added, check_ours, check_place
from tailwise.disk import put_back, replace_folder, whole_folder
from tailwise.errors import BadData, OutputExists
from tailwise.store import Store


def write_fixed(fixed: Manifest, folder: Path, force: bool = False) -> bool:
    """Save a repaired manifest; image files stay where they are.

    Args:
        fixed: what `repair` gave.
        folder: must not exist, or hold this manifest, unless `force`.
        force: replace another manifest of ours.

    Returns:
        Whether it stood there already, whole, and nothing was written.

    Raises:
        BadValue: the folder lies among the images.
        OutputExists: something else is there.
        Unwritable, Stopped: it cannot be written, or the disk is full.
    """
    check_place(fixed, folder)
    if not os.path.lexists(folder):
        put_back(folder)  # a replacing was killed between its two renames
    check_ours(folder, force)
    fixed = fixed.with_content(Store().shelf("hashes"))
    if os.path.lexists(folder):
        other = _difference(fixed, folder)
        if other is None:
            if force:
                put_back(folder)  # a replacing was killed with the new folder in its place: now the old one goes
            return True
        if not force:
            raise OutputExists(f"{folder} {other}; give the name of another folder, or replace this one with --force")
        check_nothing_added(folder)
    (replace_folder if force else whole_folder)(folder, partial(write_files, fixed, folder=folder))
    check_made(fixed, folder)
    return False


def _difference(fixed: Manifest, folder: Path) -> str | None:
    """Say in what a folder with a card of ours is not the one that would be written; None where it is."""
    try:
        there = Manifest.load(folder)
    except BadData as error:
        return f"holds a manifest that is damaged ({error})"
    paths = [one.rows.sort("id").select("id", "path") for one in (there, fixed)]
    is_same = read_card(folder) == json.loads(json.dumps(card_of(fixed, folder))) and paths[0].equals(paths[1])
    return None if is_same else "holds another manifest"
