"""What is in a set, before anything trains: sizes, splits, groups, the curve of the classes, the images, and advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tailwise.counts import ClassCounts
from tailwise.data.columns import LEVELS, Task
from tailwise.data.containers import Kind
from tailwise.data.headers import Headers, read_headers
from tailwise.data.manifest import Manifest
from tailwise.data.origin import SEVERITIES, Finding, SourceTable
from tailwise.data.splits import split
from tailwise.groups import Groups, by_counts, make_groups

if TYPE_CHECKING:
    from tailwise.data.advice import Advice

SCHEMA = "tailwise.exploration/2"
EXTREMES = 5
CURVE_BINS = 20


@dataclass(frozen=True)
class ClassSize:
    """One class: its name and label, and its real images in each split."""

    name: str
    label: int
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class GroupSize:
    """One group: its classes, and their training images."""

    classes: int
    images: int


@dataclass(frozen=True)
class Grouping:
    """The classes by one scheme.

    Attributes:
        scheme: its name.
        rule: its thresholds in words.
        groups: group name -> size, from frequent to rare.
    """

    scheme: str
    rule: str
    groups: Mapping[str, GroupSize]


@dataclass(frozen=True)
class CurveBin:
    """Classes next to each other when all are sorted by training images, most first.

    Attributes:
        first: rank of the first class, from 1.
        last: rank of the last one.
        largest: training images of the first.
        smallest: of the last.
        mean: images a class.
    """

    first: int
    last: int
    largest: int
    smallest: int
    mean: float


@dataclass(frozen=True)
class LevelSize:
    """A level of the classes' hierarchy, such as the family.

    Attributes:
        name: of the level.
        groups: different values.
        imbalance_ratio: largest over smallest number of training images among those that have some; None without any.
        largest: the five values with most training images, and how many; most first, among equals by name.
        smallest: the five with fewest, but some.
        unknown: classes without a value.
    """

    name: str
    groups: int
    imbalance_ratio: float | None
    largest: tuple[tuple[str, int], ...]
    smallest: tuple[tuple[str, int], ...]
    unknown: int


@dataclass(frozen=True)
class DomainSize:
    """A domain of a set that has some: its training images, and what they look like a class.

    Attributes:
        name: of the domain.
        train: training images.
        largest: most training images of a class.
        smallest: fewest of a class that has some.
        empty: names of the classes that it has no training images of.
    """

    name: str
    train: int
    largest: int
    smallest: int
    empty: tuple[str, ...]


@dataclass(frozen=True)
class ArrayShape:
    """An array in memory: its shape, images first, and its dtype."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, repr=False)
