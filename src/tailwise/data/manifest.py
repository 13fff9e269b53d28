"""The manifest: one immutable table of a data set's rows, its class names, and where it came from."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from tailwise.counts import ClassCounts
from tailwise.data.columns import SPLITS, Task, check_class_table, check_classes, check_rows, conform
from tailwise.data.containers import Kind, kind_of, read_only
from tailwise.data.content import check_files, content_of, identity_of
from tailwise.data.origin import Origin
from tailwise.errors import BadValue

_SAID = {"name", "origin"}
"""Fields that say something of a set, and of which nothing else in it depends."""


@dataclass(frozen=True, eq=False, repr=False)
class Manifest:
    """A data set as a table: which images there are, of which class, in which split.

    Readers return it and everything else takes it. It holds no decoded image files; arrays that are in memory anyway (small
    pictures, features) travel with it.

    Attributes:
        rows: one row an image, in any order. `id` (String, unique); where it is: `path` (String, relative to `root`, with `/`), or
            `container` (String, key of `arrays`) and `row` (Int64); `label` (Int32); `split` (String: train, val or test).
            Optional: `weight` (Float64 >= 0, 1 when absent), `source` (real or generated, real when absent), `content` (String,
            hash of the bytes). A label may be missing (an unlabelled test image). Of other tasks: `targets` (List(Int32): the labels of a
            multi-label set, whose `label` is empty; no list where they are unknown) or `value` (Float64: a real target, whose bin is
            `label`). `domain` (String) and `frames` (Int32, of videos) where there are any. Other columns are kept and, like these two,
            are no part of the identity.
        classes: class names in label order; a class may be without images.
        root: the folder that paths are relative to; None when there are no paths, or none of the files is there: a list alone can be
            counted, split, thinned and written as a list, but not trained on.
        arrays: name -> uint8 (N, H, W) or (N, H, W, C) images, or float32 (N, D) features; kept as read-only views.
        name: what to call the set in tables.
        provenance: a line for each thing done: read from, split, thinned.
        class_table: (C rows, in label order) what is known of the classes beside their names, all String: `class_id` (what the source
            calls the class, for submissions) and levels such as `family` and `genus`; None where there is nothing.
        origin: what the reader saw: format, tables, findings. Not saved.

    Raises:
        BadData: a column, value, class name or array is not what it should be; one line, with the ids of the first five rows.

    >>> rows = pl.DataFrame({"id": ["a", "b"], "path": ["a.png", "b.png"], "label": [0, 1], "split": ["train", "train"]})
    >>> Manifest(rows, ("cat", "dog"), root=Path("pets"), name="pets")
    Manifest 'pets': 2 images, 2 classes, imbalance ratio 1; train 2
    """

    rows: pl.DataFrame
    classes: tuple[str, ...]
    root: Path | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    name: str = "data"
    provenance: tuple[str, ...] = ()
    class_table: pl.DataFrame | None = None
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        put = object.__setattr__  # the class is frozen for everyone else
        put(self, "classes", tuple(self.classes))
        put(self, "provenance", tuple(self.provenance))
        put(self, "root", None if self.root is None else Path(self.root))
        put(self, "arrays", {name: read_only(array) for name, array in self.arrays.items()})
        put(self, "rows", conform(self.rows, self.name))
        check_classes(self.classes, self.name)
        has_paths = bool(self.rows["path"].is_not_null().any())
        put(self, "_kind", kind_of(self.arrays, has_paths, self.name))
        check_rows(self.rows, self.classes, self.arrays, self.name)
        check_class_table(self.class_table, self.classes, self.name)

    @property
    def kind(self) -> Kind:
        """What a row is: `images`, `features` or `videos`."""
        return "videos" if "frames" in self.rows.columns else self._kind  # type: ignore[attr-defined]

    @property
    def task(self) -> Task:
        """What a row's target is: one class, several (`multi-label`), or a number (`regression`)."""
        if "targets" in self.rows.columns:
            return "multi-label"
        return "regression" if "value" in self.rows.columns else "classification"

    @property
    def has_files(self) -> bool:
        """Whether what the rows speak of is there; False of a list whose images were not found."""
        return self.root is not None or self.rows["path"].null_count() == self.rows.height

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that have rows, in the order train, val, test."""
        present = set(self.rows["split"].unique())
        return tuple(split for split in SPLITS if split in present)

    def counts(self, split: str = "train") -> tuple[int, ...]:
        """Count the real images of a split, one number a class in label order; generated ones are never counted here.

        An image of a multi-label set counts once for each of its classes; images without a label count nowhere.
        """
        rows = self._real.filter(pl.col("split") == _known(split))
        found = rows["targets"].explode() if self.task == "multi-label" else rows["label"]
        labels = found.drop_nulls().to_numpy()
        return tuple(int(n) for n in np.bincount(labels, minlength=len(self.classes)))

    @property
    def _real(self) -> pl.DataFrame:
        if "source" not in self.rows.columns:
            return self.rows
        return self.rows.filter(pl.col("source").fill_null("real") == "real")

    @property
    def has_generated(self) -> bool:
        """Whether some rows are generated images."""
        return self.generated > 0

    @property
    def generated(self) -> int:
        """Number of rows that are generated images."""
        return self.rows.height - self._real.height

    @property
    def unlabelled(self) -> int:
        """Number of real rows without a label; of a multi-label set, those whose labels are unknown."""
        return int(self._real["targets" if self.task == "multi-label" else "label"].null_count())

    def select(self, split: str) -> pl.DataFrame:
        """Give the rows of a split, sorted by id; none is fine, an unknown split is a `BadValue`."""
        return self.rows.filter(pl.col("split") == _known(split)).sort("id")

    @cached_property
    def identity(self) -> str:
        """SHA-256 of what the set is: ids, content, labels, splits, weights, sources, class names; targets and values where there are any.

        It depends on no order of rows, name, folder or file. Rows without a content hash are hashed for it, so on a large folder
        call `with_content(cache)` first and keep what it returns.
        """
        return identity_of(self.with_content().rows, self.classes)

    def with_content(self, cache: Path | None = None) -> Manifest:
        """Fill the column `content`; rows that have a hash keep it, and with a cache their files are looked at again.

        Rows of a list whose images are not there get `path:` and their path in its place.

        Args:
            cache: folder in which hashes of files are kept by path, size and time of change; None hashes every file.

        Raises:
            BadData: files that cannot be read, all counted.
            Unwritable: the cache folder cannot be written.
        """
        if "content" in self.rows.columns and not self.rows["content"].null_count():
            if cache is not None:
                check_files(self.rows, self.root, cache)
            return self
        return self.replace(rows=self.rows.with_columns(content_of(self.rows, self.root, self.arrays, cache)))

    def replace(self, *done: str, **changes: object) -> Manifest:
        """Make a manifest with other fields, and a line of provenance for each thing done."""
        provenance = (*self.provenance, *done)
        if not changes.keys() <= _SAID:
            return dataclasses.replace(self, provenance=provenance, **changes)  # type: ignore[arg-type]
        made = copy.copy(self)  # whose rows are as they were, so they are not checked again
        for name, value in {"provenance": provenance, **changes}.items():
            object.__setattr__(made, name, value)
        return made

    def save(self, folder: Path | str, cache: Path | None = None, beside: Mapping[str, bytes] | None = None) -> Path:
        """Write `manifest.parquet`, `card.json` and the arrays into a new folder; equal sets give equal bytes.

        Nothing half-written is ever at `folder`. Image files stay where they are; the card says where, relative to `folder`.

        Args:
            folder: must not exist yet.
            cache: as in `with_content`.
            beside: further files of the folder, name -> bytes.

        Raises:
            OutputExists: something is there already.
            Unwritable: the folder cannot be written.
        """
        from tailwise.data.storage import save_manifest

        return save_manifest(self.with_content(cache), Path(folder), beside or {})

    @classmethod
    def load(cls, folder: Path | str, root: Path | str | None = None) -> Manifest:
        """Read what `save` wrote; arrays are mapped, not copied.

        Args:
            folder: holds `manifest.parquet` and `card.json`.
            root: where the image files are now, if no longer where the card says.

        Raises:
            BadData: a file is missing or damaged, the table does not fit its card, or the images' folder is gone.
        """
        from tailwise.data.storage import load_manifest

        return load_manifest(Path(folder), None if root is None else Path(root))

    def __repr__(self) -> str:
        ratio = ClassCounts(self.counts()).imbalance_ratio
        shape = "no training images" if np.isnan(ratio) else f"imbalance ratio {ratio:.4g}"
        of_split = dict(self.rows["split"].value_counts().iter_rows())
        sizes = ", ".join(f"{split} {of_split[split]:,}" for split in self.splits)
        what = "feature rows" if self.kind == "features" else self.kind
        return f"Manifest {self.name!r}: {self.rows.height:,} {what}, {len(self.classes):,} classes, {shape}; {sizes}"


def _known(split: str) -> str:
    if split not in SPLITS:
        raise BadValue(f"split {split!r} is none; give one of {', '.join(SPLITS)}")
    return split
