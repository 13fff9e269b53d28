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
    assert "built: out (train/, test/, README.md, card.json, manifest.parquet)" in said
    assert "files: 0 hard links, 10 copies" in said
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
    keys = {"schema", "folder", "layout", "name", "identity", "classes", "counts", "linked", "copied", "provenance", "twin"}
    assert set(record) == keys
    assert (record["layout"], record["linked"], record["copied"], record["twin"]) == ("folder", 0, 15, None)
    assert (record["folder"], record["classes"]) == ("out", ["ant", "bee"])
    assert record["counts"] == {"train": [7, 3], "val": [1, 1], "test": [2, 1]}  # 20 % test, 10 % of the rest val, by hand
    assert record["identity"] == read("out").identity
    assert record["identity"] == tw.read("list.csv", root=photos, columns="path=bild,label=art").identity
    assert json.loads(Path("out/card.json").read_text())["provenance"] == record["provenance"]


def test_links_and_replacing(photos, capsys):
    assert run(["build", "photos", "out", "--link"]) == 0
    assert "files: 15 hard links, 0 copies" in capsys.readouterr().out
    assert next(Path("out/train/ant").iterdir()).stat().st_nlink == 2
    assert "holds links, not copies" in refused(capsys, "build", "photos", "out")
    assert run(["build", "photos", "out", "--force"]) == 0
    assert "holds copies, not the links" in refused(capsys, "build", "photos", "out", "--link")
    assert next(Path("out/train/ant").iterdir()).stat().st_nlink == 1


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
    assert "a table or list of paths" in refused(capsys, "build", "nowhere/", "out")
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


@pytest.mark.parametrize("layout", ["folder", "mini-imagenet-lt", "parquet", "hub", "coco", "list"])
def test_every_layout_is_written_said_and_already_done(photos, capsys, layout):
    words = ["build", "photos", "out", "--layout", layout, "--split", "60/20/20", "--tail", "exponential:3", "--json"]
    assert run(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["layout"], record["counts"]["train"]) == (layout, [3, 1])
    assert read("out").identity == record["identity"]
    before = everything(Path("out"))
    assert run(words[:-1]) == 0
    said = capsys.readouterr().out
    assert f"already done: out ({', '.join(name for name in _top(Path('out')))})" in said
    assert everything(Path("out")) == before
    if layout != "parquet":
        assert f"was built as {layout}, not as parquet" in refused(capsys, "build", "photos", "out", "--layout", "parquet")
    assert run(["build", "photos", "out", "--force"]) == 0


def _top(folder: Path) -> list[str]:
    splits = [name for name in ("train", "val", "test") if (folder / name).is_dir()]
    others = sorted(place.name for place in folder.iterdir() if place.is_dir() and place.name not in splits)
    return [*(f"{name}/" for name in (*splits, *others)), *sorted(place.name for place in folder.iterdir() if place.is_file())]


