"""`--processes N`: one command, several processes, one voice; a killed one leaves what the next start goes on from."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tailwise.cli import run

pytestmark = pytest.mark.xdist_group("together, commands")  # what is trained undisturbed is trained once
DATA = ["digits", "--recipe", "demo", "--tail", "exponential:50"]
TRAIN = ["train", *DATA, "--method", "ldam-drw", "--set", "recipe.epochs=60", "--processes", "2"]


def begin(place: Path, *words: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TAILWISE_STORE": str(place / "store")}
    command = [sys.executable, *launcher, "-m", "tailwise", *words]
    return subprocess.Popen(command, cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    said, complained = process.communicate(timeout=300)
    return process.returncode, said, complained


def wait_for(something: Callable[[], object], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not something() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a command has started, first rank first."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
            words = (status.parent / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if int(after_name[1]) == process.pid and "tailwise" in words:
            found.append(int(status.parent.name))
    return sorted(found)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("undisturbed")
    code, said, complained = end(begin(place, *TRAIN, "--out", "run"))
    assert code == 0, complained
    assert said.count("trained 660 of 660 steps") == 1
    assert said.count("run: run") == 1
    assert "on 2 processes" in said
    return place


def test_the_record_says_how_many_and_the_same_command_is_already_done(undisturbed: Path) -> None:
    record = json.loads((undisturbed / "run" / "run.json").read_text())
    assert record["numerics"]["processes"] == "2"
    code, said, _ = end(begin(undisturbed, *TRAIN, "--out", "run"))
    assert code == 0
    assert said.count("already done:") == 1


def test_another_number_of_processes_is_another_run_and_said(undisturbed: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(undisturbed)
    monkeypatch.setenv("TAILWISE_STORE", str(undisturbed / "store"))
    assert run([*TRAIN[:-2], "--out", "run"]) == 2
    assert "on 2 processes" in capsys.readouterr().err
    assert run([*TRAIN[:-2], "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "660 steps, 0 of them stored already" in said
    assert "the store has 660 steps of this run on 2 processes" in " ".join(said.split())


@pytest.mark.kill
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes of a command in /proc")
@pytest.mark.parametrize("which", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_process_leaves_a_state_that_both_go_on_from(undisturbed: Path, tmp_path: Path, which: int) -> None:
    process = begin(tmp_path, *TRAIN, "--out", "run")
    wait_for(lambda: list(tmp_path.glob("store/states/*/000000528")), process)
    both = workers(process)
    assert len(both) == 2
    os.kill(both[which], signal.SIGKILL)
    code, _, complained = end(process)
    assert code == 3
    (line,) = [line for line in complained.splitlines() if line.startswith("tailwise: ")]
    assert "was killed (signal 9); what was stored is kept, go on with: " in line
    assert shlex.split(line.partition("go on with: ")[2]) == ["tailwise", *TRAIN, "--out", "run"]
    assert not (tmp_path / "run").exists()
    code, said, complained = end(begin(tmp_path, *TRAIN, "--out", "run"))
    assert code == 0, complained
    assert "trained 132 of 660 steps" in said
    for file in ("weights.safetensors", "predictions/split-test.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (undisturbed / "run" / file).read_bytes()


@pytest.mark.kill
def test_an_interrupt_reaches_all_and_the_command_that_goes_on_is_named(tmp_path: Path) -> None:
    process = begin(tmp_path, *TRAIN, "--out", "run")
    wait_for(lambda: list(tmp_path.glob("store/locks/line-*")), process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    code, _, complained = end(process)
    assert code == 130
    assert complained.count("interrupted; step ") == 1
    assert "go on with: tailwise train digits" in complained
    assert list(tmp_path.glob("store/states/*/[0-9]*"))


def test_a_comparison_is_shared_too(tmp_path: Path) -> None:
    words = [
        "compare",
        *DATA,
        "--methods",
        "ce,la,ldam",
        "--seeds",
        "1",
        "--set",
        "recipe.epochs=2",
        "--processes",
        "2",
        "--out",
        "study",
        "--json",
    ]
    code, said, complained = end(begin(tmp_path, *words))
    assert code == 0, complained
    assert json.loads(said)["saving"]["steps_shared"] == 44
    assert {row: len(list((tmp_path / "study" / "runs").glob(f"{row}-seed0"))) for row in ("ce", "la", "ldam")} == {
        "ce": 1,
        "la": 1,
        "ldam": 1,
    }


def test_torchrun_by_hand_does_the_same_and_one_process_speaks(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TAILWISE_STORE": str(tmp_path / "store")}
    words = ["train", *DATA, "--set", "recipe.epochs=2", "--out", "run"]
    done = subprocess.run(
        [sys.executable, *launcher, "tailwise", *words], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained 22 of 22 steps") == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["numerics"]["processes"] == "2"
    listed = subprocess.run(
        [sys.executable, *launcher, "tailwise", "recipes"], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert listed.stdout.count("prints every value with its source") == 1
    refused = subprocess.run(
        [sys.executable, *launcher, "tailwise", "train", "nowhere"],
        cwd=tmp_path,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert refused.stderr.count("tailwise: no data set or path is called 'nowhere'") == 1


FUSSY = """
from dataclasses import dataclass

from tailwise import processes
from tailwise.errors import BadValue
from tailwise.method import Card, Method, method
from tailwise.methods.ce import CE


@method(Card(title="one process does not like it", family="baseline"))
@dataclass(frozen=True)
class Fussy(CE):
    def stages(self, about):
        if processes.rank() == 1:
            raise BadValue("this process has seen enough")
        yield from super().stages(about)
"""


def test_what_goes_wrong_in_one_process_alone_is_said(tmp_path: Path) -> None:
    (tmp_path / "fussy.py").write_text(FUSSY)
    code, _, complained = end(begin(tmp_path, "train", *DATA, "--method", "./fussy.py", "--processes", "2"))
    assert code == 2
    assert "tailwise: process 1: this process has seen enough" in complained
    assert "Traceback" not in complained


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--gpus", "0"], "--gpus is a whole number from 1, got 0"),
        (["--processes", "0"], "--processes is a whole number from 1, got 0"),
        (["--processes", "2", "--gpus", "2"], "--gpus and --processes exclude each other"),
        (["--processes", "2", "--device", "cuda"], "--processes trains on the CPU, and --device is cuda"),
        (["--gpus", "2", "--device", "cpu"], "--gpus trains on GPUs, and --device is cpu"),
        (["--gpus", "64"], "--gpus 64: this machine has "),
    ],
)
def test_numbers_that_cannot_be_are_refused_in_one_line(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "digits", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert expected in said
