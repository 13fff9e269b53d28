"""Several shells on one comparison, and kills: equal parts trained once, nothing finished repeated, nothing corrupted."""

from __future__ import annotations

import csv
import io
import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from study.shells import Shell, Start, shells, until
from tailwise.disk import PENDING
from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study.compare import plan_study
from tailwise.study.runs import run_key
from tailwise.study.setup import make_setup
from tailwise.study.turns import Job, Turns, next_line
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import RunSettings, run_method

METHODS = "ce,la,ce-drw,ldam"
SETTINGS = ("recipe.epochs=3", "recipe.second.epochs=1")
DIGITS = ("digits", "--split", "50/10/40", "--tail", "exponential:20", "--recipe", "demo", *(f"--set={s}" for s in SETTINGS))
SEEDS = 2


def comparison(out: str = "study", methods: str = METHODS, *more: str) -> tuple[str, ...]:
    return ("compare", *DIGITS, "--methods", methods, "--seeds", str(SEEDS), "--out", out, "--json", *more)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Iterator[Start]:
    with shells(tmp_path_factory.mktemp("shells")) as start:
        yield start


@pytest.fixture
def begin(start, tmp_path) -> Callable[..., Shell]:
    """Start a command in the test's folder, on a store of its own."""
    return lambda *words, store="store", **more: start(*words, cwd=tmp_path, TAILWISE_STORE=store, **more)


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("undisturbed")
    assert start(*comparison(), cwd=place, TAILWISE_STORE="store").wait() == 0
    return place / "study"


@pytest.fixture(scope="module")
def steps(tmp_path_factory) -> int:
    """Steps that the comparison takes when equal parts are trained once."""
    words = DataWords(split="50/10/40", tail="exponential:20"), TrainingWords("demo", settings=SETTINGS)
    made = make_setup("digits", parse_rows(METHODS), *words, Store(tmp_path_factory.mktemp("planned")))
    return plan_study(made, range(SEEDS))[1].shared


def trained(study: Path) -> int:
    return sum(record["steps_trained"] for record in records(study))


def records(study: Path) -> list[dict]:
    found = [json.loads(file.read_text()) for file in sorted(study.glob("runs/[!.]*/run.json"))]
    assert len({record["key"] for record in found}) == len(found)
    return found


def finished(study: Path) -> dict[str, tuple[int, str]]:
    """The runs that stand: name -> which file on the disk, and when it was finished."""
    return {f.parent.name: (f.stat().st_ino, json.loads(f.read_text())["finished"]) for f in study.glob("runs/[!.]*/run.json")}


def results(study: Path) -> dict[str, object]:
    """All that a study says but for times: tables, weights and predictions as bytes; without what a killed writer left."""
    said: dict[str, object] = {}
    for file in sorted(path for path in study.rglob("*") if path.is_file() and PENDING not in str(path)):
        name = str(file.relative_to(study))
        if file.name == "report.csv":
            rows = csv.DictReader(io.StringIO(file.read_text()))
            said[name] = [{column: value for column, value in row.items() if column != "seconds"} for row in rows]
        elif file.suffix in (".safetensors", ".csv") or file.name in ("log.jsonl", "predictions.json"):
            said[name] = file.read_bytes()
        elif file.name == "report.json":
            said[name] = timeless(json.loads(file.read_text()))
        else:
            said[name] = None
    return said


def timeless(report: dict) -> dict:
    rows = [
        row | {"effort": {name: value for name, value in row["effort"].items() if name != "seconds"}} for row in report["summary"]["rows"]
    ]
    saving = {name: value for name, value in report["saving"].items() if "seconds" not in name}
    return report | {"saving": saving, "summary": report["summary"] | {"rows": rows}}


def is_tidy(place: Path) -> bool:
    """Whether a test's folder holds the study and its store, and nothing that was half written."""
    return {path.name for path in place.iterdir()} == {"study", "store"} and not list((place / "study").rglob(f"{PENDING}*"))


