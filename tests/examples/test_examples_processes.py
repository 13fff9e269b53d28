"""The examples, run as a reader would run them, and short enough to read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")} | {"OMP_NUM_THREADS": "1"}


def output(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(name: str) -> str:
    return str(FOLDER / name)


def percentages(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"([\d.]+)%", line)]


def test_plain_loop_lifts_the_three_rarest_digits():
    plain, ours = map(percentages, output(example("plain_loop.py")).splitlines())
    assert len(plain) == len(ours) == 2
    assert ours[1] > plain[1]
    assert plain[0] > 50  # cross-entropy has learnt something


def test_torchrun_loop_shows_each_process_its_own_half():
    """The example itself compares the row numbers that the processes have read, and fails where one is in two shares."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", example("torchrun_loop.py")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment(), check=False)
    # Not by the exit code: on a busy machine torch now and then aborts while the interpreter is torn down, after the last line.
    assert "AssertionError" not in done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5  # from one process only
    assert all(line.startswith(f"epoch {k}: 138 + 138 rows") for k, line in enumerate(lines))
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert losses[-1] < losses[0]


def test_adjust_logits_lifts_balanced_accuracy_and_needs_no_torch():
    code = f"import runpy, sys; runpy.run_path({example('adjust_logits.py')!r}); print('torch' in sys.modules)"
    trained, adjusted, torch = output("-c", code).splitlines()
    assert percentages(adjusted)[0] > percentages(trained)[0] > 50
    assert torch == "False"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_says_how_it_is_run_and_marks_what_is_ours(path):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 60
    assert f"examples/{path.name}\n" in text.split('"""')[1]
    assert all("# ours" in line for line in lines if re.match(r"(from|import) tailwise", line))
    assert sum("# ours" in line for line in lines) <= 10
