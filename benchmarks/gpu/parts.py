"""The parts of the script; each prints lines of JSON. `gpu.py` says what they are, and runs them."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from cifar100 import CLASSES
from ours import METHOD, PRECISIONS, Line, Sayings, Steps, Work

from tailwise.evaluation import group_accuracy, wilson
from tailwise.store import Store
from tailwise.training import RunSettings, run_method
from tailwise.training.modes import plainly
from tailwise.training.replay import WARM_UP
from tailwise.training.sweep import sweep

IMAGE_GFLOP = 2 * 68.87e6 / 1e9
"""Of ResNet-32's forward on an image; training takes three times as much."""

SEEDS = 6

READY = 40
"""Seconds that processes which train together have to get ready."""


# --- runs -------------------------------------------------------------------------------------------------------------------


def run(work: Work, precision: str, seed: int = 0, ready: Callable[[], None] = lambda: None) -> Line:
    """Train by the recipe and measure the last epoch on test, once; where time is over, tell how far it came."""
    rate = gemm_gflops(work, precision)  # and the device is awake
    said = Sayings()
    root = work.root(precision, seed)
    trained = 0

    def watch(leg: Any, done: int, here: int) -> None:
        nonlocal trained
        trained = done

    importlib.import_module("torch._dynamo")  # torch's optimisers import it when the first of a process is made, for two seconds

    ready()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        settings = RunSettings(
            Store(Path(place)),
            work.device,
            watch,
            interrupted=lambda: work.left < 5,
            replay=work.replay,
        )
        try:
            outcome, _ = run_method(root, METHOD, (), settings)
        except KeyboardInterrupt:
            took = time.perf_counter() - begin
            return {"steps": trained, "seconds": took, "failed": f"time was over after {trained:,} steps", "said": said.sentences}
        finish(work.device)
        seconds = time.perf_counter() - begin
        test = root.splits.rows["test"]
        with plainly(1):
            logits = sweep(outcome.predictor, test, root.recipe.normalise, work.device, PRECISIONS[precision]).logits
    tested = time.perf_counter() - begin - seconds
    right = int((logits.argmax(1) == test.labels).sum())
    images = outcome.leg.epochs * outcome.leg.rows
    gflops = 3 * IMAGE_GFLOP * images / seconds
    interval = wilson(right, len(test))
    assert interval is not None
    return {
        "epochs": outcome.leg.epochs,
        "seconds": seconds,
        "test_seconds": tested,
        "gflops": gflops,
        "gemm_gflops": rate,
        "of_gemm": gflops / rate,
        "accuracy": right / len(test),
        "n": len(test),
        "interval": [interval.low, interval.high],
        "groups": group_accuracy(test.labels, logits, CLASSES, root.splits.groups),
        "seed": seed,
        "replay": work.replay,
        "said": said.sentences,
    }


def fast() -> None:
    """Let the libraries be fast: TF32 products, and kernels chosen by trying them, since shapes are fixed."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True


def gemm_gflops(work: Work, precision: str) -> float:
    """Give the rate of a large product of random numbers, the yardstick of this process."""
    size, times = (8192, 20) if work.device.type == "cuda" else (256, 2)
    dtype = getattr(torch, PRECISIONS[precision])
    a, b = (torch.randn(size, size, device=work.device).to(dtype) for _ in range(2))
    for _ in range(3):
        _ = a @ b
    finish(work.device)
    begin = time.perf_counter()
    for _ in range(times):
        _ = a @ b
    finish(work.device)
    return times * 2 * size**3 / (time.perf_counter() - begin) / 1e9


def finish(device: torch.device) -> None:
    """Wait until the device has computed all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_alone(precision: str) -> Callable[[Work], Iterator[Line]]:
    """Give the part that trains one run."""

    def part(work: Work) -> Iterator[Line]:
        fast()
        yield {"part": f"run-{precision}", **run(work, precision)}

    return part


# --- where the time goes ----------------------------------------------------------------------------------------------------


def profile(work: Work) -> Iterator[Line]:
    """Write a table of operations by the device's time, plain and replayed."""
    fast()
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if work.device.type == "cuda" else []
    order = "self_cuda_time_total" if work.device.type == "cuda" else "self_cpu_time_total"
    rows = 64 if work.smoke else None
    for name, replay in [("plain", False), *([("replayed", True)] if work.replay else [])]:
        ours = Steps(work.root(rows=rows), work.device, replay)
        steps = 1 if work.smoke else 20
        with plainly(1):
            for _ in range(1 if work.smoke else 2 * WARM_UP):
                ours.step()
            finish(work.device)
            begin = time.perf_counter()
            for _ in range(steps):
                ours.step()
            host = time.perf_counter() - begin
            finish(work.device)
            step = (time.perf_counter() - begin) / steps
            with torch.profiler.profile(activities=kinds) as seen:
                for _ in range(steps):
                    ours.step()
                finish(work.device)
        table = seen.key_averages().table(sort_by=order, row_limit=30, max_name_column_width=90)
        (work.out / f"profile-{name}.txt").write_text(f"{steps} steps, {name}\n\n{table}\n", encoding="utf-8")
        yield {"part": "profile", "steps": name, "step_ms": 1e3 * step, "host_ms": 1e3 * host / steps}


