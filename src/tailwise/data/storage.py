"""A manifest on disk: `manifest.parquet`, `card.json`, and one `.npy` an array."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tailwise.data.containers import is_container_name
from tailwise.data.content import identity_of
from tailwise.data.manifest import Manifest
from tailwise.disk import whole_folder
from tailwise.errors import BadData, OutputExists

SCHEMA = "tailwise.data/1"
TABLE = "manifest.parquet"
CARD = "card.json"

_CARD_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "classes": list,
    "counts": dict,
    "root": (str, type(None)),
    "provenance": list,
    "identity": str,
}


def save_manifest(manifest: Manifest, folder: Path, beside: Mapping[str, bytes]) -> Path:
    """Write a manifest with content hashes into a new folder; see `Manifest.save`."""
    if os.path.lexists(folder):
        raise OutputExists(f"{folder} exists already; give the name of a folder that does not, or remove it first")

    def fill(draft: Path) -> None:
        write_files(manifest, draft, folder)
        for name, data in beside.items():
            (draft / name).write_bytes(data)

    whole_folder(folder, fill)
    check_made(manifest, folder)
    return folder


def write_files(manifest: Manifest, draft: Path, folder: Path) -> None:
    """Write the files of a manifest with content hashes into `draft`, which will be renamed to `folder`."""
    write_table(manifest, draft)
    write_card(card_of(manifest, folder), draft / CARD)


def write_table(manifest: Manifest, draft: Path) -> None:
    """Write the table and the arrays of a manifest with content hashes."""
    rows, arrays = _compact(manifest)
    rows.write_parquet(draft / TABLE)
    for name, array in arrays.items():
        np.save(draft / f"{name}.npy", array, allow_pickle=False)


def write_card(card: Mapping[str, Any], file: Path) -> None:
    """Write a card."""
    file.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_made(manifest: Manifest, folder: Path) -> None:
    """Refuse a folder that holds another manifest: somebody else's renaming came first."""
    if read_card(folder)["identity"] != manifest.identity:
        raise OutputExists(f"{folder} was made by somebody else meanwhile; give the name of another folder")


def _compact(manifest: Manifest) -> tuple[pl.DataFrame, dict[str, np.ndarray]]:
    """Sort rows by id, and keep only those rows of arrays that the table names."""
    rows, arrays = manifest.rows.sort("id"), {}
    for name, array in manifest.arrays.items():
        inside = (rows["container"] == name).fill_null(False)
        used, place = np.unique(rows["row"].filter(inside).to_numpy(), return_inverse=True)
        if len(used) == 0:
            continue
        arrays[name] = array if len(used) == len(array) else array[used]
        rows = rows.with_columns(rows["row"].scatter(inside.arg_true(), place))
    return rows, arrays


