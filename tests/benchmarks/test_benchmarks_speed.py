"""`benchmarks/speed`: it runs, on made-up pixels; the gate stops it where the mathematics differ; the page is made of the results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEED = ROOT / "benchmarks/speed"


def python(code: str, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=SPEED, timeout=300)


def test_everything_runs_once_and_nothing_is_written():
    before = {path: path.read_bytes() for path in (ROOT / "docs/performance.md", SPEED / "results.jsonl") if path.exists()}
    done = subprocess.run([sys.executable, "speed.py", "--smoke"], capture_output=True, text=True, cwd=SPEED, timeout=300)
    assert done.returncode == 0, done.stderr
    for work in ("training step", "epoch with its test pass", "crop, flip, normalise", "MobileNetV2 features", "twelve methods"):
        assert work in done.stdout
    assert {path: path.read_bytes() for path in before} == before


DIFFERENT = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, ".")
import cifar100, gate, training
from tailwise.store import Store
gate.optimiser = lambda net: training.torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.8, weight_decay=2e-4)
with tempfile.TemporaryDirectory() as place:
    data = cifar100.made_up().save(Path(place) / "data.npz")
    training.check_same_mathematics(data, Store(Path(place) / "store"), ["fast"], 3)
"""


def test_nothing_is_timed_where_the_mathematics_differ():
    done = python(DIFFERENT)
    assert done.returncode == 1
    assert "nothing is timed" in done.stderr


PAGE = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from page import write_page
write_page(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize(("least", "said"), [(1.1, "**1.20 (1.10 to 1.30)**"), (0.9, "1.20 (0.90 to 1.30): no difference is claimed")])
def test_a_win_is_claimed_only_where_every_round_is_one(tmp_path, least, said):
    machine = {
        "cpu": "C",
        "capability": "X",
        "cores": 2,
        "threads": 1,
        "python": "3",
        **dict.fromkeys(("torch", "torchvision", "numpy", "pillow"), "1"),
    }
    row = {"name": "w", "work": "w", "variant": "tailwise", "peer": "p", "wall": 1.0, "ratio": [1.2, least, 1.3], "cpu": 1.25, "setup": 0.1,
           "rounds": 7, "bar": 1.2, "goal": 1.45, "more": {}, "machine": machine}  # fmt: skip
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    page = tmp_path / "p.md"
    page.write_text("before\n<!-- figures: made by benchmarks/speed/speed.py -->\nold\n<!-- end of figures -->\nafter\n")
    done = python(PAGE, str(tmp_path / "r.jsonl"), str(page))
    assert done.returncode == 0, done.stderr
    made = page.read_text()
    assert said in made
    assert "old" not in made
    assert made.startswith("before\n")
    assert made.endswith("after\n")
