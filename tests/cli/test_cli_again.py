"""Running a command again: it continues or is already done; what is somebody else's stays, and a killed one loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from photos import paint
from tailwise.cli import run
from tailwise.data import read
from tailwise.errors import BadData

FAST = ["--recipe", "demo", "--set", "recipe.epochs=1", "--set", "recipe.second.epochs=1"]


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def logits(own_place: Path) -> Path:
    np.save("logits.npy", np.random.default_rng(0).normal(size=(30, 3)))
    Path("counts.json").write_text("[90, 20, 3]")
    return own_place / "logits.npy"


def refused(capsys: pytest.CaptureFixture, *words: str) -> str:
    capsys.readouterr()
    assert run(list(words)) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("tailwise: ")
    assert "\n" not in said
    return said


def everything(place: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of a file, or of all files of a folder."""
    files = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


# --- already done -----------------------------------------------------------------------------------------------------

WRITERS = {
    "build": (["build", "photos", "out", "--split", "60/0/40"], "out"),
    "features": (["features", "photos", "--size", "32", "--out", "out"], "out"),
    "adjust": (["adjust", "logits.npy", "--counts", "counts.json", "--out", "out.npy"], "out.npy"),
    "train": (["train", "digits", *FAST, "--out", "out"], "out"),
    "compare": (["compare", "digits", *FAST, "--methods", "ce", "--seeds", "1", "--out", "out"], "out"),
}


@pytest.mark.parametrize("words", [[], ["--force"]])
@pytest.mark.parametrize("name", WRITERS)
def test_the_same_command_on_its_own_output_is_already_done(logits, capsys, name, words):
    paint(Path("photos"), {"ant": 5, "bee": 3})
    command, out = WRITERS[name]
    assert run([*command, *words]) == 0
    before = everything(Path(out))
    capsys.readouterr()
    assert run([*command, *words]) == 0
    assert "already done" in capsys.readouterr().out
    assert everything(Path(out)) == before


@pytest.mark.parametrize("name", WRITERS)
def test_what_another_command_or_somebody_made_is_refused_even_with_force(logits, capsys, name):
    paint(Path("photos"), {"ant": 5, "bee": 3})
    command, out = WRITERS[name]
    for other in {"build", "train", "adjust"} - {name}:
        other_command, place = WRITERS[other]
        assert run(other_command) == 0
        Path(place).rename(Path(out)) if place != out else None
        before = everything(Path(out))
        for force in ([], ["--force"]):
            refused(capsys, *command, *force)
        assert everything(Path(out)) == before
        Path(out).rename(f"{other}.done")
    Path("holiday").mkdir()
    Path("holiday/beach.jpg").write_text("mine")
    Path(out).symlink_to("holiday")
    for force in ([], ["--force"]):
        refused(capsys, *command, *force)
    assert Path(out).is_symlink()
    assert os.listdir("holiday") == ["beach.jpg"]


def test_commands_that_write_nothing_leave_nothing(logits, capsys):
    paint(Path("photos"), {"ant": 9, "bee": 9})
    assert run(["train", "photos", *FAST, "--set", "recipe.image_size=8", "--net", "resnet8", "--out", "a"]) == 0
    before = everything(Path.cwd())
    for words in (["explore", "photos"], ["report", "a"], ["predict", "a", "photos/ant"], ["methods"], ["doctor"]):
        for _ in range(2):
            assert run(words) == 0
    kept = {name: found for name, found in everything(Path.cwd()).items() if "/store/" not in name}
    assert kept == {name: found for name, found in before.items() if "/store/" not in name}


# --- features ---------------------------------------------------------------------------------------------------------


def test_features_of_another_size_are_refused_and_forced_and_the_old_ones_are_gone(capsys):
    paint(Path("photos"), {"ant": 5, "bee": 3})
    assert run(["features", "photos", "--size", "32", "--out", "out"]) == 0
    other = ["features", "photos", "--size", "40", "--out", "out"]
    assert "other images, or of another network" in refused(capsys, *other)
    Path("out/notes.txt").write_text("mine")
    assert "notes.txt" in refused(capsys, *other, "--force")
    Path("out/notes.txt").unlink()
    assert run([*other, "--force"]) == 0
    assert json.loads(Path("out/features.json").read_text())["size"] == 40
    assert sorted(p.name for p in Path().iterdir()) == ["out", "photos", "store"]


