from __future__ import annotations

import numpy as np
import pytest

from tailwise.data.readers.digits import read_digits
from tailwise.data.sources import read
from tailwise.data.splits import split
from tailwise.data.tails import thin
from tailwise.errors import BadData, BadValue, UnknownName


def test_digits_are_scikit_learns_scaled_to_8_bits():
    from sklearn.datasets import load_digits

    source, found = load_digits(), read_digits()
    assert found.arrays["images"].shape == (1797, 8, 8, 1)
    assert set(np.unique(found.arrays["images"])) == {round(x * 255 / 16) for x in range(17)}
    assert found.counts() == tuple(int(n) for n in np.bincount(source.target))
    assert found.rows["id"][0] == "digits/0000"
    assert found.rows["id"][1796] == "digits/1796"
    row = found.rows.row(1000, named=True)
    np.testing.assert_allclose(found.arrays["images"][row["row"], ..., 0], source.images[1000] * 255 / 16, atol=0.5)
    assert row["label"] == source.target[1000]


def test_the_demo_is_what_it_says():
    whole = split(read("digits"), "50/10/40", seed=0)
    tail = thin(whole, "exponential:50", seed=0)
    assert tail.counts() == (87, 56, 36, 23, 15, 9, 6, 4, 2, 1)
    for untouched in ("val", "test"):
        assert tail.select(untouched).equals(whole.select(untouched))


def test_everything_that_can_be_read_is_read(pets, make_set, tmp_path):
    small = make_set([3, 3])
    folder = small.save(tmp_path / "saved")
    np.savez(tmp_path / "mine.NPZ", labels=[0, 1], images=np.zeros((2, 4, 4), np.uint8))
    (tmp_path / "mine.NPZ.npz").rename(tmp_path / "mine.NPZ")
    assert read(small) is small
    assert read(folder).identity == small.identity
    assert read(folder / "manifest.parquet").identity == small.identity
    assert read(str(pets)).classes == ("cat", "dog")
    assert read(tmp_path / "mine.NPZ").counts() == (1, 1)
    assert read("digits").name == "digits"


def test_root_goes_to_a_saved_manifest_alone(pets, tmp_path):
    folder = read(pets).save(tmp_path / "saved")
    moved = pets.rename(tmp_path / "moved")
    assert read(folder, root=moved).root == moved
    for source in ("digits", moved):
        with pytest.raises(BadValue, match="leave root out"):
            read(source, root=moved)


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(UnknownName, match=r"'digit'\. Did you mean 'digits'\?"):
        read("digit")


def test_a_misspelt_path_gets_the_nearest(pets):
    with pytest.raises(BadData, match=r"no such file or folder.*did you mean '.*pets'"):
        read(pets.parent / "petz")
    with pytest.raises(BadData, match="check the path"):
        read("no/such/place/at/all.npz")


@pytest.mark.parametrize("source", ["x" * 5000, "a\0b", ""])
def test_paths_that_cannot_be_are_refused(source):
    with pytest.raises((BadData, UnknownName)):
        read(source)


def test_other_files_and_other_things_are_refused(tmp_path):
    (tmp_path / "table.xlsx").write_text("")
    with pytest.raises(BadData, match="not recognised as any format"):
        read(tmp_path / "table.xlsx")
    with pytest.raises(BadValue, match="source 5 is no data set"):
        read(5)