class Description:
    """What is in a set.

    Attributes:
        name: of the set.
        kind: `images`, `features` or `videos`.
        task: `classification`, `multi-label` or `regression`, whose classes are bins.
        format: what was read, as `--format` takes it; empty of a manifest.
        has_files: whether the images are there; False of a list that stands alone.
        images: rows in all, generated ones included.
        generated: of these, generated; they are in no other number but `splits`.
        unlabelled: real rows without a label; they are in no other number but `splits`.
        splits: train, val, test -> rows, those that there are.
        default_split: what the commands that train would make of a set without splits, split -> rows; None where there are splits.
        classes: every class in label order.
        imbalance_ratio: largest over smallest number of training images among the classes that have some; None without any.
        gini: Gini's coefficient of the training images a class, 0 to (C - 1) / C, empty classes included; None without any.
        shares: of all training images, the share in the largest hundredth of the classes and in the largest tenth (rounded up).
        empty_classes: names of the classes without training images.
        by_counts: groups by the field's thresholds.
        groups: groups that tables would show.
        curve: the classes sorted by training images, in at most 20 bins of equally many classes, but for one.
        test_images: (classes,) test images a class, after the default split where there is none.
        levels: of the classes' hierarchy, coarse ones first.
        domains: where the set has some.
        tables: of the source, with the first record of each.
        findings: what does not fit together, the gravest first.
        files: what the headers say, where images are files.
        arrays: name -> shape and dtype, where they are in memory.
        provenance: where the set came from.
    """

    name: str
    kind: Kind
    task: Task
    format: str
    has_files: bool
    images: int
    generated: int
    unlabelled: int
    splits: Mapping[str, int]
    default_split: Mapping[str, int] | None
    classes: tuple[ClassSize, ...]
    imbalance_ratio: float | None
    gini: float | None
    shares: tuple[float, float] | None
    empty_classes: tuple[str, ...]
    by_counts: Grouping
    groups: Grouping
    curve: tuple[CurveBin, ...]
    test_images: tuple[int, ...]
    levels: tuple[LevelSize, ...]
    domains: tuple[DomainSize, ...]
    tables: tuple[SourceTable, ...]
    findings: tuple[Finding, ...]
    files: Headers | None
    arrays: Mapping[str, ArrayShape]
    provenance: tuple[str, ...]

    @property
    def by_size(self) -> tuple[ClassSize, ...]:
        """Classes with training images, most first; among equals in label order."""
        return tuple(sorted((c for c in self.classes if c.train), key=lambda c: (-c.train, c.label)))

    @property
    def largest(self) -> tuple[ClassSize, ...]:
        """The five classes with most training images, most first."""
        return self.by_size[:EXTREMES]

    @property
    def smallest(self) -> tuple[ClassSize, ...]:
        """The five classes with fewest training images (but some), fewest first."""
        return self.by_size[::-1][:EXTREMES]

    @property
    def advice(self) -> tuple[Advice, ...]:
        """What follows from the numbers, each with its reason and, where there is one, a command."""
        from tailwise.data.advice import advise

        return advise(self)

    @property
    def commands(self) -> tuple[str, ...]:
        """Useful next commands; `DATA` stands for the set."""
        from tailwise.data.advice import next_commands

        return next_commands(self)

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values; keys are the attributes and properties, and `schema`. Undefined is null."""
        plain = {name: value for name, value in asdict(self).items() if name != "test_images"}
        return {
            "schema": SCHEMA,
            **plain,
            "largest": [asdict(found) for found in self.largest],
            "smallest": [asdict(found) for found in self.smallest],
            "advice": [asdict(found) for found in self.advice],
            "commands": list(self.commands),
        }

    def __repr__(self) -> str:
        what = "feature rows" if self.kind == "features" else self.kind
        ratio = "no training images" if self.imbalance_ratio is None else f"imbalance ratio {self.imbalance_ratio:.4g}"
        sizes = ", ".join(f"{name} {rows:,}" for name, rows in self.splits.items())
        topics = ", ".join(found.topic for found in self.advice) or "none"
        return f"Description of {self.name!r}: {self.images:,} {what}, {len(self.classes):,} classes, {ratio}; {sizes}; advice: {topics}"

    def _repr_markdown_(self) -> str:
        return _to_markdown(self)


def describe(manifest: Manifest, groups: str | None = None, findings: Sequence[Finding] | None = None) -> Description:
    """Say what is in a set: counts, splits, groups, sizes and kinds of images from headers alone, and advice.

    Nothing is decoded, split or written. Of more than 20,000 image files the headers of 5,000 are read, at even steps.

    Args:
        manifest: any set; where it has no splits, all of its rows are training rows.
        groups: scheme of the groups that tables would show, or None for the default.
        findings: what was found about the set; None for what its reader found.

    Raises:
        BadData: not one of the image files can be read.
        BadValue: no such scheme.

    >>> from tailwise.data import read
    >>> describe(read("digits"))
    Description of 'digits': 1,797 images, 10 classes, imbalance ratio 1.052; train 1,797; advice: balanced, tiny-images
    """
    is_whole = manifest.splits == ("train",) and not manifest.has_generated and manifest.task == "classification"
    planned = split(manifest) if is_whole else manifest
    given = manifest.origin.findings if findings is None else findings
    counts = manifest.counts("train")
    ratio = ClassCounts(counts).imbalance_ratio
    per_class = zip(manifest.classes, counts, manifest.counts("val"), manifest.counts("test"), strict=True)
    classes = tuple(ClassSize(name, label, *numbers) for label, (name, *numbers) in enumerate(per_class))
    return Description(
        name=manifest.name,
        kind=manifest.kind,
        images=manifest.rows.height,
        task=manifest.task,
        format=manifest.origin.format,
        has_files=manifest.has_files,
        generated=manifest.generated,
        unlabelled=manifest.unlabelled,
        splits=_sizes(manifest),
        default_split=None if planned is manifest else _sizes(planned),
        classes=classes,
        imbalance_ratio=None if np.isnan(ratio) else ratio,
        gini=None if np.isnan(ratio) else ClassCounts(counts).gini,
        shares=None if np.isnan(ratio) else (_share(counts, 100), _share(counts, 10)),
        empty_classes=tuple(found.name for found in classes if not found.train),
        by_counts=_grouping(by_counts(counts), counts),
        groups=_grouping(make_groups(counts, groups), counts),
        curve=_curve(counts),
        test_images=planned.counts("test"),
        levels=tuple(_levels(manifest, counts)),
        domains=tuple(_domains(manifest)),
        tables=manifest.origin.tables,
        findings=tuple(sorted(given, key=lambda found: SEVERITIES.index(found.severity))),
        files=_headers(manifest),
        arrays={name: ArrayShape(array.shape, str(array.dtype)) for name, array in manifest.arrays.items()},
        provenance=manifest.provenance,
    )


def _sizes(manifest: Manifest) -> dict[str, int]:
    rows = dict(manifest.rows["split"].value_counts().iter_rows())
    return {name: rows[name] for name in manifest.splits}


def _grouping(groups: Groups, counts: Sequence[int]) -> Grouping:
    sizes = {name: GroupSize(len(labels), sum(counts[label] for label in labels)) for name, labels in groups.members.items()}
    return Grouping(groups.scheme, groups.rule, sizes)


def _curve(counts: Sequence[int]) -> tuple[CurveBin, ...]:
    """Cut the sorted counts into bins of equally many classes, but for one."""
    falling = np.sort(np.array(counts))[::-1]
    parts = np.array_split(falling, min(CURVE_BINS, len(falling)))
    stops = np.cumsum([len(part) for part in parts])
    return tuple(
        CurveBin(int(stop) - len(part) + 1, int(stop), int(part[0]), int(part[-1]), float(part.mean()))
        for stop, part in zip(stops, parts, strict=True)
    )


def _share(counts: Sequence[int], part: int) -> float:
    """Give the share of all images in the largest 1/part of the classes, rounded up to whole classes."""
    falling = sorted(counts, reverse=True)
    return sum(falling[: -(-len(falling) // part)]) / sum(falling)


def _levels(manifest: Manifest, counts: Sequence[int]) -> Iterator[LevelSize]:
    table = manifest.class_table
    for level in () if table is None else [name for name in LEVELS if name in table.columns]:
        assert table is not None
        sizes = table.select(pl.col(level).alias("name")).with_columns(pl.Series("train", counts, dtype=pl.Int64))
        known = sizes.drop_nulls("name").group_by("name").agg(pl.col("train").sum())
        some = known.filter(pl.col("train") > 0)
        falling = list(some.sort(["train", "name"], descending=[True, False]).iter_rows())
        rising = list(some.sort(["train", "name"]).iter_rows())
        ratio = falling[0][1] / rising[0][1] if falling else None
        yield LevelSize(level, known.height, ratio, tuple(falling[:EXTREMES]), tuple(rising[:EXTREMES]), sizes["name"].null_count())


def _domains(manifest: Manifest) -> Iterator[DomainSize]:
    if "domain" not in manifest.rows.columns:
        return
    from tailwise.data.cells import cell_counts

    for (domain,), cells in cell_counts(manifest).group_by(["domain"], maintain_order=True):
        images = cells["images"].to_list()
        some = [n for n in images if n]
        empty = tuple(manifest.classes[label] for label in cells.filter(pl.col("images") == 0)["label"])
        yield DomainSize(str(domain), sum(images), max(some, default=0), min(some, default=0), empty)


def _headers(manifest: Manifest) -> Headers | None:
    paths = manifest.rows.filter(pl.col("path").is_not_null())["path"].to_list()
    is_there = manifest.has_files and manifest.kind == "images" and bool(paths)
    return read_headers(manifest.root or Path(), paths) if is_there else None


def _to_markdown(found: Description) -> str:
    """Give a table of groups and the advice, for notebooks."""
    lines = [f"**{_plain(found.name)}**: {_plain(repr(found).split(': ', 1)[1].rsplit('; advice', 1)[0])}", ""]
    lines += ["| group | classes | training images |", "| --- | ---: | ---: |"]
    lines += [f"| {_plain(name)} | {size.classes:,} | {size.images:,} |" for name, size in found.groups.groups.items()]
    lines += ["", f"Groups by {found.groups.scheme}: {found.groups.rule}.", ""]
    for advice in found.advice:
        command = f" `{advice.command}`" if advice.command else ""
        lines.append(f"- {_plain(advice.says)} {_plain(advice.because)}{command}")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Keep names from outside from being read as Markdown or HTML."""
    return "".join(f"\\{letter}" if letter in r"\`*_|<[" else letter for letter in " ".join(text.split()))