# --- several seeds ------------------------------------------------------------------------------------------------------------


def seeds_together(precision: str) -> Callable[[Work], Iterator[Line]]:
    """Give the part that trains several seeds at once, one process each, which share the device through NVIDIA's service where it is."""

    def part(work: Work) -> Iterator[Line]:
        if work.device.type == "cuda" and shutil.which("nvidia-cuda-mps-control") is not None:
            with tempfile.TemporaryDirectory() as place, service(Path(place)) as environment:
                found = together(work, precision, environment)
            if found is not None:
                yield {"part": f"seeds-{precision}", "sharing": "Multi-Process Service", **found}
                return
        found = together(work, precision, os.environ)
        yield {"part": f"seeds-{precision}", "sharing": "plain processes", **(found or {"failed": "a process did not begin"})}

    return part


@contextlib.contextmanager
def service(place: Path) -> Iterator[Mapping[str, str]]:
    """Hold NVIDIA's Multi-Process Service, and give the environment of who shares by it; the device's own settings stay as they are."""
    environment = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(place / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(place / "log")}
    for name in ("pipe", "log"):
        (place / name).mkdir()
    control = ["nvidia-cuda-mps-control"]
    subprocess.run([*control, "-d"], env=environment, stdout=sys.stderr, timeout=20)
    try:
        yield environment
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(control, input="quit\n", text=True, env=environment, stdout=sys.stderr, timeout=10)


def together(work: Work, precision: str, environment: Mapping[str, str]) -> Line | None:
    """Train the seeds at once, from the moment at which all are ready; None where one of them did not get ready."""
    seeds = range(2 if work.smoke else SEEDS)
    command = [sys.executable, __file__, "seed", str(work.place), str(work.out), "--precision", precision]
    command += ["--seconds", f"{work.left - 5:.0f}"]
    command += [f"--{word}" for word in ("smoke", "replay") if getattr(work, word)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": dict(environment)}
    trained = [subprocess.Popen([*command, "--seed", str(seed)], **pipes) for seed in seeds]
    patience = threading.Timer(READY, lambda: [process.kill() for process in trained])
    patience.start()
    ready = [process.stdout is not None and process.stdout.readline() == "ready\n" for process in trained]
    patience.cancel()
    if not all(ready):
        for process in trained:
            process.kill()
            process.communicate()
        return None
    begin = time.perf_counter()
    for process in trained:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    runs = [json.loads(process.communicate()[0] or '{"failed": "a process ended"}') for process in trained]
    seconds = time.perf_counter() - begin
    if failed := [run["failed"] for run in runs if "failed" in run]:
        return {"failed": failed[0], "runs": runs}
    accuracies = [run["accuracy"] for run in runs]
    return {"seeds": len(runs), "seconds": seconds, "each": seconds / len(runs), "accuracies": accuracies, "runs": runs}


def one_seed(work: Work, precision: str, seed: int) -> None:
    """Train one seed among others, once told to."""
    fast()

    def ready() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    print(json.dumps(run(work, precision, seed, ready)), flush=True)


def beside(part: str) -> Callable[[Work], Iterator[Line]]:
    """Give a part in which the peer takes part: torchvision takes a second to import, and the others need none of it."""

    def run_it(work: Work) -> Iterator[Line]:
        import beside

        yield from {"gate": beside.gate, "peer": beside.peer}[part](work)

    return run_it


PARTS: dict[str, Callable[[Work], Iterator[Line]]] = {
    "gate": beside("gate"),
    "run-fp32": run_alone("fp32"),
    "run-bf16": run_alone("bf16"),
    "peer": beside("peer"),
    "profile": profile,
    "seeds-fp32": seeds_together("fp32"),
    "seeds-bf16": seeds_together("bf16"),
}


def main(words: Sequence[str] | None = None) -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "seed"])
    parser.add_argument("place", type=Path, help="the unpacked pixels")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--precision", choices=[*PRECISIONS], default="fp32")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() and not asked.smoke else "cpu")
    if device.type == "cpu" and not asked.smoke:
        raise SystemExit("there is no CUDA device here; --smoke tries the script without one")
    work = Work(asked.place, asked.out, device, time.perf_counter() + asked.seconds, asked.smoke, asked.replay)
    if asked.part == "seed":
        one_seed(work, asked.precision, asked.seed)
        return
    for line in PARTS[asked.part](work):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
