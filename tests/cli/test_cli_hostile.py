"""Broken and hostile files on the command line: exit code 2, one line that names the file, nothing written."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tailwise.cli import run


def png(width: int = 4, height: int = 4) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 20, 20)).save(file, "PNG")
    return file.getvalue()


def huge_png(side: int) -> bytes:
    """A small file whose header promises side x side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")


def tar(*members: tuple[str, bytes | None]) -> bytes:
    """A tar of files; a member without content is a link to /etc/passwd."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return file.getvalue()


class Runs:
    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def parquet(**columns: list) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


COCO = '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 1, "image_id": 1, "category_id": 1}], "categories": [%s]}'
GOOD_COCO = COCO % '{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"

FILES: list[tuple[str, bytes, str]] = [
    # text
    ("list.csv", b"", "empty"),
    ("list.csv", b"path,label\n", "no rows"),
    ("list.csv", b"path,label,label\na.png,0,1\n", "twice"),
    ("list.csv", b"a,b\nx,y\n", "no column is recognised"),
    ("list.csv", b"path,label\na.png,0\nb.png,1,2\n", "row 3 has 3 fields, expected 2"),
    ("list.csv", b"path,label\na.png,0\npath,label\nb.png,1\n", "row 3 repeats the header"),
    ("list.csv", "path,label\nä.png,0\n".encode("latin-1"), "not UTF-8 at byte"),
    ("list.csv", b"path,label\n../x.png,0\nb.png,1\n", "leaves the root"),
    ("list.csv", b"path,label\n/etc/x.png,0\nb.png,1\n", "is absolute"),
    ("list.csv", b"path,label\na.png,1e2\nb.png,1\n", "label '1e2' in row 2"),
    ("list.csv", b"path,label\na.png,\nb.png,1\n", "no label"),
    ("list.csv.gz", gzip.compress(b"path,label\n" + b"a.png,0\n" * 999)[:-9], "damaged gzip"),
    ("list.csv", b"<!DOCTYPE html><html>", "is a web page"),
    ("train.txt", b"a/1.jpg 0\na/2.jpg 1\n../../3.jpg 0\n", "leaves the root"),
    ("train.txt", b"a/1.jpg 0\na/2.jpg 1\na/3.jpg 99999999999\n", "99999999999"),
    # JSON
    ("train.json", GOOD_COCO[:90].encode(), "ends inside"),
    ("train.json", b'{"images": ' + b"[" * 1_000_000, "train.json"),
    ("train.json", b'{"images": [], "images": [], "annotations": [], "categories": []}', "duplicate key 'images'"),
    ("train.json", b'{"images": {}, "annotations": [], "categories": []}', "images"),
    ("train.json", GOOD_COCO.replace('"a.jpg"', '"../a.jpg"').encode(), "leaves the root"),
    ("train.json", GOOD_COCO.encode() + b"\xff", "train.json"),
    # binary
    ("x.parquet", LFS, "Git-LFS pointer"),
    ("x.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", "cannot be read as Parquet"),
    ("x.parquet", parquet(a=[1], b=[2]), "no column is recognised"),
    ("cache.pkl", pickle.dumps({"data": Runs()}), "only arrays and plain containers are read"),
    ("cache.pkl", pickle.dumps({"data": np.zeros((2, 4, 4, 3), np.uint8), "labels": [0, 1]})[:-40], "cache.pkl"),
    ("x.npz", npz(images=np.array([object()] * 2, dtype=object), labels=np.arange(2)), "Python objects"),
    ("x.npz", npz(images=np.zeros((2, 4, 4), np.uint8), labels=np.arange(2))[:-60], "x.npz"),
    ("x.tar", tar(("/etc/a.jpg", png()), ("/etc/a.cls", b"0")), "/etc/a.jpg"),
    ("x.tar", tar(("../a.jpg", png()), ("../a.cls", b"0")), "../a.jpg"),
    ("x.tar", tar(("a.jpg", None), ("a.cls", b"0")), "a.jpg"),
    ("x.tar", tar(("a.jpg", png(99, 99)), ("a.cls", b"0"), ("b.jpg", png(80, 80)), ("b.cls", b"1"))[:1100], "x.tar"),
    ("test_batch.bin", b"\0" * 3_072, "no multiple of 3,073"),
    ("train-images-idx3-ubyte", b"\0\0\x08\x03" + b"\0\0\0\x09" * 3, "train-images-idx3-ubyte"),
    # nothing that is read here
    ("x.xlsx", b"PK\x03\x04rest", "not recognised"),
    ("x.json", b'{"0": 147, "1": 106}', "x.json"),
]


@pytest.fixture
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return place


def refused(capsys: pytest.CaptureFixture, *words: str) -> str:
    """Run a command that must refuse, and give its one line."""
    before = sorted(Path().rglob("*"))
    assert run(list(words)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip().count("\n") == 0, said.err
    assert "Traceback" not in said.err
    assert sorted(Path().rglob("*")) == before
    return said.err


@pytest.mark.parametrize(("name", "content", "expected"), FILES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_file_that_cannot_be_read_is_refused_in_one_line(capsys, own_place, name, content, expected):
    Path(name).write_bytes(content)
    for command in ("explore", "check"):
        assert expected in refused(capsys, command, name)
    assert not Path("executed").exists()


BROKEN_IMAGES: list[tuple[str, bytes, str]] = [
    ("empty.png", b"", "an empty file"),
    ("text.jpg", b"<html>", "not an image of a known format"),
    ("cut.png", png(64, 64)[:40], "cut.png"),
    ("huge.png", huge_png(30_000), "more than 89,478,485 pixels"),
]


@pytest.fixture
def many() -> Callable[[int], Path]:
    """A folder of two classes, one of them with many files."""

    def make(images: int) -> Path:
        content = png()
        for name, number in (("ant hill 🐜", images), ("נמלה", 3)):
            folder = Path("many") / name
            folder.mkdir(parents=True)
            for n in range(number):
                (folder / f"{n}.png").write_bytes(content)
        return Path("many")

    return make


@pytest.mark.parametrize(("name", "content", "expected"), BROKEN_IMAGES, ids=[name for name, _, _ in BROKEN_IMAGES])
def test_a_broken_image_is_named_by_those_who_need_it_and_shown_by_explore(capsys, own_place, many, name, content, expected):
    (many(3) / "נמלה" / name).write_bytes(content)
    assert run(["explore", "many"]) == 0
    assert expected in " ".join(capsys.readouterr().out.split())
    assert expected in refused(capsys, "build", "many", "out")


def test_one_bad_file_of_ten_thousand_is_found(capsys, own_place, many):
    (many(10_000) / "ant hill 🐜" / "bad.png").write_bytes(b"<html>")
    line = refused(capsys, "build", "many", "out")
    assert "1 of 10,004 images cannot be read" in line
    assert "bad.png" in line


def test_links_in_a_named_folder_are_followed_and_counted(capsys, own_place, many):
    folder = many(3)
    Path("elsewhere.png").write_bytes(png())
    (folder / "נמלה" / "link.png").symlink_to(Path("elsewhere.png").absolute())
    (folder / "נמלה" / "round").symlink_to(folder.absolute())
    assert run(["explore", "many"]) == 0
    said = capsys.readouterr().out
    assert "followed 2 symbolic links" in said
    assert "skipped 1 links that lead back into themselves" in said


def test_names_that_differ_in_case_are_two_files(capsys, own_place):
    for name in ("Ant/A.png", "Ant/a.png", "ant/a.png", "bee/a.png"):
        Path("case", name).parent.mkdir(parents=True, exist_ok=True)
        Path("case", name).write_bytes(png(*(8, 8) if name == "Ant/A.png" else (4, 4)))
    if len(list(Path("case").rglob("*.png"))) < 4:
        pytest.skip("the file system does not tell upper from lower case")
    assert run(["build", "case", "out", "--split", "100/0"]) == 0
    built = [path.relative_to("out").as_posix().lower() for path in Path("out").rglob("*.png")]
    assert len(built) == len(set(built)) == 4
