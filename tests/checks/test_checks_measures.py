"""The table of measures: what is opened, what is stored and found again, and what is left alone."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tailwise.checks import measures
from tailwise.checks.measures import inspect
from tailwise.checks.run import check
from tailwise.data import from_arrays, read
from tailwise.store import Store


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A list of forty pictures of noise in two classes."""
    rng = np.random.default_rng(0)
    root = tmp_path / "set"
    for number in range(40):
        file = root / "ab"[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(file)
    return root


def listed(root: Path, *more: str) -> Path:
    """A list of all pictures, and of further paths of class a."""
    paths = sorted(path.relative_to(root).as_posix() for path in root.glob("?/*.png"))
    table = root / "list.csv"
    table.write_text("path,label\n" + "".join(f"{path},{path[0]}\n" for path in [*paths, *more]))
    return table


def opened(monkeypatch) -> list[str]:
    """Files that are decoded from now on."""
    files: list[str] = []
    true = measures.read_pixels
    monkeypatch.setattr(measures, "read_pixels", lambda file: files.append(Path(file).name) or true(file))
    return files


def test_what_is_no_regular_file_is_never_opened(pictures):
    table = listed(pictures, "a/pipe.png", "a/folder.png", "a/away.png")
    os.mkfifo(pictures / "a" / "pipe.png")
    (pictures / "a" / "folder.png").mkdir()
    rows: list[pl.DataFrame] = []
    looking = threading.Thread(target=lambda: rows.append(inspect(read(table)).images), daemon=True)
    looking.start()
    looking.join(60)
    assert not looking.is_alive(), "waits for somebody to write into the pipe"
    told = rows[0].filter(pl.col("error").is_not_null()).select("id", "error", "why", "content").rows()
    assert told == [
        ("a/away.png", "missing", "no such file", None),
        ("a/folder.png", "unreadable", "a folder", None),
        ("a/pipe.png", "unreadable", "a pipe or device", None),
    ]


def test_what_may_not_be_read_is_said(pictures, monkeypatch):
    true = os.access
    monkeypatch.setattr(measures.os, "access", lambda file, mode: not str(file).endswith("00.png") and true(file, mode))
    images = inspect(read(pictures)).images.filter(pl.col("error").is_not_null())
    assert images.select("error", "why").rows() == [("unreadable", "permission denied")]


def test_a_missing_file_does_not_keep_the_others_from_the_store(pictures, monkeypatch):
    table = listed(pictures, "a/away.png")
    first = inspect(read(table))
    again = opened(monkeypatch)
    assert inspect(read(table)).images.equals(first.images)
    assert again == []
    assert (~first.thumbnails.any(axis=1)).nonzero()[0].tolist() == first.images["error"].is_not_null().arg_true().to_list()


def test_one_more_image_leaves_most_of_the_store_as_it_is(pictures, monkeypatch):
    monkeypatch.setattr(measures, "CHUNK", 3)
    inspect(read(pictures))
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(pictures / "a" / "0000.png")  # the first of all by id
    again = opened(monkeypatch)
    inspect(read(pictures))
    assert "0000.png" in again
    assert len(again) < 15


def test_equal_contents_are_decoded_once(pictures, monkeypatch):
    for copy in range(5):
        shutil.copy(pictures / "a" / "00.png", pictures / "b" / f"copy{copy}.png")
    decoded = opened(monkeypatch)
    images = inspect(read(pictures)).images
    assert len(decoded) == 40
    assert images.filter(pl.col("content").is_duplicated()).select("hash", "mean").n_unique() == 1


def test_rows_get_their_own_measures_in_any_order_of_contents(pictures):
    found = inspect(read(pictures))
    for place, path in enumerate(found.images["path"]):
        grey = Image.open(pictures / path).convert("L")
        assert found.images["mean"][place] == pytest.approx(np.asarray(grey).mean(), rel=1e-5)
        small = np.asarray(grey.resize((16, 16), Image.Resampling.BOX))
        np.testing.assert_array_equal(found.thumbnails[place].reshape(16, 16), small)


def test_a_damaged_store_is_measured_again(pictures, caplog):
    first = inspect(read(pictures)).images
    (stored,) = Path(os.environ["TAILWISE_STORE"], "measures").iterdir()
    (stored / "thumbnails.npy").write_bytes(b"rubbish")
    again = inspect(read(pictures))
    assert again.images.equals(first)
    assert again.thumbnails.any(axis=1).all()
    assert "damaged in the store" in caplog.text


def test_measures_are_things_of_the_store_that_can_be_trimmed(pictures):
    inspect(read(pictures))
    assert [thing.kind for thing in Store().things()] == ["measures"]
    Store(limit=1).trim()
    assert list(Store().things()) == []


def test_progress_is_told_to_the_end(pictures):
    told: list[tuple[int, int]] = []
    inspect(read(pictures), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (40, 40)


def test_what_is_flat_gets_no_brighter():
    assert measures.of_pixels(np.full((20, 20), 90, np.uint8))[0].hash == 0


def test_grey_and_coloured_arrays_are_measured_alike():
    grey = np.random.default_rng(0).integers(0, 256, (4, 16, 16), dtype=np.uint8)
    coloured = np.repeat(grey[..., None], 3, axis=-1)
    one, other = (inspect(from_arrays([0, 0, 1, 1], images)).images for images in (grey, coloured))
    same = ["width", "height", "darkest", "brightest", "mean", "deviation", "hash"]
    assert one.select(same).equals(other.select(same))
    assert (one["kind"].unique().to_list(), other["kind"].unique().to_list()) == (["grey"], ["colour"])


def test_an_image_that_changed_since_its_manifest_was_made_is_found(pictures, tmp_path):
    read(pictures).save(tmp_path / "saved")
    assert check(read(tmp_path / "saved")).findings == ()
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(pictures / "b" / "07.png")
    (found,) = check(read(tmp_path / "saved")).findings
    assert (found.kind, found.severity, found.ids) == ("changed", "error", ("b/07.png",))