# --- whose turn it is ---------------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(tmp_path) -> tuple[dict[str, Job], Store]:
    """Runs of two seeds by their text: ce and la train one line, ldam another."""
    words = DataWords(split="50/10/40", tail="exponential:20"), TrainingWords("demo", settings=SETTINGS)
    made = make_setup("digits", parse_rows("ce,la,ldam"), *words, Store(tmp_path / "store"))
    found = [
        Job(row, seed, tmp_path / f"{row.text}{seed}", run_key(made, row, seed), made.plan(row, seed))
        for seed in (0, 1)
        for row in made.rows
    ]
    return {f"{job.row.text}{job.seed}": job for job in found}, made.store


def stands(job: Job) -> bool:
    return job.folder.exists()


def test_jobs_come_in_order_where_nobody_else_is_there(jobs):
    named, store = jobs
    named["la0"].folder.mkdir()
    taken = []
    with Turns(list(named.values()), RunSettings(store), stands) as turns:
        while (job := turns.take()) is not None:
            taken.append(f"{job.row.text}{job.seed}")
            assert [held for held in named.values() if store.is_locked("run", held.key)] == [job]
            job.folder.mkdir()
    assert taken == ["ce0", "ldam0", "ce1", "la1", "ldam1"]
    assert not any(store.is_locked("run", job.key) for job in named.values())


@pytest.mark.parametrize("kind", ["run", "line"])
def test_what_another_command_is_at_and_what_waits_for_its_line_is_put_off(jobs, kind):
    """A run that is held may not have reached its line yet: others of the line are put off all the same."""
    named, store = jobs
    ce = named["ce0"]
    with (
        store.lock(kind, ce.key if kind == "run" else next_line(store, ce.plan)),
        Turns(list(named.values()), RunSettings(store), stands) as turns,
    ):
        first = turns.take()
        assert first is named["ldam0"]
        first.folder.mkdir()
        assert turns.take() is named["ce1"]


def test_a_line_that_stands_keeps_nobody_waiting(jobs, tmp_path):
    named, store = jobs
    words = DataWords(split="50/10/40", tail="exponential:20"), TrainingWords("demo", settings=SETTINGS)
    made = make_setup("digits", parse_rows("ce"), *words, store)
    run_method(made.root(0), made.rows[0].method, (), RunSettings(store))
    assert next_line(store, named["la0"].plan) is None
    with store.lock("run", named["ce0"].key), Turns(list(named.values()), RunSettings(store), stands) as turns:
        assert turns.take() is named["la0"]


def test_when_all_that_is_left_is_with_others_we_wait_and_say_so_once(jobs):
    named, store = jobs
    left = [named["ce0"], named["la0"]]
    heard = []
    with ExitStack() as other, Turns(left, RunSettings(store, waiting=heard.append), stands) as turns:
        other.enter_context(store.lock("run", left[0].key))

        def end() -> None:
            left[0].folder.mkdir()
            other.close()

        threading.Timer(1.7, end).start()
        assert turns.take() is left[1]
        left[1].folder.mkdir()
        assert turns.take() is None
    assert heard == ["another command is at ce, seed 0 and 1 more of the runs that are left; waiting for it"]


def test_what_was_finished_while_we_waited_is_not_taken(jobs):
    named, store = jobs
    with ExitStack() as other, Turns([named["ce0"]], RunSettings(store), stands) as turns:
        other.enter_context(store.lock("run", named["ce0"].key))
        threading.Timer(0.2, lambda: (named["ce0"].folder.mkdir(), other.close())).start()
        assert turns.take() is None


def test_what_another_command_finished_since_we_looked_is_not_taken(jobs):
    named, store = jobs
    looks = iter([False, True, True])
    with Turns([named["ce0"]], RunSettings(store), lambda job: next(looks)) as turns:
        assert turns.take() is None
    assert not store.is_locked("run", named["ce0"].key)


def test_waiting_ends_when_one_asks_to_stop(jobs):
    named, store = jobs
    asked = iter([False, False, True])
    settings = RunSettings(store, interrupted=lambda: next(asked))
    with store.lock("run", named["ce0"].key), pytest.raises(KeyboardInterrupt), Turns([named["ce0"]], settings, stands) as turns:
        turns.take()


