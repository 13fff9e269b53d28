"""The seeded order of a class's rows, against one permutation a class, drawn one after the other."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.data import order
from tailwise.data.order import places_in_class, seeded_order
from tailwise.seeds import generator

tables = st.lists(st.tuples(st.text("ab0é😀", max_size=4), st.none() | st.integers(0, 5)), unique_by=lambda row: row[0], max_size=40)


def slowly(rows: list[tuple[str, int | None]], classes: list[str], seed: int, purpose: str) -> list[str]:
    found = []
    for label, name in enumerate(classes):
        ids = sorted((id_ for id_, of in rows if of == label), key=str.encode)
        found += [ids[place] for place in generator(seed, purpose, name).permutation(len(ids))]
    return found


@settings(deadline=None)
@given(rows=tables, seed=st.integers(0, 2**40), in_order=st.booleans())
def test_each_class_has_one_permutation_of_its_sorted_ids(rows, seed, in_order):
    rows = sorted(rows, key=lambda row: row[0].encode()) if in_order else rows
    classes = [f"class {label}" for label in range(7)]
    table = pl.DataFrame(rows, schema={"id": pl.String, "label": pl.Int32}, orient="row")
    positions, sizes = seeded_order(table, classes, seed, "split")
    assert [rows[place][0] for place in positions.tolist()] == slowly(rows, classes, seed, "split")
    assert sizes.tolist() == [sum(of == label for _, of in rows) for label in range(7)]


@pytest.mark.parametrize("few", [1, 1 << 16])
def test_labels_beyond_16_bits_are_not_cut_off(monkeypatch, few):
    monkeypatch.setattr(order, "_FEW", few)
    table = pl.DataFrame({"id": list("dcba"), "label": pl.Series([70_000, 1, 1, 70_000 - (1 << 16)], dtype=pl.Int32)})
    positions, sizes = seeded_order(table, [f"{label}" for label in range(70_001)], 0, "split")
    assert [table["label"][place] for place in positions.tolist()] == [1, 1, 4_464, 70_000]
    assert np.flatnonzero(sizes).tolist() == [1, 4_464, 70_000]


def test_a_class_in_order_behind_one_in_order_is_sorted_by_its_own_ids():
    """The first id of a class may come before the last of the one before it."""
    table = pl.DataFrame({"id": ["x", "y", "a", "b"], "label": pl.Series([0, 0, 1, 1], dtype=pl.Int32)})
    positions, _ = seeded_order(table, ["one", "other"], 3, "tail")
    assert [table["id"][place] for place in positions.tolist()] == slowly(
        [("x", 0), ("y", 0), ("a", 1), ("b", 1)], ["one", "other"], 3, "tail"
    )


def test_places_in_class():
    assert places_in_class(np.array([3, 0, 1, 2])).tolist() == [0, 1, 2, 0, 0, 1]
    assert places_in_class(np.array([], dtype=np.int64)).tolist() == []
