from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from tailwise.data import content
from tailwise.data.content import hash_files, hash_rows
from tailwise.data.readers.folder import read_folder
from tailwise.errors import BadData, Unwritable


def test_content_of_a_file_is_the_blake2b_of_its_bytes(pets):
    found = read_folder(pets).with_content()
    for row in found.rows.iter_rows(named=True):
        assert row["content"] == hashlib.blake2b((pets / row["path"]).read_bytes(), digest_size=16).hexdigest()


def test_content_of_a_row_depends_on_dtype_shape_and_bytes_alone():
    row = np.arange(6, dtype=np.uint8)
    first = hash_rows(row.reshape(1, 2, 3), np.array([0]))
    assert first == hash_rows(np.stack([row, row]).reshape(2, 2, 3), np.array([1]))
    assert first != hash_rows(row.reshape(1, 3, 2), np.array([0]))
    numbers = np.arange(4, dtype=np.float32).reshape(1, 4)
    assert hash_rows(numbers, np.array([0])) == hash_rows(numbers.astype(">f4"), np.array([0]))


def test_unchanged_files_are_hashed_once(pets, tmp_path, monkeypatch):
    hashed = []
    really = content.hash_file
    monkeypatch.setattr(content, "hash_file", lambda file: hashed.append(file) or really(file))
    cache = tmp_path / "cache"
    first = read_folder(pets).with_content(cache)
    again = read_folder(pets).with_content(cache)
    assert len(hashed) == 4
    assert first.identity == again.identity == read_folder(pets).identity

    changed = pets / "dog" / "a.png"
    changed.write_bytes((pets / "cat" / "a.png").read_bytes())
    os.utime(changed, ns=(1, 1))
    hashed.clear()
    assert read_folder(pets).with_content(cache).identity != first.identity
    assert hashed == [str(changed)]


def test_one_file_in_many_rows_is_hashed_in_place(pets, tmp_path):
    a, b = str(pets / "cat" / "a.png"), str(pets / "dog" / "a.png")
    first, second, third = hash_files([a, b, a], tmp_path / "cache")
    assert first == third != second
    assert hash_files([b, a], tmp_path / "cache") == [second, first]


@pytest.mark.parametrize("damage", [b"", b"PAR1 but not really PAR1", b"no table"])
def test_a_damaged_cache_is_made_anew(pets, tmp_path, damage):
    (tmp_path / "content.sealed").write_bytes(damage)
    assert read_folder(pets).with_content(tmp_path).identity == read_folder(pets).identity
    assert hash_files([str(pets / "cat" / "a.png")], tmp_path)


def test_all_missing_files_are_counted(pets):
    found = read_folder(pets)
    (pets / "cat" / "a.png").unlink()
    (pets / "dog" / "a.png").unlink()
    with pytest.raises(BadData, match=r"2 of 4 files cannot be read: .*a\.png \(No such file"):
        found.with_content()


def test_a_cache_that_cannot_be_written_is_said(pets, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, no folder")
    with pytest.raises(Unwritable, match=r"content.sealed cannot be written.*TAILWISE_STORE"):
        read_folder(pets).with_content(blocked)


def test_a_flipped_or_missing_byte_of_the_cache_is_never_another_identity(pets, tmp_path, caplog):
    """A name that a disk altered would be another image's."""
    right = read_folder(pets).with_content(tmp_path).identity
    file = tmp_path / "content.sealed"
    whole = file.read_bytes()
    for place in range(0, len(whole), len(whole) // 25):
        for damaged in (whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :], whole[:place]):
            file.write_bytes(damaged)
            caplog.clear()
            assert read_folder(pets).with_content(tmp_path).identity == right
            assert "damaged in the store, and computed again: hashes of image files" in caplog.text
            assert len(file.read_bytes()) == len(whole)


def test_a_full_disk_costs_the_cache_and_nothing_else(pets, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert read_folder(pets).with_content(tmp_path).identity == read_folder(pets).identity
    assert "hashes of image files are not kept: the disk is full" in caplog.text
    assert list(tmp_path.glob("content*")) == []