# --- two shells -----------------------------------------------------------------------------------------------------------


@pytest.mark.kill
def test_two_shells_share_the_work_from_the_start_in_a_folder_that_was_empty(begin, undisturbed, steps, tmp_path):
    (tmp_path / "study").mkdir()
    both = [begin(*comparison()) for _ in range(2)]
    assert [shell.wait() for shell in both] == [0, 0], [shell.err for shell in both]
    assert trained(tmp_path / "study") == steps
    assert results(tmp_path / "study") == results(undisturbed)
    assert both[0].out == both[1].out
    assert is_tidy(tmp_path)


def holding(store: Path) -> bool:
    """Whether some process holds a run."""
    keys = [place.name.removeprefix("run-") for place in store.glob("locks/run-*")]
    return any(Store(store).is_locked("run", key) for key in keys)


@pytest.mark.kill
def test_a_killed_shell_leaves_its_work_to_the_other(begin, undisturbed, steps, tmp_path):
    one, other = begin(*comparison()), begin(*comparison())
    until(lambda: holding(tmp_path / "store"), one, other)
    assert one.kill(), "it was done before it could be killed"
    assert other.wait() == 0, other.err
    assert trained(tmp_path / "study") <= steps
    assert results(tmp_path / "study") == results(undisturbed)


@pytest.mark.kill
def test_what_a_sleeping_shell_holds_is_never_stolen(begin, undisturbed, steps, tmp_path):
    one = begin(*comparison())
    until(lambda: holding(tmp_path / "store"), one)
    one.signal(signal.SIGSTOP)
    other = begin(*comparison())
    until(lambda: "waiting for it" in other.err or other.code() is not None, one, other)
    assert other.code() is None
    stood = finished(tmp_path / "study")
    assert 0 < len(stood) < SEEDS * len(METHODS.split(","))
    time.sleep(0.7)  # more than one look
    assert finished(tmp_path / "study") == stood
    one.signal(signal.SIGCONT)
    assert [one.wait(), other.wait()] == [0, 0], [one.err, other.err]
    assert other.err.count("waiting for it") == 1
    assert stood.items() <= finished(tmp_path / "study").items()
    assert trained(tmp_path / "study") == steps
    assert results(tmp_path / "study") == results(undisturbed)


@pytest.mark.kill
def test_two_shells_with_stores_of_their_own_end_in_one_study(begin, undisturbed, tmp_path):
    """Nothing is shared, nothing locked: who comes second discards what it made."""
    both = [begin(*comparison(), store=name) for name in ("store", "other-store")]
    assert [shell.wait() for shell in both] == [0, 0], [shell.err for shell in both]
    assert results(tmp_path / "study") == results(undisturbed)
    assert both[0].out == both[1].out


@pytest.mark.kill
def test_a_second_train_of_the_same_run_waits_and_finds_it_done(begin, tmp_path):
    words = ("train", *DIGITS, "--method", "ldam", "--out", "run")
    one = begin(*words)
    until(lambda: holding(tmp_path / "store"), one)
    one.signal(signal.SIGSTOP)
    other = begin(*words)
    until(lambda: "waiting for it" in other.err, one, other)
    one.signal(signal.SIGCONT)
    assert [one.wait(), other.wait()] == [0, 0], [one.err, other.err]
    assert "already done" in other.out
    assert "already done" not in one.out


@pytest.mark.slow
@pytest.mark.kill
def test_two_commands_of_two_processes_each_share_the_work(begin, steps, tmp_path):
    both = [begin(*comparison(), "--processes", "2", "--device", "cpu") for _ in range(2)]
    assert [shell.wait() for shell in both] == [0, 0], [shell.err for shell in both]
    assert trained(tmp_path / "study") == steps
    assert both[0].out == both[1].out
    assert is_tidy(tmp_path)


# --- kills ----------------------------------------------------------------------------------------------------------------


