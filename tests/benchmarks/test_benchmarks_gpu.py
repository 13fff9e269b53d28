"""`benchmarks/gpu`: it runs without a GPU, every part of it; a shut gate ends it; a part that hangs costs no other its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from alone import REFUSES, others

ROOT = Path(__file__).parents[2]
GPU = ROOT / "benchmarks/gpu"
ENVIRONMENT = {
    **os.environ,
    "PYTHON": sys.executable,
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "benchmarks/speed", GPU))),
}


def python(code: str, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


def lines(folder: Path) -> dict[str, dict]:
    return {line["part"]: line for line in map(json.loads, (folder / "results.jsonl").read_text().splitlines())}


def test_everything_runs_once_without_a_gpu_and_with_few_libraries(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(REFUSES)
    path = os.pathsep.join((str(tmp_path), ENVIRONMENT["PYTHONPATH"]))
    environment = {**ENVIRONMENT, "OUT": str(tmp_path), "PYTHONPATH": path, "REFUSED": ",".join(others())}
    done = subprocess.run(
        ["bash", str(GPU / "run.sh"), "--smoke"], capture_output=True, text=True, cwd=tmp_path, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = lines(tmp_path)
    assert list(found) == ["gate", "run-fp32", "run-bf16", "peer", "profile", "seeds-fp32"]
    assert not any("failed" in line for line in found.values())
    assert found["gate"]["open"]
    assert not found["gate"]["replay"]  # nothing is recorded on a CPU
    assert max(found["gate"]["plain"][way] for way in ("free", "together")) <= found["gate"]["allowed"] == 1e-4
    run = found["run-fp32"]
    assert (run["epochs"], run["n"]) == (1, 100)
    assert run["interval"][0] <= run["accuracy"] <= run["interval"][1]
    assert [one["seed"] for one in found["seeds-fp32"]["runs"]] == [0, 1]
    assert found["seeds-fp32"]["runs"][0]["accuracy"] == run["accuracy"]
    assert found["seeds-fp32"]["each"] == found["seeds-fp32"]["seconds"] / 2
    assert "conv" in (tmp_path / "profile-plain.txt").read_text()
    assert "seeds-fp32" in done.stdout


SHUT = """
import json, sys, time
from pathlib import Path
import gate, gpu, torch
torch.set_num_threads(1)
gate.optimiser = lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.8, weight_decay=2e-4)
import beside
from ours import Work
place = Path(sys.argv[1])
gpu.unpack(place, Path(), smoke=True)
line = next(beside.gate(Work(place, place, torch.device("cpu"), time.perf_counter() + 60, True, False)))
print(json.dumps([line, gpu.opens([line]), gpu.replays([line])]))
"""


def test_the_gate_is_shut_where_the_mathematics_differ(tmp_path):
    done = python(SHUT, str(tmp_path))
    assert done.returncode == 0, done.stderr
    line, is_open, replays = json.loads(done.stdout)
    assert not line["open"]
    assert "replayed" not in line
    assert not is_open
    assert not replays


HANGS = """
import json, subprocess, sys, time
print(json.dumps({"part": "peer", "epoch": [1.0, 1.0, 1.0], "tested": [2.0, 2.0, 2.0]}), flush=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[2], "w").write(str(child.pid))
print('{"part": "peer", "broken', end="", flush=True)
time.sleep(60)
"""

CONDUCT = """
import sys
from pathlib import Path
import gpu
gpu.HERE, results = Path(sys.argv[1]), Path(sys.argv[1]) / "results.jsonl"
gpu.run_part("peer", ["peer", str(gpu.HERE / "child")], 3.0, results)
print(gpu.read(results))
"""


def test_a_part_that_hangs_is_ended_with_all_it_started_and_leaves_what_it_had(tmp_path):
    (tmp_path / "parts.py").write_text(HANGS)
    done = python(CONDUCT, str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, *_ = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(first)["epoch"] == [1.0, 1.0, 1.0]
    assert "ran past 3 s" in done.stdout
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    assert not child.exists() or child.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_the_gate_comes_first_whatever_is_asked_for():
    done = python(
        "import gpu; print(gpu.chosen(['peer'], False), gpu.chosen([], False) == list(gpu.PARTS), sum(gpu.PARTS.values()), gpu.ALL)"
    )
    assert done.stdout.split("]")[0] == "['gate', 'peer'"
    assert "True" in done.stdout
    assert max(map(int, done.stdout.split()[-2:])) < 600
