"""`tailwise build`, as a user types it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tailwise as tw
from tailwise.cli import run
from tailwise.data import read


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def photos(own_place: Path) -> Path:
    """Ten ants and five bees, each of its own grey, beside a list of them in other words."""
    rows = ["bild;art"]
    for n in range(15):
        name = "ant" if n < 10 else "bee"
        file = own_place / "photos" / name / f"{n}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 6), n).save(file)
        rows.append(f"{name}/{n}.png;{name}")
    (own_place / "list.csv").write_text("\n".join(rows))
    return own_place / "photos"


def refused(capsys: pytest.CaptureFixture, *words: str) -> str:
    assert run(list(words)) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("tailwise: ")
    assert "\n" not in said
    return said


def test_a_folder_is_split_thinned_written_and_said(photos, capsys):
    assert run(["build", "photos", "out", "--split", "60/0/40", "--tail", "exponential:3"]) == 0
    said = capsys.readouterr().out
    assert "split 60/0/40, seed 0: 9 train, 0 val, 6 test" in said
    assert "built: out (train/, test/, manifest.parquet, card.json)" in said
    assert said.splitlines()[-2:] == ["next: tailwise explore out", "next: tailwise compare out"]
    assert read("out").counts() == (3, 1)
    assert len(list(Path("out/test/ant").iterdir())) == 4
    assert len(list(Path("out/train/bee").iterdir())) == 1


def test_it_reads_splits_and_thins_as_read_does_in_python(photos):
    assert run(["build", "photos", "out", "--tail", "exponential:2", "--split-seed", "3"]) == 0
    assert read("out").identity == tw.read("photos", tail="exponential:2", split_seed=3).identity


def test_a_table_with_columns_of_other_names_and_its_root(photos, capsys):
    assert run(["build", "list.csv", "out", "--root", "photos", "--columns", "path=bild,label=art", "--copy", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record) == {"schema", "folder", "name", "identity", "classes", "counts", "provenance"}
    assert (record["folder"], record["classes"]) == ("out", ["ant", "bee"])
    assert record["counts"] == {"train": [7, 3], "val": [1, 1], "test": [2, 1]}  # 20 % test, 10 % of the rest val, by hand
    assert record["identity"] == read("out").identity
    assert record["identity"] == tw.read("list.csv", root=photos, columns="path=bild,label=art").identity
    assert json.loads(Path("out/card.json").read_text())["provenance"] == record["provenance"]


def test_links_and_replacing(photos, capsys):
    assert run(["build", "photos", "out", "--link"]) == 0
    assert next(Path("out/train/ant").iterdir()).is_symlink()
    assert "holds links, not copies" in refused(capsys, "build", "photos", "out")
    assert run(["build", "photos", "out", "--force"]) == 0
    assert "holds copies, not the links" in refused(capsys, "build", "photos", "out", "--link")
    assert not next(Path("out/train/ant").iterdir()).is_symlink()


def test_somebodys_photographs_are_never_replaced(photos, own_place, capsys):
    (own_place / "others" / "x").mkdir(parents=True)
    (own_place / "others" / "x" / "1.png").write_bytes(b"precious")
    assert "carries no card" in refused(capsys, "build", "photos", "others", "--force")
    for dest in ("photos", "photos/out", ".", "photos/../photos"):
        assert "one in the other" in refused(capsys, "build", "photos", dest, "--force")
    assert run(["build", "photos", "out"]) == 0
    assert "one in the other" in refused(capsys, "build", "out", "out", "--force")
    assert "one in the other" in refused(capsys, "build", "out/manifest.parquet", "out", "--force")
    assert (own_place / "others" / "x" / "1.png").read_bytes() == b"precious"
    assert len(list(photos.rglob("*.png"))) == 15


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of all files of a folder."""
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("how", [["--copy"], ["--link"], ["--copy", "--force"], ["--tail", "exponential:3", "--split", "60/0/40"]])
def test_the_same_command_again_is_already_done_and_writes_nothing(photos, capsys, how):
    assert run(["build", "photos", "out", *how, "--json"]) == 0
    first, before = json.loads(capsys.readouterr().out), everything(Path("out"))
    assert run(["build", "photos", "out", *how, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert run(["build", "photos", "out", *how]) == 0
    assert "already done: out (train/" in capsys.readouterr().out
    assert everything(Path("out")) == before


def test_pictures_of_arrays_are_already_done_too(capsys):
    assert run(["build", "digits", "out", "--tail", "exponential:50"]) == 0
    before = everything(Path("out"))
    capsys.readouterr()
    assert run(["build", "digits", "out", "--tail", "exponential:50"]) == 0
    assert "already done: out" in capsys.readouterr().out
    assert everything(Path("out")) == before


def test_another_set_split_tail_or_seed_is_refused_and_forced(photos, capsys):
    assert run(["build", "photos", "out"]) == 0
    for other in (["--split", "60/0/40"], ["--tail", "exponential:2"], ["--split-seed", "1"]):
        assert "another set, or with another split, tail or seed" in refused(capsys, "build", "photos", "out", *other)
    (photos / "bee" / "10.png").unlink()
    assert "another set" in refused(capsys, "build", "photos", "out")
    assert run(["build", "photos", "out", "--force"]) == 0
    assert len(read("out").rows) == 14
    assert [p.name for p in Path().iterdir() if p.name.startswith(("out", "."))] == ["out"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "table", "no table"])
def test_a_damaged_folder_is_not_already_done(photos, capsys, damage):
    assert run(["build", "photos", "out"]) == 0
    whole = everything(Path("out"))
    file = Path("out/manifest.parquet") if "table" in damage else Path("out/train/ant/0.png")
    file = file if file.exists() else next(Path("out/train/ant").iterdir())
    data = file.read_bytes()
    if damage in ("delete", "no table"):
        file.unlink()
    else:
        file.write_bytes(data[:-1] if damage != "flip" else data[:40] + bytes([data[40] ^ 1]) + data[41:])
    said = refused(capsys, "build", "photos", "out")
    assert "is damaged" in said
    assert file.name in said
    assert "--force" in said
    if "table" in damage:  # nobody can tell any more what was added to the folder
        assert "cannot be told" in refused(capsys, "build", "photos", "out", "--force")
        return
    assert run(["build", "photos", "out", "--force"]) == 0
    assert {name: data for name, (data, _) in everything(Path("out")).items()} == {name: data for name, (data, _) in whole.items()}


def test_what_a_user_added_is_never_deleted(photos, capsys):
    assert run(["build", "photos", "out"]) == 0
    (photos / "bee" / "10.png").unlink()
    for name in ("notes.txt", ".hidden", "train/.env", "train/ant/mine.png", ".git/config"):
        added = Path("out") / name
        added.parent.mkdir(exist_ok=True)
        added.write_text("mine")
        assert "added after it was built" in refused(capsys, "build", "photos", "out", "--force")
        added.unlink()
    Path("out/albums").symlink_to(photos)
    assert "albums" in refused(capsys, "build", "photos", "out", "--force")
    Path("out/albums").unlink()
    assert run(["build", "photos", "out", "--force"]) == 0


def test_no_place_of_somebody_elses_is_replaced(photos, own_place, monkeypatch, capsys):
    """Somebody's photographs, a home folder, the root, a git checkout, a file, links to all of them and to a folder of ours."""
    home = own_place / "home"
    for name in ("holiday/beach.jpg", "home/letter.txt", "checkout/.git/HEAD", "checkout/main.py", "file"):
        (own_place / name).parent.mkdir(parents=True, exist_ok=True)
        (own_place / name).write_text("mine")
    monkeypatch.setenv("HOME", str(home))
    assert run(["build", "photos", "ours"]) == 0
    for name in ("holiday", "home", "checkout", "file", "ours"):
        (own_place / f"link-to-{name}").symlink_to(own_place / name)
    (own_place / "dangling").symlink_to(own_place / "nowhere")
    before = everything(own_place)
    places = ["holiday", "holiday/", str(home), "checkout", "file", "dangling", "/", "..", "."]
    for dest in (*places, *(f"link-to-{name}" for name in ("holiday", "home", "checkout", "file", "ours"))):
        for force in ([], ["--force"]):
            refused(capsys, "build", "photos", dest, *force)
    assert everything(own_place).keys() >= before.keys()
    assert {name: everything(own_place)[name] for name in before if not name.startswith("store")} == {
        name: found for name, found in before.items() if not name.startswith("store")
    }


def test_arrays_become_png_and_features_are_refused(own_place, capsys):
    images = np.random.default_rng(0).integers(0, 256, (20, 5, 5), dtype=np.uint8)
    Path("raw").mkdir()
    Path("raw/train-images-idx3-ubyte").write_bytes(struct.pack(">iiii", 2051, 20, 5, 5) + images.tobytes())
    Path("raw/train-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, 20) + bytes([0, 1] * 10))
    assert run(["build", "raw", "out"]) == 0
    for row in read("out").rows.iter_rows(named=True):
        np.testing.assert_array_equal(np.asarray(Image.open(Path("out") / row["path"])), images[int(row["id"].split("/")[1])])
    np.savez("vectors.npz", labels=[0, 1] * 10, features=np.zeros((20, 3), np.float32))
    assert "holds features, expected images" in refused(capsys, "build", "vectors.npz", "features-out")
    assert not Path("features-out").exists()


def test_wrong_words_are_refused_before_anything_is_read(photos, capsys):
    assert "'digit'. Did you mean 'digits'?" in refused(capsys, "build", "digit", "out")
    assert ".csv or .tsv table" in refused(capsys, "build", "nowhere/", "out")
    assert "adds up to 90" in refused(capsys, "build", "photos", "out", "--split", "80/10")
    assert "leave root out" in refused(capsys, "build", "photos", "out", "--root", "photos")
    assert "leave columns out" in refused(capsys, "build", "photos", "out", "--columns", "path=x")
    assert not Path("out").exists()


def test_a_built_folder_is_trained_on(photos, capsys):
    assert run(["build", "photos", "out"]) == 0
    capsys.readouterr()
    words = ["--recipe", "demo", "--set", "recipe.epochs=1", "--method", "ce", "--dry-run", "--json"]
    assert run(["train", "out", *words]) == 0
    assert json.loads(capsys.readouterr().out)["steps_alone"] > 0


def test_help_has_both_flags_and_loads_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys; from tailwise.cli import run; run(['build', '--help'])\n"
        "print([m for m in ('torch', 'numpy', 'polars') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--link" in said
    assert "--copy" in said
    assert said.splitlines()[-1] == "[]"