@pytest.mark.parametrize("file", ["features.npy", "manifest.parquet", "card.json", "features.json"])
@pytest.mark.parametrize("damage", ["change", "delete"])
def test_damaged_features_are_not_already_done(capsys, file, damage):
    paint(Path("photos"), {"ant": 5, "bee": 3})
    command = ["features", "photos", "--size", "32", "--out", "out"]
    assert run(command) == 0
    whole = {name: data for name, (data, _) in everything(Path("out")).items()}
    data = (Path("out") / file).read_bytes()
    if damage == "delete":
        (Path("out") / file).unlink()
    else:
        flipped = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        (Path("out") / file).write_bytes(data[:-1] if file == "manifest.parquet" else flipped)
    said = refused(capsys, *command)
    assert "damaged" in said or "no features of tailwise" in said
    if "--force" in said and file not in ("manifest.parquet", "features.json"):
        assert run([*command, "--force"]) == 0
        assert {name: data for name, (data, _) in everything(Path("out")).items()} == whole


# --- adjust -----------------------------------------------------------------------------------------------------------


def test_adjust_never_writes_over_what_it_reads(logits, capsys):
    np.save("counts.npy", [90, 20, 3])
    Path("again.npy").hardlink_to("logits.npy")
    before = everything(Path.cwd())
    for out, counts in (("logits.npy", "counts.json"), ("again.npy", "counts.json"), ("counts.npy", "counts.npy")):
        for force in ([], ["--force"]):
            refused(capsys, "adjust", "logits.npy", "--counts", counts, "--out", out, *force)
    assert everything(Path.cwd()) == before


def test_a_killed_adjust_leaves_the_old_file_or_the_new_one(logits, capsys):
    words = ["adjust", "logits.npy", "--counts", "counts.json", "--out", "out.npy"]
    assert run([*words, "--tau", "0"]) == 0
    old = Path("out.npy").read_bytes()
    for step in ("fsync", "replace"):
        program = f"import os, signal\nos.{step} = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\nfrom tailwise.cli import main\nmain()"
        assert subprocess.run([sys.executable, "-c", program, *words, "--force"], stdout=subprocess.DEVNULL).returncode == -9
        assert Path("out.npy").read_bytes() == old
    assert run([*words, "--force"]) == 0
    assert Path("out.npy").read_bytes() != old


# --- killed on the way ------------------------------------------------------------------------------------------------


def killed(words: list[str], seconds: float) -> bool:
    """Run a command as a user does, and kill it after some seconds; False where it was through by then."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-m", "tailwise", *words], env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.returncode == -9


# Killed before a call that changes something on the disk: each place of the way is met, which a random moment seldom does.
AT_CALL = """
import os, signal, sys
names, left = sys.argv.pop(1).split(","), [int(sys.argv.pop(1))]
def counted(real):
    def call(*words, **named):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **named)
    return call
import tailwise.cli, polars, numpy, torch, shutil
for name in names:
    room = shutil if hasattr(shutil, name) else os
    setattr(room, name, counted(getattr(room, name)))