def card_of(manifest: Manifest, folder: Path, said: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Say what a manifest is.

    Args:
        manifest: with content hashes.
        folder: where its card will lie.
        said: further fields, as of a set that was built: `layout`, `source`, `rule`, `seed`, `licence`; no reader needs them.
    """
    root = manifest.root
    return {
        "schema": SCHEMA,
        "name": manifest.name,
        "kind": manifest.kind,
        "counts": {split: list(manifest.counts(split)) for split in manifest.splits},
        "classes": list(manifest.classes),
        "class_table": None if manifest.class_table is None else manifest.class_table.to_dict(as_series=False),
        "root": None if root is None else Path(os.path.relpath(root.resolve(), folder.resolve())).as_posix(),
        "provenance": list(manifest.provenance),
        "identity": manifest.identity,
        **said,
    }


def load_manifest(folder: Path, root: Path | None = None) -> Manifest:
    """Read a manifest's folder; see `Manifest.load`."""
    card = read_card(folder)
    rows = _read_table(folder)
    paths = rows["path"] if "path" in rows.columns else pl.Series([], dtype=pl.String)
    if root is None and card["root"] is not None:
        root = Path(os.path.normpath(folder / card["root"]))
    if len(paths.drop_nulls()) and root is not None and not root.is_dir():
        raise BadData(f"the images of {folder} are not at {root}; give the folder where they are now as root")
    manifest = Manifest(
        rows,
        tuple(card["classes"]),
        root,
        _map_arrays(folder, rows),
        card["name"],
        tuple(card["provenance"]),
        _class_table(card, folder),
    )
    if "content" not in rows.columns or rows["content"].null_count():
        raise BadData(f"{folder / TABLE}: column 'content' is missing or has gaps; build the data again")
    if identity_of(manifest.rows, manifest.classes) != card["identity"]:
        raise BadData(f"{folder / TABLE} is not the table that {CARD} describes (other identity); build the data again")
    return manifest


@dataclass(frozen=True)
class Scanned:
    """A saved manifest whose table has not been read: what its card says, and the rows to ask of.

    Attributes:
        rows: the table, lazily; its columns are those of `Manifest.rows`. What is asked of it reads only the columns that it needs.
        name: of the set.
        classes: names in label order.
        counts: split -> real images a class, in label order.
        root: folder that paths are relative to; None where the images are in arrays, or the list stands alone.
        identity: as the card says; `Manifest.load` checks it.
    """

    rows: pl.LazyFrame
    name: str
    classes: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    root: Path | None
    identity: str


def scan_manifest(folder: Path | str) -> Scanned:
    """Open a saved manifest without reading its rows: in milliseconds, however many there are.

    Raises:
        BadData: the card is missing or damaged, or the table is not there or no Parquet.
    """
    folder = Path(folder)
    card = read_card(folder)
    file = folder / TABLE
    try:
        rows = pl.scan_parquet(file)
        rows.collect_schema()
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _no_table(file, error) from error
    root = None if card["root"] is None else Path(os.path.normpath(folder / card["root"]))
    counts = {split: tuple(of_class) for split, of_class in card["counts"].items()}
    return Scanned(rows, card["name"], tuple(card["classes"]), counts, root, card["identity"])


def read_card(folder: Path) -> dict[str, Any]:
    """Read a manifest's card, or say in what it is none."""
    file = folder / CARD
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadData(f"{file} cannot be read ({error.strerror}); give a folder with {TABLE} and {CARD}") from error
    except (ValueError, RecursionError) as error:
        raise BadData(f"{file} is no JSON ({error}); build the data again") from error
    schema = card.get("schema") if isinstance(card, dict) else None
    if schema != SCHEMA:
        raise BadData(f"{file} has the schema {schema!r}, expected {SCHEMA!r}; read it with the version that wrote it")
    for field, wanted in _CARD_FIELDS.items():
        if not isinstance(card.get(field, ...), wanted):
            raise BadData(f"{file}: field {field!r} is missing or of another type; build the data again")
    if not all(isinstance(line, str) for line in (*card["classes"], *card["provenance"])):
        raise BadData(f"{file}: 'classes' and 'provenance' must be lists of text; build the data again")
    return card


def _class_table(card: Mapping[str, Any], folder: Path) -> pl.DataFrame | None:
    found = card.get("class_table")
    if found is None:
        return None
    try:
        return pl.DataFrame(found, schema=dict.fromkeys(found, pl.String))
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise BadData(f"{folder / CARD}: field 'class_table' is no table of text; build the data again") from error


def _read_table(folder: Path) -> pl.DataFrame:
    file = folder / TABLE
    try:
        return pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _no_table(file, error) from error


def _no_table(file: Path, error: BaseException) -> BadData:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BadData(f"{file} cannot be read as Parquet ({reason}); build the data again")


def _map_arrays(folder: Path, rows: pl.DataFrame) -> dict[str, np.ndarray]:
    names = rows["container"].drop_nulls().unique().sort().to_list() if "container" in rows.columns else []
    arrays = {}
    for name in names:
        # The name comes from a file, so it must not lead out of the folder.
        if not isinstance(name, str) or not is_container_name(name):
            raise BadData(f"{folder / TABLE}: container {name!r} is no name of letters, digits, '-' and '_'; build the data again")
        file = folder / f"{name}.npy"
        try:
            arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BadData(f"{file} cannot be read as an array ({error}); build the data again") from error
    return arrays
