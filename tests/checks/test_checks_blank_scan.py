"""The blank scan finds by size and proves by decoding; what it may miss is what its words say."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import tailwise as tw
from tailwise.checks.blank_scan import find_blank
from tailwise.checks.measures import suspects
from tailwise.checks.run import check, look


def photograph(file, seed: int, side: int = 84) -> str:
    drawn = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(drawn).resize((side, side)).save(file, quality=85)
    return str(file)


@pytest.fixture
def files(tmp_path):
    """Photographs, black ones among them, and one that is small and no blank."""
    folder = tmp_path / "photos/train/ant"
    folder.mkdir(parents=True)
    made = [photograph(folder / f"{i:02d}.jpg", i) for i in range(20)]
    for i in (3, 11):
        Image.new("RGB", (84, 84)).save(made[i])
    Image.new("RGB", (84, 84), (200, 30, 30)).save(folder / "red.png")
    dot = Image.new("RGB", (84, 84))
    dot.putpixel((40, 40), (255, 255, 255))
    dot.save(folder / "dot.png")
    return [*made, str(folder / "red.png"), str(folder / "dot.png")]


def test_blank_images_are_found_and_a_dot_is_none(files):
    assert find_blank(files) == [files[3], files[11], files[20]]
    assert find_blank([]) == []


def test_only_suspects_are_decoded_and_equal_ones_once(files, monkeypatch):
    from tailwise.checks import blank_scan

    opened, honest = [], blank_scan.of_file
    monkeypatch.setattr(blank_scan, "of_file", lambda file: opened.append(file) or honest(file))
    find_blank(files)
    assert opened == [files[3], files[20], files[21]]


def test_a_suspect_has_at_most_2048_bytes_or_a_third_of_the_median():
    assert suspects(np.array([2048, 2049, 2000, 50_000, 2100, 2100])).tolist() == [True, False, True, False, False, False]
    assert suspects(np.array([20_000, 60_000, 60_000, 60_001, 20_001])).tolist() == [True, False, False, False, False]


def test_what_escapes_is_what_is_said(files, tmp_path):
    padded = tmp_path / "padded.png"
    Image.new("RGB", (84, 84)).save(padded, pnginfo=_comment(9_000))
    assert find_blank([*files, padded]) == [files[3], files[11], files[20]]


def _comment(length: int):
    from PIL.PngImagePlugin import PngInfo

    made = PngInfo()
    made.add_text("note", "x" * length)
    return made


def test_a_quick_look_finds_them_too_and_decodes_no_other(files, tmp_path, monkeypatch):
    for i in range(4):
        photograph(tmp_path / "photos/train" / "ant" / f"more{i}.jpg", 50 + i)
    (tmp_path / "photos/train/bee").mkdir()
    photograph(tmp_path / "photos/train/bee/0.jpg", 99)
    manifest = tw.read(tmp_path / "photos")
    quick = {found.kind: found.ids for found in look(manifest)}
    whole = {found.kind: found.ids for found in check(manifest).findings}
    assert quick["black"] == whole["black"] == ("train/ant/03.jpg", "train/ant/11.jpg")
    assert quick["blank"] == whole["blank"] == ("train/ant/red.png",)
