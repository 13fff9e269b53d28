"""Thin a set to a long tail: exact counts, nested sets, val and test untouched."""

from __future__ import annotations

import numpy as np
import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.data.order import seeded_order
from tailwise.data.profiles import profile_counts
from tailwise.errors import BadData

__all__ = ["profile_counts", "thin"]


def thin(manifest: Manifest, profile: str, seed: int = 0) -> Manifest:
    """Keep as many training images of each class as a profile says; val and test stay as they are.

    Each class keeps the beginning of one seeded order of its sorted training ids. So tails are nested: for one seed, a class with
    fewer images under one profile has a subset of what it has under another.

    Args:
        manifest: must have training images of every class, none of them generated.
        profile: see `profile_counts`.
        seed: another seed keeps other images.

    Raises:
        BadValue, BadData: as `profile_counts`, and for a set that holds generated images.

    >>> from tailwise.data.readers.digits import read_digits
    >>> thin(read_digits(), "exponential:50").counts()
    (174, 112, 72, 47, 30, 19, 12, 8, 5, 3)
    """
    if manifest.has_generated:
        raise BadData(f"manifest {manifest.name!r} holds generated images; thin first, then fill")
    counts = profile_counts(profile, manifest.counts("train"), seed, manifest.classes)
    is_train = (manifest.rows["split"] == "train").to_numpy()
    place = np.flatnonzero(is_train)
    kept = ~is_train
    for label, positions in seeded_order(manifest.rows.filter(pl.Series(is_train)), manifest.classes, seed, "tail"):
        kept[place[positions[: counts[label]]]] = True
    done = (
        f"thinned train to {profile}, seed {seed}: {sum(counts):,} of {len(place):,} images kept, "
        f"{max(counts):,} to {min(counts):,} a class"
    )
    return manifest.replace(done, rows=manifest.rows.filter(pl.Series(kept)))
