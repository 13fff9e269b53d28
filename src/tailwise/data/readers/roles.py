"""Which column of a table is what: by the usual names, or as the user says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tailwise.data.listing import first_five
from tailwise.errors import BadData, BadValue

ROLES: Mapping[str, tuple[str, ...]] = {
    "path": (
        *("path", "file", "filename", "file_name", "filepath", "file_path"),
        *("image", "img", "image_path", "img_path", "image_file", "image_name", "img_name"),
    ),
    "label": (
        *("label", "labels", "class", "class_name", "classname", "class_label", "label_name", "fine_label"),
        *("category", "category_name", "target", "species", "y"),
    ),
    "split": ("split", "set", "partition", "subset"),
    "id": ("id", "image_id", "img_id"),
    "weight": ("weight", "sample_weight"),
}
"""What a column is for -> the names by which it is recognised, in lower case and with `_` for blanks and dashes."""

NEEDED = ("path", "label")


def parse_columns(text: str | None) -> dict[str, str]:
    """Read `path=file,label=species` into role -> column.

    Raises:
        BadValue: a part is no `role=column`, or a role is unknown or given twice.

    >>> parse_columns("path=file,label=species")
    {'path': 'file', 'label': 'species'}
    """
    given: dict[str, str] = {}
    for part in [] if text is None else text.split(","):
        role, equals, column = (word.strip() for word in part.partition("="))
        if not equals or not column or role not in ROLES or role in given:
            raise BadValue(
                f"columns {text!r}: {part.strip()!r} is no ROLE=COLUMN with a role of its own ({', '.join(ROLES)}); "
                f"write for example path=file,label=species"
            )
        given[role] = column
    return given


def find_roles(
    names: Sequence[str],
    given: Mapping[str, str],
    where: object,
    image: str | None = None,
    usual: Mapping[str, Sequence[str]] = ROLES,
    needed: Sequence[str] = NEEDED,
) -> dict[str, str]:
    """Say which column is what.

    Where the user names columns, optional ones (split, id, weight) are only those that the user names, so that a `weight` which
    is an animal's can be left out.

    Args:
        names: the table's columns.
        given: role -> column, as the user says.
        where: the table, for errors.
        image: a column that is known to hold the images, whatever its name.
        usual: as `ROLES`, of formats that have names of their own.
        needed: roles that must be there.

    Returns:
        Role -> column; `path` (which may hold the images themselves) and the others of `needed` are always there.

    Raises:
        BadData: a named column is not there, none is recognised for a needed role, or several are for the same.
    """
    known = first_five([repr(name) for name in names]) or "none"
    absent = [name for name in given.values() if name not in names]
    if absent:
        raise BadData(f"{where}: no column {absent[0]!r}; it has {known}; correct --columns")
    roles = dict(given)
    if image is not None:
        roles.setdefault("path", image)
    for role in usual if not given else needed:
        if role in roles:
            continue
        found = [name for name in names if plain(name) in usual[role]]
        if len(found) > 1:
            columns = " and ".join(repr(name) for name in found)
            raise BadData(f"{where}: columns {columns} could each be the {role}; choose with --columns {_example(role, found[0])}")
        if found:
            roles[role] = found[0]
    missing = [role for role in needed if role not in roles]
    if missing:
        wanted = ",".join(f"{role}=NAME" for role in missing)
        raise BadData(f"{where}: no column is recognised as {' or '.join(missing)} among {known}; pass --columns {wanted}")
    return roles


def plain(name: str) -> str:
    """Spell the name of a column as `ROLES` does."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _example(role: str, column: str) -> str:
    others = "".join(f"{other}=..," for other in NEEDED if other != role and role in NEEDED)
    return f"{others}{role}={column}" if role in NEEDED else f"path=..,label=..,{role}={column}"
