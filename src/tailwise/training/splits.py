"""What training sees of a data set: arrays by split, counts, groups, identities. No table, no path."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tailwise.counts import ClassCounts
from tailwise.errors import BadData, Clash
from tailwise.groups import Groups
from tailwise.method import About, Best, Stage
from tailwise.pixels import Rows

MEASURED = ("val", "test")


@dataclass(frozen=True)
class Splits:
    """A data set for training.

    Attributes:
        rows: split -> rows; `train` is always there.
        classes: class names in label order.
        counts: real training images a class.
        groups: many, medium, few.
        contents: split -> a hash of the rows' ids and contents; with targets and weights it is the split's identity.
        allowed: splits beside `train` whose rows the user allows as training streams; labels of `val` and `test` are never used.
    """

    rows: Mapping[str, Rows]
    classes: tuple[str, ...]
    counts: ClassCounts
    groups: Groups
    contents: Mapping[str, str]
    allowed: frozenset[str] = field(default=frozenset())

    def __post_init__(self) -> None:
        if "train" not in self.rows or len(self.rows["train"]) == 0:
            raise BadData("there are no training rows; give the data a split 'train', or let --split make one")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: (height, width, channels), or (D,)."""
        return self.rows["train"].shape

    def about(self, epochs: int, counts: ClassCounts | None = None) -> About:
        """Tell a method what it may know."""
        return About(counts or self.counts, self.groups, self.classes, epochs, self.shape)

    def identity(self, split: str) -> str:
        """Hash what of a split can reach a result: rows, contents, targets, weights, class names."""
        return self._identities[split]

    @cached_property
    def _identities(self) -> dict[str, str]:
        return {split: self._hash(split) for split in self.rows}

    def _hash(self, split: str) -> str:
        rows = self.rows[split]
        digest = hashlib.sha256(self.contents[split].encode())
        digest.update("\x1f".join((*rows.ids, *self.classes)).encode())
        for array in (rows.targets, rows.weights):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def check_streams(self, stage: Stage) -> None:
        """Refuse splits that are not there, to train on or to choose a state by, and streams that would teach on what is measured.

        Raises:
            BadData: a split is missing.
            Clash: `val` or `test` as a training stream, not allowed by the user, or with its labels, by which a sampler draws too.
        """
        if isinstance(stage.leaves, Best) and not len(self.rows.get(stage.leaves.split, ())):
            raise BadData(f"the data have no split {stage.leaves.split!r} to choose on; set some of train aside with --split 80/10/10")
        for name, stream in stage.streams.items():
            if stream.split not in self.rows:
                raise BadData(f"stream {name!r} wants split {stream.split!r}, and the data have {', '.join(self.rows)}")
            if stream.split in MEASURED and (stream.labelled or stream.sampler is not None):
                raise Clash(f"stream {name!r} would train on split {stream.split!r}, which is measured on; draw its rows from train")
            if stream.split in MEASURED and stream.split not in self.allowed:
                raise Clash(
                    f"stage {stage.name or 'train'!r} learns on the images of split {stream.split!r}, without their labels, and figures on "
                    f"them will say so; allow it with --allow {stream.split}, or leave the stage out"
                )
