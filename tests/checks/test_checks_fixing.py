"""A repaired manifest on disk: it reads back without what was left out, and takes the place of nothing else."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.checks.fixing import write_fixed
from tailwise.checks.run import check, repair
from tailwise.data import Manifest, read
from tailwise.errors import BadData, BadValue, OutputExists


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))


@pytest.fixture
def photos(tmp_path) -> Path:
    """Eight pictures of two classes, and a cut file, an empty one, a black one and a copy."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for number in range(8):
        file = root / ("ant", "bee")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(file)
    (root / "ant" / "cut.png").write_bytes((root / "ant" / "0.png").read_bytes()[:900])
    (root / "ant" / "empty.png").touch()
    Image.new("RGB", (24, 24)).save(root / "bee" / "black.png")
    shutil.copy(root / "bee" / "1.png", root / "bee" / "copy.png")
    return root


def fixed(photos: Path) -> Manifest:
    manifest = read(photos)
    return repair(manifest, check(manifest))


def hashes(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("*")) if path.is_file()}


def test_it_reads_back_without_what_was_left_out_and_no_image_is_touched(photos, tmp_path):
    before = hashes(photos)
    assert not write_fixed(fixed(photos), tmp_path / "out")
    assert hashes(photos) == before
    again = read(tmp_path / "out")
    assert sorted(again.rows["path"]) == sorted(f"{'ab'[n % 2]}{('nt', 'ee')[n % 2]}/{n}.png" for n in range(8))
    assert again.provenance[-4:] == (
        "check left out 1 image: blank",
        "check left out 1 image: duplicates",
        "check left out 1 image: truncated",
        "check left out 1 image: unreadable",
    )
    assert check(again).findings == ()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["card.json", "manifest.parquet"]


def test_the_same_again_writes_nothing(photos, tmp_path):
    write_fixed(fixed(photos), tmp_path / "out")
    before = (tmp_path / "out" / "manifest.parquet").stat().st_mtime_ns
    assert write_fixed(fixed(photos), tmp_path / "out")
    assert write_fixed(fixed(photos), tmp_path / "out", force=True)
    assert (tmp_path / "out" / "manifest.parquet").stat().st_mtime_ns == before


def test_another_manifest_is_replaced_only_by_force(photos, tmp_path):
    write_fixed(fixed(photos), tmp_path / "out")
    (photos / "bee" / "3.png").unlink()
    other = fixed(photos)
    with pytest.raises(OutputExists, match="holds another manifest"):
        write_fixed(other, tmp_path / "out")
    assert not write_fixed(other, tmp_path / "out", force=True)
    assert read(tmp_path / "out").rows.height == 7


def test_an_equal_set_of_images_elsewhere_is_another_manifest(photos, tmp_path):
    write_fixed(fixed(photos), tmp_path / "out")
    shutil.copytree(photos, tmp_path / "moved" / "photos")
    with pytest.raises(OutputExists, match="holds another manifest"):
        write_fixed(fixed(tmp_path / "moved" / "photos"), tmp_path / "out")


def test_the_same_images_under_other_names_are_another_manifest(photos, tmp_path):
    manifest = fixed(photos)
    write_fixed(manifest, tmp_path / "out")
    shutil.copy(photos / "ant" / "0.png", photos / "ant" / "renamed.png")
    rows = manifest.rows.with_columns(path=manifest.rows["path"].replace("ant/0.png", "ant/renamed.png"))
    with pytest.raises(OutputExists, match="holds another manifest"):
        write_fixed(manifest.replace(rows=rows), tmp_path / "out")


def test_a_damaged_manifest_is_said_and_replaced_by_force(photos, tmp_path):
    write_fixed(fixed(photos), tmp_path / "out")
    (tmp_path / "out" / "manifest.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputExists, match="damaged"):
        write_fixed(fixed(photos), tmp_path / "out")


@pytest.mark.parametrize("force", [False, True])
def test_nothing_of_anybody_else_is_replaced(photos, tmp_path, force):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(OutputExists, match="carries no card"):
        write_fixed(fixed(photos), tmp_path / "mine", force)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    with pytest.raises(BadValue, match="lies inside"):
        write_fixed(fixed(photos), photos / "out", force)


def test_what_was_added_to_the_folder_is_not_deleted(photos, tmp_path):
    write_fixed(fixed(photos), tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (photos / "bee" / "3.png").unlink()
    with pytest.raises(OutputExists, match=r"notes\.txt"):
        write_fixed(fixed(photos), tmp_path / "out", force=True)


def test_a_set_of_which_nothing_is_left_is_refused(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "a.png").touch()
    with pytest.raises(BadData, match="all 2 images would be left out"):
        fixed(tmp_path / "photos")
