"""Killed, interrupted, stopped: the same command goes on, and ends in the same bytes as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kill.cases import CASES, CRT, EVERYTHING, differing
from kill.children import PATIENCE, Child, Event, Start, children, landing
from photos import paint
from tailwise.store import Store

pytestmark = pytest.mark.kill

KILLS = 12
"""Of each case in the slow lane: above two hundred in all."""

TAILWISE = Path(sys.executable).with_name("tailwise")


@dataclass(frozen=True)
class Undisturbed:
    """A command that nobody disturbed.

    Attributes:
        run: its folder.
        store: its store.
        steps: that it trained.
        places: where it was, in the words of `landing`, at how many events each.
    """

    run: Path
    store: Path
    steps: int
    places: dict[str, int]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, in which each command gets a folder of its own."""
    made = tmp_path_factory.mktemp("kill")
    paint(made / "photos")
    return made


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with children(tmp_path_factory.mktemp("children")) as start:
        yield start


@pytest.fixture(scope="module")
def undisturbed(start: Start, place: Path) -> Callable[[tuple[str, ...]], Undisturbed]:
    """Run a command without a disturbance, once."""
    known: dict[tuple[str, ...], Undisturbed] = {}

    def make(words: tuple[str, ...]) -> Undisturbed:
        if words not in known:
            here = folder(place)
            child = start(*words, cwd=here, TAILWISE_STORE="store")
            assert child.wait() == 0, child.err
            record = read_record(here)
            assert record["steps_trained"] == record["steps"]
            known[words] = Undisturbed(here / "run", here / "store", record["steps"], places_of(child.heard))
        return known[words]

    return make


def places_of(heard: Sequence[Event]) -> dict[str, int]:
    return Counter(landing(heard[: number + 1]) for number in range(len(heard)))


def folder(place: Path) -> Path:
    """Make a folder for a command."""
    made = place / f"{len(list(place.iterdir())):03d}"
    made.mkdir()
    return made


def read_record(here: Path) -> dict[str, Any]:
    return json.loads((here / "run" / "run.json").read_text())


# --- a command that is killed -----------------------------------------------------------------------------------------


def is_training(place: str) -> bool:
    """Whether a place of `landing` lies inside training."""
    return any(word in place for word in ("epoch", "boundary", "state"))


