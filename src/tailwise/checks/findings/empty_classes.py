"""Classes without images: gaps in the labels, and classes that a split lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tailwise.checks.check import Check, Inspected
from tailwise.data.listing import first_five
from tailwise.data.origin import Finding, Severity


def find(found: Inspected) -> Iterable[Finding]:
    """Find classes without any image, without training images though others split have some, and without val or test images."""
    manifest = found.manifest
    counts = {split: manifest.counts(split) for split in manifest.splits}
    anywhere = [sum(of_class) for of_class in zip(*counts.values(), strict=True)]
    train = counts.get("train", (0,) * len(manifest.classes))

    def named(absent: Sequence[bool]) -> tuple[str, ...]:
        return tuple(name for name, is_absent in zip(manifest.classes, absent, strict=True) if is_absent)

    yield from _finding("class-without-images", "warning", named([not n for n in anywhere]), "no images at all")
    unseen = ["train" in counts and bool(n) and not of_train for n, of_train in zip(anywhere, train, strict=True)]
    if manifest.task != "regression":  # bins between those that are trained on are what a regression is for
        yield from _finding("class-without-training-images", "error", named(unseen), "images in other splits and none in train")
    for split in ("val", "test"):
        if split in counts:
            absent = [bool(of_train) and not n for of_train, n in zip(train, counts[split], strict=True)]
            severity: Severity = "warning" if split == "test" else "note"
            yield from _finding(f"class-without-{split}-images", severity, named(absent), f"training images and none in {split}")


def _finding(kind: str, severity: Severity, names: tuple[str, ...], what: str) -> Iterable[Finding]:
    if names:
        has = "class has" if len(names) == 1 else "classes have"
        yield Finding(kind, severity, f"{len(names):,} {has} {what}: {first_five(names)}.", len(names), names)


CHECK = Check("classes without images", "table", find)