tailwise.cli.main()
"""
CHANGES = "rename,replace,mkdir,fsync,unlink,rmdir,copyfile"


def killed_at(words: list[str], call: int, names: str = CHANGES) -> bool:
    """Run a command and kill it before its n-th call of some functions; False where there are fewer."""
    done = subprocess.run([sys.executable, "-c", AT_CALL, names, str(call), *words], capture_output=True, text=True)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


def sets_beside(place: Path) -> list[Path]:
    """The whole built folders in a folder, under whatever name."""
    return [card.parent for card in place.glob("*/card.json") if is_whole(card.parent, place / "hashes")]


def is_whole(folder: Path, hashes: Path) -> bool:
    """Whether a built folder is whole; what is half-written has a name that says so."""
    if folder.name.startswith(".pending-"):
        with contextlib.suppress(BadData):
            read(folder).with_content(hashes)
            return True
        return False
    read(folder).with_content(hashes)
    return True


def built_and_killed(own_place: Path, capsys: pytest.CaptureFixture, call: int) -> bool:
    """Build a folder and kill that at a call; nothing stands under its name, or the whole, and the same command ends it."""
    place = own_place / f"build-{call}"
    place.mkdir()
    os.chdir(place)
    words = ["build", "../photos", "out"]
    was_killed = killed_at(words, call)
    assert not Path("out").exists() or Path("out").absolute() in sets_beside(place)
    capsys.readouterr()
    assert run(words) == 0
    assert len(read("out").rows) == 8
    assert run(words) == 0
    assert "already done" in capsys.readouterr().out
    return was_killed


def replaced_and_killed(own_place: Path, capsys: pytest.CaptureFixture, call: int) -> bool:
    """Replace a built folder and kill that at a call; the old one or the new one is there whole, and the same command ends it."""
    place = own_place / f"replacing-{call}"
    place.mkdir()
    os.chdir(place)
    assert run(["build", "../photos", "out"]) == 0
    both = {read("out").identity, read("../fewer-built").identity}
    words = ["build", "../fewer", "out", "--force"]
    was_killed = killed_at(words, call)
    whole = {read(found).identity for found in sets_beside(place)}
    assert whole & both
    if Path("out").exists():
        assert read("out").identity in whole
    capsys.readouterr()
    assert run(words) == 0, capsys.readouterr().err
    assert read("out").identity == read("../fewer-built").identity
    assert [p.name for p in place.iterdir() if p.name.startswith("out")] == ["out"]
    return was_killed


@pytest.fixture
def sources(own_place: Path) -> None:
    paint(Path("photos"), {"ant": 5, "bee": 3})
    paint(Path("fewer"), {"ant": 4, "bee": 2})
    assert run(["build", "fewer", "fewer-built"]) == 0


@pytest.mark.kill
def test_the_old_folder_has_its_name_again_whatever_is_asked_next(sources, own_place, capsys):
    """Killed between the two renames, nothing stands under the name; the next command puts the old one back before it looks."""
    assert run(["build", "photos", "out"]) == 0
    old = read("out").identity
    assert killed_at(["build", "fewer", "out", "--force"], 1, "rename")
    assert not Path("out").exists()
    capsys.readouterr()
    assert run(["doctor"]) == 0
    assert f"  {own_place / 'out.replaced-'}" in capsys.readouterr().out
    assert "another set" in refused(capsys, "build", "fewer", "out")
    assert read("out").identity == old
    assert run(["build", "photos", "out"]) == 0
    assert "already done" in capsys.readouterr().out
    assert killed_at(["build", "fewer", "out", "--force"], 2, "rename")  # the new one stands, and the old one aside
    assert len([p.name for p in own_place.iterdir() if p.name.startswith("out")]) == 2
    assert run(["build", "fewer", "out", "--force"]) == 0
    assert [p.name for p in own_place.iterdir() if p.name.startswith("out")] == ["out"]


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize("kill", [built_and_killed, replaced_and_killed])
def test_killed_before_any_call_nothing_is_lost(sources, own_place, capsys, kill):
    call = 0
    while kill(own_place, capsys, call):
        call += 1
    assert call > 20


@pytest.mark.kill
@pytest.mark.slow
def test_a_replacing_killed_at_random_moments_loses_nothing(own_place, capsys):
    paint(Path("photos"), {"ant": 500, "bee": 300}, size=8)
    paint(Path("fewer"), {"ant": 400, "bee": 200}, size=8)
    draw, kills = random.Random(0), 0
    assert run(["build", "photos", "out"]) == 0
    begun = time.perf_counter()
    assert not killed(["build", "fewer", "trial"], 600)
    takes = time.perf_counter() - begun
    for turn in range(40):
        source = "fewer" if turn % 2 == 0 else "photos"
        kills += killed(["build", source, "out", "--force"], takes * draw.uniform(0.5, 1.2))
        assert sets_beside(own_place)
        if Path("out").exists():
            assert len(read("out").rows) in (600, 800)
    assert kills >= 10
    assert run(["build", "photos", "out", "--force"]) == 0
    assert len(read("out").rows) == 800