@dataclass
class Victim:
    """A command that is killed again and again, in a folder of its own, until it is done.

    Args:
        start: starts it.
        words: of the command.
        here: its folder.
        whole: the same command, undisturbed.
        chance: where moments and signals come from.
    """

    start: Start
    words: tuple[str, ...]
    here: Path
    whole: Undisturbed
    chance: random.Random

    def __post_init__(self) -> None:
        self.stored: dict[str, int] = {}

    def begin(self, **more: Any) -> Child:
        return self.start(*self.words, cwd=self.here, TAILWISE_STORE="store", **more)

    def send_to(self, place: str, times: int | None = None, number: signal.Signals = signal.SIGKILL) -> str | None:
        """Run it until it kills itself at a place, at the how-manieth event there; say where it was, or None where it was done before."""
        times = times or self.chance.randint(1, self.whole.places[place])
        return self.end(self.begin(keep_seconds=self.keep(), dies_at=(place, times, number)))

    def kill_from_outside(self) -> str | None:
        """Run it and send it a signal at a moment that nothing in it decides; say where that was, or None where it was done before."""
        child = self.begin(keep_seconds=self.keep())
        moment = self.chance.randint(1, sum(self.whole.places.values()) // 2)
        child.until(lambda event: True, times=moment)
        time.sleep(self.chance.uniform(0, 0.03))
        child.signal(self.chance.choice([signal.SIGKILL] * 4 + [signal.SIGINT, signal.SIGTERM]))
        return self.end(child)

    def keep(self) -> float:
        return self.chance.choice([0.0, 0.1, 60.0])

    def end(self, child: Child) -> str | None:
        """Wait for its end and look at what it said; say where it was killed."""
        code = child.wait()
        assert code in (0, 130, -signal.SIGKILL, -signal.SIGTERM), child.err
        assert "Traceback" not in child.err
        assert "damaged" not in child.err
        if code == 130 and len(child.heard) > 1:  # else it was asked before it was the command
            assert "go on with: tailwise train" in child.err
        self.look_at_progress(child.heard)
        return None if code == 0 else landing(child.heard)

    def look_at_progress(self, heard: Sequence[Event]) -> None:
        """See that it went on from the last state that was stored; where epochs are compared, from the last one whose score was too."""
        compares, waiting = "chosen" in " ".join(self.words), dict[str, int]()
        for event in heard:
            if event.kind == "stage":
                assert event.done >= min(self.stored.get(event.line, 0), event.stop)
            if event.kind == "step":  # whatever belongs to the step before is stored by now
                self.stored |= waiting
            if event.kind in ("stage", "step"):
                at = event
            if event.kind == "stored":
                waiting[at.line] = max(at.done, self.stored.get(at.line, 0))
        if not compares:
            self.stored |= waiting


@pytest.fixture
def victim(start, undisturbed, place) -> Callable[[tuple[str, ...]], Victim]:
    return lambda words: Victim(start, words, folder(place), undisturbed(words), random.Random(0))


def kill_from_shell(victim: Victim, number: signal.Signals, moment: Callable[[], bool]) -> int:
    """Run the command as a shell does, send it a signal once its store is so far, and give its exit code."""
    environment = {**os.environ, "TAILWISE_STORE": "store", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    with subprocess.Popen([TAILWISE, *victim.words], cwd=victim.here, env=environment, stdout=subprocess.DEVNULL) as command:
        until(lambda: command.poll() is not None or moment())
        command.send_signal(number)
        return command.wait()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def count(here: Path, pattern: str) -> int:
    return len(list(here.glob(pattern)))


def cuts(here: Path) -> int:
    """Count the stored states that others may begin from."""
    return count(here, "store/states/*/[0-9]*") - count(here, "store/states/*/*/inner")


# --- five kills and a Ctrl-C --------------------------------------------------------------------------------------------


def test_killed_five_times_it_ends_in_the_same_bits(victim) -> None:
    killed = victim(EVERYTHING)
    here, second_stage = killed.here, read_record(killed.whole.run.parent)["legs"][-1]["line"]
    assert killed.send_to("in the middle of the first stage's epoch")
    assert kill_from_shell(killed, signal.SIGKILL, lambda before=cuts(here): cuts(here) > before) == -signal.SIGKILL
    assert killed.send_to("at a stage's boundary", times=1)
    assert killed.send_to("in the middle of a later stage's epoch", times=1)
    assert kill_from_shell(killed, signal.SIGINT, lambda: Store(here / "store").is_locked("line", second_stage)) == 130
    assert killed.send_to("while the run was written", times=3)
    assert not (here / "run").exists()
    assert killed.end(killed.begin()) is None
    assert read_record(here)["steps_trained"] < killed.whole.steps
    assert differing(here / "run", killed.whole.run) == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_asked_to_end_it_ends_after_its_step_and_goes_on_with_the_next(victim, number) -> None:
    asked = victim(CASES["a step of its own"])
    child = asked.begin(dies_at=("in the middle of the first stage's epoch", 7, number))
    assert child.wait() == 130
    assert "go on with: tailwise train" in child.err
    steps = [event for event in child.heard if event.kind == "step"]
    assert [event.done for event in steps] == list(range(1, 8))
    assert count(asked.here, f"store/states/{steps[-1].line}/000000007") == 1
    again = asked.begin()
    assert again.wait() == 0, again.err
    assert next(event.done for event in again.heard if event.kind == "step") == 8
    assert differing(asked.here / "run", asked.whole.run) == []


@pytest.mark.parametrize("late", ["while the run was written", pytest.param("while it predicted", marks=pytest.mark.slow)])
def test_asked_to_end_when_all_is_trained_it_finishes(victim, late) -> None:
    asked = victim(CRT)
    shutil.copytree(asked.whole.store, asked.here / "store")
    assert asked.send_to(late, number=signal.SIGINT) is None
    assert differing(asked.here / "run", asked.whole.run) == []


# --- stopped, shared, done ----------------------------------------------------------------------------------------------


def test_stopped_for_a_while_it_ends_in_the_same_bits(victim) -> None:
    asleep = victim(CRT)
    child = asleep.begin(keep_seconds=0.1)
    for _ in range(3):
        assert child.until(lambda event: event.kind == "step", times=20)
        child.signal(signal.SIGSTOP)
        time.sleep(0.3)
        child.signal(signal.SIGCONT)
    assert child.wait() == 0, child.err
    assert read_record(asleep.here)["steps_trained"] == asleep.whole.steps
    assert differing(asleep.here / "run", asleep.whole.run) == []


def test_killed_while_another_command_waits_for_the_same_run_the_other_goes_on(victim) -> None:
    shared = victim(CRT)
    one = shared.begin(keep_seconds=0.0)
    assert one.until(lambda event: event.kind == "step", times=10)
    one.signal(signal.SIGSTOP)  # so that it does not end before the other waits
    other = shared.begin()
    until(lambda: "waiting for it" in other.err or other.code() is not None)
    one.signal(signal.SIGKILL)
    assert one.wait() == -signal.SIGKILL
    assert shared.end(one) == landing(one.heard)
    assert shared.end(other) is None
    assert read_record(shared.here)["steps_trained"] <= shared.whole.steps - 9
    assert differing(shared.here / "run", shared.whole.run) == []


@pytest.mark.slow
def test_the_one_that_waits_is_killed_and_the_first_is_not_disturbed(victim) -> None:
    shared = victim(CRT)
    one = shared.begin(keep_seconds=0.0)
    assert one.until(lambda event: event.kind == "step", times=10)
    one.signal(signal.SIGSTOP)
    other = shared.begin()
    until(lambda: "waiting for it" in other.err or other.code() is not None)
    other.signal(signal.SIGKILL)
    assert other.wait() == -signal.SIGKILL
    one.signal(signal.SIGCONT)
    assert shared.end(one) is None
    assert read_record(shared.here)["steps_trained"] == shared.whole.steps
    assert differing(shared.here / "run", shared.whole.run) == []


def test_a_finished_run_is_not_trained_again_nor_touched(victim) -> None:
    done = victim(CRT)
    shutil.copytree(done.whole.store, done.here / "store")
    assert done.send_to("after the run stood") == "after the run stood"
    before = files(done.here / "run")
    assert differing(done.here / "run", done.whole.run) == []
    for store in ("store", "another-store"):
        child = done.start(*done.words, cwd=done.here, TAILWISE_STORE=store)
        assert child.wait() == 0, child.err
        assert "already done" in child.out
        assert not [event for event in child.heard if event.kind in ("stage", "step", "writing")]
        assert files(done.here / "run") == before


def files(run: Path) -> dict[str, tuple[int, int, int]]:
    """Which file on the disk each name is, and when its bytes and its entry were last changed."""
    found = {str(path.relative_to(run)): path.stat() for path in run.rglob("*")}
    return {name: (status.st_ino, status.st_mtime_ns, status.st_ctime_ns) for name, status in found.items()}


# --- two hundred kills --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_at_random_moments_it_ends_in_the_same_bits(start, undisturbed, place, case) -> None:
    words, chance = CASES[case], random.Random(case)
    whole = undisturbed(words)
    aims = [aim for aim in ("while features were computed", "while the run was written") if aim in whole.places]
    aims += [aim for aim in whole.places if is_training(aim)]
    landed: list[str] = []
    while len(landed) < KILLS:
        victim = Victim(start, words, folder(place), whole, chance)
        while len(landed) < KILLS:
            aim = aims[len(landed) // 2 % len(aims)]
            was = victim.send_to(aim) if len(landed) % 2 == 0 else victim.kill_from_outside()
            if was is None:
                break
            landed.append(was)
        else:
            assert victim.end(victim.begin()) is None
        assert differing(victim.here / "run", whole.run) == []
        shutil.rmtree(victim.here)
    print(f"{case}: {dict(Counter(landed))}")
    assert sum(map(is_training, landed)) >= KILLS // 4