def test_the_balanced_twin_is_written_beside_and_said(photos, capsys):
    words = ["build", "photos", "lt", "--split", "60/20/20", "--tail", "exponential:3", "--twin", "even"]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "built: lt (" in said
    assert "built: even (" in said
    assert "thinned train to balanced:4, seed 0: 4 of 9 images kept, 2 to 2 a class" in said
    assert read("even").counts("test") == read("lt").counts("test")
    assert run([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["folder"], record["twin"]["folder"]) == ("lt", "even")
    assert (record["counts"]["train"], record["twin"]["counts"]["train"]) == ([3, 1], [2, 2])
    assert "one in the other" in refused(capsys, *words[:-1], "photos/even")
    assert "one in the other" in refused(capsys, *words[:-1], "lt/even")


def test_a_random_order_of_classes_and_a_licence(photos, capsys):
    heads = set()
    for seed in range(6):
        assert (
            run(
                [
                    "build",
                    "photos",
                    f"out{seed}",
                    "--split",
                    "60/0/40",
                    "--tail",
                    "exponential:3",
                    "--class-order",
                    "random",
                    "--split-seed",
                    str(seed),
                ]
            )
            == 0
        )
        heads.add(read(f"out{seed}").counts())
    assert heads == {(3, 1), (1, 3)}
    assert run(["build", "photos", "noted", "--licence", "CC BY 4.0"]) == 0
    assert json.loads(Path("noted/card.json").read_text())["licence"] == "CC BY 4.0"
    assert "random" in refused(capsys, "build", "photos", "none", "--tail", "uniform:1:2", "--class-order", "random")


def test_a_list_without_images_is_written_as_a_list_alone(own_place, capsys):
    (own_place / "far.csv").write_text("path,label\n" + "".join(f"x/{n}.jpg,{'ab'[n % 2]}\n" for n in range(20)))
    said = refused(capsys, "build", "far.csv", "out")
    assert "pass --root" in said
    assert run(["build", "far.csv", "out", "--layout", "list", "--split", "80/10/10"]) == 0
    said = capsys.readouterr().out
    assert "a list of 20 images, which are not there themselves" in said
    assert "next: tailwise compare" not in said
    assert "hard links" not in said
    assert {place.name for place in Path("out").iterdir()} == {
        *("train.txt", "val.txt", "test.txt", "classnames.txt"),
        *("manifest.parquet", "card.json", "README.md"),
    }
    assert len(Path("out/train.txt").read_text().splitlines()) == 16


def test_equal_bytes_under_two_labels_are_named_where_they_would_be_in_two_splits(photos, capsys):
    for n in range(10):
        (photos / "bee" / f"copy{n}.png").write_bytes((photos / "ant" / f"{n}.png").read_bytes())
    said = refused(capsys, "build", "photos", "out", "--split", "50/0/50")
    assert "under two labels" in said
    assert "(ant, " in said
    assert "(bee, " in said
    assert "tailwise check --fix" in said
    assert not Path("out").exists()


def test_mini_imagenets_lists_with_the_published_counts(own_place, capsys):
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    assert shared.is_dir(), f"{shared} is absent: what this test asserts of real lists was not tested"
    counts = shared / "mini-imagenet-lt" / "cls_label.json"
    words = ["--tail", f"counts:{counts}", "--split", "80/10/10", "--layout", "mini-imagenet-lt", "--json"]
    assert run(["build", str(shared / "metadata" / "mini-imagenet"), "out", "--format", "mini-imagenet", *words]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [sum(record["counts"][part]) for part in ("train", "val", "test")] == [23_192, 6_000, 6_000]
    assert record["counts"]["train"] == list(json.loads(counts.read_text()).values())
    assert Path("out/cls_label.json").read_bytes() == counts.read_bytes()
    assert Path("out/train.csv").read_bytes().startswith(b"img,label\r\ndata/images/n")
    assert str(shared) not in Path("out/card.json").read_text()


def test_cifar_by_name_is_built_with_the_fields_draw_and_a_twin(own_place, capsys):
    """A small archive in CIFAR-100's binary form: coarse label, fine label, 3,072 bytes."""
    rng = np.random.default_rng(0)
    folder = own_place / "archives" / "cifar-100-binary"
    folder.mkdir(parents=True)
    for name, images in (("train", 20), ("test", 2)):
        records = [bytes([fine // 5, fine]) + rng.bytes(3072) for fine in np.tile(np.arange(100), images)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    (folder / "fine_label_names.txt").write_text("".join(f"fine{n}\n" for n in range(100)))
    (folder / "coarse_label_names.txt").write_text("".join(f"coarse{n}\n" for n in range(20)))
    words = ["build", "cifar100", "lt", "--root", "archives", "--tail", "exponential:20", "--twin", "even", "--layout", "parquet", "--json"]
    assert run(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["counts"]["train"][0], record["counts"]["train"][-1]) == (20, 1)
    assert sum(record["counts"]["train"]) == sum(record["twin"]["counts"]["train"])
    assert record["counts"]["test"] == record["twin"]["counts"]["test"] == [2] * 100
    assert any("the field's own draw" in line for line in record["twin"]["provenance"])
    assert read("lt").identity == record["identity"]
