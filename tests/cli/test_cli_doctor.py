"""`tailwise doctor`: what is here, what is under way, and a store that is cleaned without a loss to anybody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailwise.cli import run
from tailwise.store import Store
from tailwise.study.cleaning import things
from tailwise.study.live import Needs, announce

FAST = ["digits", "--recipe", "demo", "--set", "recipe.epochs=2", "--json"]
LONG = ["digits", "--split", "20/10/70", "--recipe", "demo", "--set", "recipe.epochs=60", "--method", "ce", "--seed", "7", "--out", "long"]
KEY = "a" * 32


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def said(capsys: pytest.CaptureFixture, *words: str) -> str:
    capsys.readouterr()
    assert run(["doctor", *words]) == 0
    return capsys.readouterr().out


def found(capsys: pytest.CaptureFixture, *words: str) -> dict:
    return json.loads(said(capsys, *words, "--json"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.parent.name != "locks"}


def test_it_reads_in_eighty_columns(capsys):
    assert run(["train", *FAST]) == 0
    lines = said(capsys).splitlines()
    places = [line for line in lines if str(Path.cwd()) in line]
    assert all(len(line) <= 80 for line in lines if line not in places)
    for word in (
        "Python",
        "torch",
        "device: ",
        "cores",
        "processes",
        "store: ",
        "limit",
        "can be written",
        "states:",
        "under way: nothing",
    ):
        assert any(word in line for line in lines), word


def test_it_says_what_runs_here(capsys):
    assert run(["train", *FAST]) == 0
    here = found(capsys)
    assert here["cores"] >= 1
    assert isinstance(here["gloo"], bool)
    assert here["holds"]
    assert (here["store_writable"], here["store_refusal"]) == (True, None)
    assert here["store_things"]["states"] >= 1
    assert here["store_bytes"]["states"] > 1000
    assert here["clean_would_free_bytes"] == sum(here["store_bytes"].values())
    assert here["live"] == here["leftovers"] == []


@pytest.mark.parametrize(
    ("system", "release", "expected"),
    [
        ("Linux", "6.8.0", "Linux: all"),
        ("Linux", "5.15.90.1-microsoft-standard-WSL2", "Linux in WSL: all"),
        ("Darwin", "24.1.0", "macOS: all of tailwise runs here; --device mps is tried only, in float32"),
        ("Windows", "11", "run tailwise inside WSL"),
        ("FreeBSD", "14", "untried"),
    ],
)
def test_it_says_what_holds_on_each_platform(system, release, expected):
    from tailwise.cli.doctor import holds

    assert expected in " ".join(holds(system, release, has_mps=True, has_gloo=True))
    assert "no gloo" in " ".join(holds(system, release, has_mps=True, has_gloo=False))


def test_an_empty_place_and_one_that_cannot_be_written_are_said(capsys, monkeypatch, own_place):
    assert "nothing to clean" in said(capsys, "--clean", "--yes")
    assert found(capsys)["store_bytes"] == {}
    assert not (own_place / "store").exists()
    monkeypatch.setenv("TAILWISE_STORE", "/proc/nowhere")
    assert "cannot be written" in said(capsys)
    (own_place / "file").touch()
    monkeypatch.setenv("TAILWISE_STORE", str(own_place / "file"))
    assert "is a file" in found(capsys)["store_refusal"]


def test_yes_without_clean_is_refused(capsys):
    assert run(["doctor", "--yes"]) == 2
    assert "doctor --clean --yes" in capsys.readouterr().err


def test_clean_lists_and_only_yes_deletes(capsys, own_place):
    assert run(["train", *FAST]) == 0
    before, size = contents(own_place / "store"), found(capsys)["store_bytes"]
    listed = said(capsys, "--clean")
    assert "nothing was deleted" in listed
    assert "states:" in listed
    assert found(capsys, "--clean")["freed_bytes"] is None
    assert contents(own_place / "store") == before
    record = found(capsys, "--clean", "--yes")
    assert record["freed_bytes"] == record["would_free_bytes"] == sum(size.values())
    assert contents(own_place / "store") == {}
    assert "nothing to clean" in said(capsys, "--clean", "--yes")
    run_folder = next((own_place / "tailwise-out").iterdir())
    assert run(["report", str(run_folder), "--json"]) == 0  # a result needs no store
    capsys.readouterr()
    assert run(["train", *FAST]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == f"tailwise-out/{run_folder.name}"


def killed_run(own_place: Path) -> None:
    """Train in a real process, as a user does, until something of it is stored, and kill it."""
    before = set(own_place.glob("store/states/*/0*"))
    command = [sys.executable, "-m", "tailwise", "train", *LONG]
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not set(own_place.glob("store/states/*/0*")) - before:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -9
    assert not Path("long").exists()


@pytest.mark.kill
def test_what_a_killed_run_needs_is_kept_and_it_goes_on(capsys, own_place):
    """Cleaning deletes what a finished run left and keeps what a killed one needs; the command that doctor prints goes on with it."""
    assert run(["train", *FAST]) == 0
    finished = {thing.key for thing in things(Store())}
    killed_run(own_place)
    (live,) = found(capsys)["live"]
    assert (live["command"], live["folder"]) == ("train", str(own_place / "long"))
    assert live["words"] == ["tailwise", "train", *LONG]
    assert live["cwd"] == str(own_place)
    assert live["bytes"] > 1000
    assert f"goes on with: cd {own_place} && tailwise train digits" in said(capsys)
    assert found(capsys, "--clean", "--yes")["freed_bytes"] > 0
    left = {thing.key for thing in things(Store()) if thing.kind == "states"}
    assert left
    assert not left & finished
    assert run([*live["words"][1:], "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert 0 < record["steps_trained"] < record["steps"]
    assert found(capsys)["live"] == []
    assert found(capsys, "--clean", "--yes")["freed_bytes"] > 0
    assert contents(own_place / "store") == {}


def test_what_records_say_is_shown_and_does_nothing_to_the_terminal(capsys, own_place, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tailwise", "train", "\x1b]0;owned\x07", "$(rm -rf .)", "[bold]"])
    announce(Store(), Path("a\x1b[2J\nb"), "train", "k", Needs(frozenset({KEY})))
    shown = said(capsys)
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "a\\x1b[2J\\nb" in shown
    assert "'$(rm -rf .)'" in shown
    assert "[bold]" in shown
    assert found(capsys)["live"][0]["words"][2] == "\x1b]0;owned\x07"


def test_damaged_announcements_are_said_and_removed(capsys, own_place):
    announce(Store(), Path("run"), "train", "k", Needs(frozenset({KEY})))
    (file,) = (own_place / "store" / "live").iterdir()
    file.write_text("{")
    assert found(capsys)["damaged_announcements"] == [str(file)]
    assert "1 announcements are damaged and ignored" in said(capsys)
    said(capsys, "--clean", "--yes")
    assert not file.exists()


def test_nothing_is_cleaned_but_what_is_ours(capsys, own_place, monkeypatch):
    """Somebody keeps the store in a folder with files of theirs, under the very names that we use."""
    assert run(["train", *FAST]) == 0
    mine = {
        f"{kind}/{name}"
        for kind in ("states", "pixels", "features", "files", "scores", "live", "hashes", "photos", ".git")
        for name in ("letter.txt", "2024/letter.txt", f"{KEY[:-1]}/letter.txt", f"{KEY}0/letter.txt", "notes.json", ".pending", "HEAD")
    }
    for name in mine:
        (own_place / "store" / name).parent.mkdir(parents=True, exist_ok=True)
        (own_place / "store" / name).write_text("mine")
    (own_place / "elsewhere").mkdir()
    (own_place / "elsewhere" / "letter.txt").write_text("mine")
    (own_place / "store" / "pixels" / KEY).symlink_to(own_place / "elsewhere")
    assert found(capsys, "--clean", "--yes")["freed_bytes"] > 0
    assert {name for name, data in contents(own_place / "store").items() if data == b"mine"} >= mine
    assert (own_place / "elsewhere" / "letter.txt").exists()


def test_leftovers_of_killed_writers_are_listed_and_old_ones_removed(capsys, own_place):
    for name, days in (("states/.pending-x-host-999999-00000000", 2), ("pixels/.pending-y-host-999999-00000000", 0)):
        place = own_place / "store" / name
        place.mkdir(parents=True)
        (place / "half").write_bytes(b"x" * 100)
        for path in (place / "half", place):
            os.utime(path, (time.time() - days * 86400,) * 2)
    (own_place / "tailwise-out" / "run").mkdir(parents=True)
    (own_place / "tailwise-out" / "run.replaced-12345678").mkdir()
    (own_place / "tailwise-out" / ".pending-run-host-1-00000000").mkdir()
    (own_place / "tailwise-out" / "run.of-mine").mkdir()
    listed = {Path(left["place"]).name: left["is_dead"] for left in found(capsys)["leftovers"]}
    assert listed == {
        ".pending-x-host-999999-00000000": True,
        ".pending-y-host-999999-00000000": False,
        "run.replaced-12345678": False,
        ".pending-run-host-1-00000000": False,
    }
    assert found(capsys, "--clean", "--yes")["freed_bytes"] == 100
    assert [p.name for p in (own_place / "store").glob("*/.pending-*")] == [".pending-y-host-999999-00000000"]
    assert (own_place / "tailwise-out" / "run.replaced-12345678").is_dir()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="another user can be taken on by root alone")
def test_a_store_of_another_user_is_said_and_not_half_cleaned(capsys, own_place):
    assert run(["train", *FAST]) == 0
    before = contents(own_place / "store")
    program = (
        "import os, sys\n"
        "from tailwise.cli import run\nrun(['doctor', '--clean'])\nos.setuid(65534)\n"
        "sys.exit(run(['doctor', '--clean', '--yes']))"
    )
    for place in (*own_place.parents, own_place, *own_place.rglob("*")):
        if place.stat().st_mode & 0o055 != 0o055:
            place.chmod(place.stat().st_mode | 0o055)
    environment = {**os.environ, "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(own_place / "store") == before


def test_a_study_that_was_deleted_is_no_longer_kept(capsys, own_place):
    words = ["compare", "digits", "--recipe", "demo", "--set", "recipe.epochs=1", "--methods", "ce", "--seeds", "1", "--out", "s", "--json"]
    assert run(words) == 0
    (own_place / "s" / "report.json").unlink()
    (own_place / "s" / "runs" / "ce-seed0" / "run.json").unlink()
    key = json.loads((own_place / "s" / "study.json").read_text())["key"]
    lines = [thing.key for thing in things(Store()) if thing.kind == "states"]
    announce(Store(), Path("s"), "compare", key, Needs(frozenset(lines)))
    assert [live["folder"] for live in found(capsys)["live"]] == [str(own_place / "s")]
    assert "states" not in found(capsys, "--clean")["things"]
    shutil.rmtree("s")
    assert found(capsys)["live"] == []
    assert "states" in found(capsys, "--clean")["things"]
