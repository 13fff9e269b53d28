"""Runs and studies that stand are whole, or the same command says what is wrong; --force deletes nothing of anybody else's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tailwise.cli import run

FAST = ["digits", "--recipe", "demo", "--tail", "exponential:20", "--set", "recipe.epochs=1"]
TRAIN = ["train", *FAST, "--out", "run"]
COMPARE = ["compare", *FAST, "--methods", "ce,la", "--seeds", "1", "--out", "study"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return tmp_path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert run(list(words)) == 2
    said = capsys.readouterr()
    assert "already done" not in said.out
    assert said.err.count("\n") == 1
    return said.err


def test_a_damaged_run_is_not_already_done_and_the_remedy_works(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(TRAIN) == 0
    whole = {path.name: path.read_bytes() for path in Path("run").iterdir() if path.is_file() and path.name != "run.json"}
    for name, damage in (("weights.safetensors", flip), ("log.jsonl", Path.unlink), ("predictions/split-test.safetensors", flip)):
        damage(Path("run") / name)
        said = refused(capsys, *TRAIN)
        assert name.rpartition("/")[2] in said
        assert "delete run" in said
        shutil.rmtree("run")
        assert run(TRAIN) == 0
        assert "trained 0 of 14 steps" in capsys.readouterr().out
        assert {path.name: path.read_bytes() for path in Path("run").iterdir() if path.name in whole} == whole


def test_a_changed_number_in_a_run_s_record_is_found(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(TRAIN) == 0
    record = Path("run/run.json")
    record.write_text(record.read_text().replace('"steps": 14', '"steps": 13'))
    assert "run.json is damaged" in refused(capsys, *TRAIN)
    assert "run.json is damaged" in refused(capsys, "report", "run")


def test_force_deletes_nothing_that_was_added_to_a_run_and_replaces_no_link(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(TRAIN) == 0
    other = [*TRAIN, "--seed", "1", "--force"]
    Path("run/thoughts.md").write_text("mine")
    Path("run/predictions/mine.csv").write_text("mine")
    said = refused(capsys, *other)
    assert "2 files that tailwise did not make" in said
    assert "thoughts.md" in said
    Path("run/thoughts.md").unlink()
    Path("run/predictions/mine.csv").unlink()
    Path("run").rename("elsewhere")
    Path("run").symlink_to("elsewhere")
    assert "run is a link" in refused(capsys, *other)
    Path("run").unlink()
    Path("elsewhere").rename("run")
    assert run(other) == 0
    assert json.loads(Path("run/run.json").read_text())["seed"] == 1
    assert sorted(path.name for path in place.iterdir()) == ["run", "store"]


def test_a_damaged_report_is_written_again_and_a_damaged_run_of_a_study_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(COMPARE) == 0
    names = ("report.json", "report.md", "report.csv")
    whole = {name: Path("study", name).read_bytes() for name in names}
    for name in names:
        flip(Path("study", name))
        capsys.readouterr()
        assert run(COMPARE) == 0
        assert f"study/{name} is missing or not what it was, and is written again" in capsys.readouterr().err
        assert {name: Path("study", name).read_bytes() for name in names} == whole
    assert run(COMPARE) == 0
    assert "already done" in capsys.readouterr().out
    flip(Path("study/runs/la-seed0/weights.safetensors"))
    assert "delete study/runs/la-seed0" in refused(capsys, *COMPARE)
    Path("study/report.json").unlink()
    assert "delete study/runs/la-seed0" in refused(capsys, *COMPARE)


def test_force_deletes_nothing_that_was_added_to_a_study(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(COMPARE) == 0
    other = [*COMPARE, "--split-seed", "1", "--force"]
    for added in ("study/thoughts.md", "study/runs/ce-seed0/mine.txt", "study/runs/mine/run.json"):
        Path(added).parent.mkdir(exist_ok=True)
        Path(added).write_text("mine")
        assert added.removeprefix("study/") in refused(capsys, *other)
        Path(added).unlink()
    Path("study/runs/mine").rmdir()
    Path("study/runs/la-seed0/run.json").unlink()  # no run any more, and what lies there is anybody's
    assert "runs/la-seed0/log.jsonl" in refused(capsys, *other)
    shutil.rmtree("study/runs/la-seed0")
    assert run(other) == 0


def test_what_a_finished_study_replaced_goes_when_the_same_command_is_given_again(place: Path) -> None:
    assert run(COMPARE) == 0
    shutil.copytree("study", "old")
    other = [*COMPARE, "--split-seed", "1", "--force"]
    assert run(other) == 0
    key = json.loads(Path("study/study.json").read_text())["key"]
    Path("old").rename(f"study.old-{key[:8]}-1")  # killed after the report stood, before the old study went
    assert run(other) == 0
    assert sorted(path.name for path in place.iterdir()) == ["store", "study"]
