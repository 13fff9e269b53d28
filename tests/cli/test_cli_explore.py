"""`tailwise explore` as a user types it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.cli import run
from tailwise.cli.explore import bar

DOCS = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
BLOCKS = "▏▎▍▌▋▊▉█"


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return tmp_path


def paint(folder: str, counts: dict[str, int], mode: str = "RGB") -> str:
    for name, count in counts.items():
        (Path(folder) / name).mkdir(parents=True)
        for i in range(count):
            Image.new(mode, (48, 44)).save(Path(folder) / name / f"{i}.png")
    return folder


def explored(capsys: pytest.CaptureFixture, *words: str) -> str:
    assert run(["explore", *words]) == 0
    return capsys.readouterr().out


def commands(text: str) -> list[list[str]]:
    """The commands that were advised, as a shell would take them."""
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("tailwise ")]


def test_classes_of_one_three_and_five_images(capsys):
    text = explored(capsys, paint("pets", {"ant": 1, "bee": 3, "cow": 5}))
    assert "pets: 9 images of 3 classes" in text
    assert "ratio 5 (5 : 1 training images)" in text
    assert "2 of 3 classes have fewer than 5 images: ant, bee." in text
    assert "PNG 9; colour 9" in text
    assert "all 48 x 44" in text
    assert "commands that train would make train 7, val 1, test 1" in " ".join(text.split())


def test_fifty_grey_images(capsys):
    text = explored(capsys, paint("grey", {"a": 25, "b": 25}, "L"))
    assert "PNG 50; grey 50" in text
    assert "grey, the others coloured" not in text
    assert "The imbalance ratio is 1." in text


def test_nothing_is_split_thinned_or_written(own_place, capsys):
    paint("pets", {"ant": 30, "bee": 9})
    before = sorted(own_place.rglob("*"))
    assert "train 39 (100 %)" in explored(capsys, "pets")
    assert sorted(own_place.rglob("*")) == before


def test_words_split_and_thin_as_in_training(capsys):
    found = json.loads(explored(capsys, "digits", "--split", "50/10/40", "--tail", "exponential:50", "--json"))
    assert found["splits"] == {"train": 239, "val": 177, "test": 719}  # the README's demonstration
    assert found["imbalance_ratio"] == 87
    only_tail = json.loads(explored(capsys, "digits", "--tail", "exponential:50", "--json"))
    assert set(only_tail["splits"]) == {"train", "val", "test"}
    assert json.loads(explored(capsys, "digits", "--groups", "counts", "--json"))["groups"]["scheme"] == "counts"


def test_empty_classes_are_told_or_dropped(own_place, capsys):
    for split, counts in {"train": {"ant": 30, "bee": 0}, "test": {"ant": 9, "bee": 9}}.items():
        paint(f"pets/{split}", counts)
    paint("pets/train/cow", {"x": 25})
    text = explored(capsys, "pets")
    assert "1 of 3 classes has no training images: bee." in text
    assert "1 empty class is left out" in text
    dropped = json.loads(explored(capsys, "pets", "--empty-classes", "drop", "--json"))
    assert [row["name"] for row in dropped["classes"]] == ["ant", "cow"]
    assert dropped["empty_classes"] == []
    kept = commands(explored(capsys, "pets", "--empty-classes", "keep"))
    assert all(command.count("--empty-classes") <= 1 for command in kept)


def test_advised_commands_name_the_set_and_its_options_and_can_be_parsed(capsys):
    from tailwise.cli import make_app

    paint("my photos", {"ant": 30, "bee": 7, "cow": 3})
    advised = commands(explored(capsys, "my photos", "--split", "60/20/20", "--split-seed", "3"))
    assert len(advised) >= 3
    for command in advised:
        assert command[2:7] == ["my photos", "--split", "60/20/20", "--split-seed", "3"]
        make_app().parse_args(command[1:], print_error=False, exit_on_error=False)


@pytest.mark.parametrize("width", [80, 120])
def test_every_line_but_commands_and_rules_fits_the_terminal(own_place, width):
    paint("many", {f"a class with quite a long name {c:03d}": max(1, 60 - 2 * c) for c in range(45)})
    code = "from tailwise.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "explore", "many"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": str(width), "PATH": "/usr/bin", "LANG": "C.UTF-8"},
    )
    for line in done.stdout.splitlines():
        is_free = line.startswith(("  tailwise ", "  read ", "Tables will show", "By counts"))
        assert is_free or len(line.rstrip()) <= width, line
    assert sum(line.startswith("class") and line.rstrip()[-1] in BLOCKS for line in done.stdout.splitlines()) == 20
    assert "classes 1 to 3" in done.stdout
    assert "\x1b" not in done.stdout  # no colours into a pipe


def test_bars_grow_with_the_counts(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = explored(capsys, paint("pets", {"ant": 40, "bee": 20, "cow": 1, "dog": 10}))
    drawn = [line.split() for line in text.splitlines() if line.strip() and line.rstrip()[-1] in BLOCKS]
    lengths = {name: len(blocks) for name, _, blocks in drawn}
    assert list(lengths) == ["ant", "bee", "dog", "cow"]
    assert lengths["ant"] == 2 * lengths["bee"] == 4 * lengths["dog"]


@pytest.mark.parametrize(("share", "width", "drawn"), [(1, 4, "████"), (0.5, 4, "██"), (0.0001, 4, "▏"), (0, 4, ""), (7 / 8, 1, "▉")])
def test_a_bar_has_eighths_and_is_never_invisible(share, width, drawn):
    assert bar(share, width) == drawn


def test_features_and_arrays(capsys):
    np.savez("f.npz", features=np.zeros((30, 6), np.float32), labels=[0] * 20 + [1] * 10)
    text = explored(capsys, "f.npz")
    assert "30 rows of features of 2 classes" in text
    assert "30 x 6, float32" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["digit"], "Did you mean 'digits'"),
        (["nosuch/"], "nosuch"),
        (["digits", "--tail", "exp:3"], "exponential:R"),
        (["digits", "--split", "50/10/30"], "adds up to 90"),
        (["digits", "--root", "x"], "root"),
        (["digits", "--groups", "halves"], "--groups"),
    ],
)
def test_bad_words_get_one_line(capsys, words, expected):
    assert run(["explore", *words]) == 2
    said = capsys.readouterr()
    assert expected in said.err
    assert said.err.strip().count("\n") == 0
    assert said.out == ""


def test_torch_is_not_needed(own_place):
    np.savez("f.npz", features=np.zeros((30, 6), np.float32), labels=[0] * 20 + [1] * 10)
    code = "import sys; from tailwise.cli import run; sys.exit(run(['explore', 'f.npz']) or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_every_key_is_documented(capsys):
    found = json.loads(explored(capsys, paint("pets", {"ant": 1, "bee": 3, "cow": 5}), "--json"))
    records = [
        found,
        found["classes"][0],
        found["groups"],
        found["groups"]["groups"]["few"],
        found["curve"][0],
        found["files"],
        found["files"]["width"],
        found["advice"][0],
        *json.loads(explored(capsys, "digits", "--json"))["arrays"].values(),
    ]
    section = DOCS.split("## What a set is")[1].split("\n## ")[0]
    assert {key for record in records for key in record if key != "schema" and f"`{key}`" not in section} == set()