def kill_at_random(begin: Callable[..., Shell], study: Path, chance: random.Random) -> bool:
    """Run the comparison and kill it at some moment after it began to train; check that what was finished stays."""
    stood = finished(study)
    shell = begin(*comparison())
    until(lambda: holding(study.parent / "store") or shell.code() is not None, shell)
    time.sleep(chance.uniform(0, 1.0))
    killed = shell.kill()
    assert killed or shell.wait() == 0, shell.err
    assert stood.items() <= finished(study).items()
    return killed


@pytest.mark.kill
def test_killed_at_random_moments_it_continues_and_repeats_nothing(begin, undisturbed, steps, tmp_path):
    chance = random.Random(0)
    killed = [kill_at_random(begin, tmp_path / "study", chance) for _ in range(3)]
    assert any(killed)
    stood = finished(tmp_path / "study")
    last = begin(*comparison())
    assert last.wait() == 0, last.err
    assert stood.items() <= finished(tmp_path / "study").items()
    assert trained(tmp_path / "study") <= steps
    assert results(tmp_path / "study") == results(undisturbed)


@pytest.mark.slow
@pytest.mark.kill
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_many_random_moments_it_continues_and_repeats_nothing(begin, undisturbed, steps, tmp_path, seed):
    chance, kills = random.Random(seed), 0
    while kill_at_random(begin, tmp_path / "study", chance):
        kills += 1
    assert kills > 0
    assert trained(tmp_path / "study") <= steps
    assert results(tmp_path / "study") == results(undisturbed)


MOMENTS = {
    "before it is claimed": ("study/study.json", True),
    "while it is claimed": ("study/splits.csv", True),
    "between the last run and the report": ("report.md", False),
    "in the middle of the report": ("report.json", False),
}
MORE_MOMENTS = {
    "before all of a new folder is claimed": ("study", False),
    "before its last run stands": ("runs/ldam-seed1", False),
}


@pytest.fixture(scope="module")
def warm(undisturbed) -> Path:
    """A store that has all states, so that only folders and reports are left to make."""
    return undisturbed.parent / "store"


@pytest.mark.kill
@pytest.mark.parametrize("moment", [*MOMENTS, *(pytest.param(moment, marks=pytest.mark.slow) for moment in MORE_MOMENTS)])
def test_killed_at_a_given_moment_it_continues(begin, warm, undisturbed, tmp_path, moment):
    path, is_there = (MOMENTS | MORE_MOMENTS)[moment]
    if is_there:
        (tmp_path / "study").mkdir()
    assert begin(*comparison(), store=str(warm), dies_before=path).wait() == -signal.SIGKILL
    stood = finished(tmp_path / "study")
    assert not (tmp_path / "study" / "report.json").exists()
    again = begin(*comparison(), store=str(warm))
    assert again.wait() == 0, again.err
    assert stood.items() <= finished(tmp_path / "study").items()
    assert results(tmp_path / "study") == results(undisturbed)


# --- replacing a study --------------------------------------------------------------------------------------------------------


@pytest.mark.kill
@pytest.mark.parametrize(
    "moment", ["runs/ce-seed0", *(pytest.param(moment, marks=pytest.mark.slow) for moment in ("study", "report.json"))]
)
def test_a_replaced_study_stands_aside_until_the_new_one_stands_however_often_that_is_killed(begin, warm, undisturbed, tmp_path, moment):
    assert begin(*comparison(methods="la"), store=str(warm)).wait() == 0
    old = results(tmp_path / "study")
    words = comparison("study", METHODS, "--force")
    refused = begin(*comparison(), store=str(warm))
    assert refused.wait() == 2
    assert "holds another study" in refused.err
    assert results(tmp_path / "study") == old
    for _ in range(2):
        assert begin(*words, store=str(warm), dies_before=moment).wait() == -signal.SIGKILL
        aside = [results(place) for place in tmp_path.glob("study.old-*")]
        assert aside == ([] if moment == "report.json" else [old])  # gone before the last file that says that the new one stands
    again = begin(*words, store=str(warm))
    assert again.wait() == 0, again.err
    assert results(tmp_path / "study") == results(undisturbed)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("study")] == ["study"]
