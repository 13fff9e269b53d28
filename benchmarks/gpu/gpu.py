"""Runs the parts one after another, each in a process of its own with seconds of its own, so that it always ends and leaves what it has.

    gate        our loop does the same mathematics as the peer's, plain and replayed, and no step makes the host wait
    run-fp32    200 epochs of CIFAR-100-LT by the published recipe, convolutions in TF32: accuracy, seconds, GFLOP/s
    run-bf16    the same in bfloat16
    peer        ten epochs of the published loop on the same device
    profile     where the time of a step goes, plain and replayed
    seeds-fp32  six seeds together, one process each
    seeds-bf16  the same in bfloat16

Results are lines of JSON in OUT/results.jsonl, written as they come; the profile is text beside them. Exit 1 where the gate is shut, which
ends everything, or a part has failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cifar100 import SHARED, made_up, real_pixels

HERE = Path(__file__).resolve().parent
CARRIED = Path("tailwise-out/carried") / SHARED.name

PARTS = {"gate": 60, "run-fp32": 110, "run-bf16": 80, "peer": 70, "profile": 40, "seeds-fp32": 110, "seeds-bf16": 80}
"""Seconds that each may take."""

ALL = 560
"""Seconds for all of them; what is left when they are over is not begun."""

LAST = 10
"""Seconds that a part has to tell what it has after it was to end, before it is ended."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="which to run after the gate; all where none is named")
    parser.add_argument("--data", type=Path, help="cifar100_lt100.npz")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "tailwise-out/gpu"), help="a folder for the results")
    parser.add_argument("--smoke", action="store_true", help="run everything as small as it can be; figures mean nothing then")
    asked = parser.parse_args(words)
    if unknown := [part for part in asked.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / "results.jsonl"
    results.write_text("", encoding="utf-8")
    end = time.monotonic() + ALL
    with tempfile.TemporaryDirectory() as place:
        unpack(Path(place), asked.data or (CARRIED if CARRIED.is_file() else SHARED), asked.smoke)
        for part in chosen(asked.parts, asked.smoke):
            seconds = min(PARTS[part], end - time.monotonic())
            if seconds < LAST + 5:
                tell(results, {"part": part, "failed": "no time was left to begin"})
                continue
            words_of_part = [part, place, str(asked.out), "--seconds", f"{seconds - LAST:.0f}"]
            words_of_part += ["--smoke"] * asked.smoke + ["--replay"] * replays(read(results))
            run_part(part, words_of_part, seconds, results)
            if part == "gate" and not opens(read(results)):
                break
    lines = read(results)
    print("\n".join(summary(lines)), flush=True)
    return int(not opens(lines) or any("failed" in line for line in lines))


def chosen(asked: Sequence[str], smoke: bool) -> list[str]:
    """Give the parts in order: the gate always comes first, and trying the script out once is enough for seeds together."""
    wanted = asked or [part for part in PARTS if not (smoke and part == "seeds-bf16")]
    return [part for part in PARTS if part == "gate" or part in wanted]


def unpack(place: Path, data: Path, smoke: bool) -> None:
    """Decode the pixels once; the parts map them."""
    pixels = made_up() if smoke else real_pixels(data)
    for name in ("train", "train_labels", "test", "test_labels"):
        np.save(place / f"{name}.npy", getattr(pixels, name))


def run_part(part: str, words: Sequence[str], seconds: float, results: Path) -> None:
    """Run a part; what it prints on standard output are its results."""
    command = [sys.executable, str(HERE / "parts.py"), *words]
    print(f"{part}: up to {seconds:.0f} s", flush=True)
    began = time.monotonic()
    with results.open("a", encoding="utf-8") as into:
        process = subprocess.Popen(command, stdout=into, start_new_session=True)
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with_all_it_started(process)
    took = f"{time.monotonic() - began:.1f} s"
    if code != 0:
        tell(results, {"part": part, "failed": f"ran past {seconds:.0f} s" if code is None else f"ended with {code} after {took}"})
    print(f"{part}: {took}", flush=True)


def with_all_it_started(process: subprocess.Popen[bytes]) -> None:
    """End a part and the processes that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tell(results: Path, line: Mapping[str, Any]) -> None:
    """Add a line, below what somebody may have broken off."""
    before = results.read_text(encoding="utf-8")
    ended = "" if not before or before.endswith("\n") else "\n"
    results.write_text(f"{before}{ended}{json.dumps(line)}\n", encoding="utf-8")


def read(results: Path) -> list[dict[str, Any]]:
    """Read the lines; one that was broken off is left out."""
    lines = []
    for text in results.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def opens(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether the gate is open: without it, or with a shut one, no figure is worth anything."""
    return any(line["part"] == "gate" and line.get("open") for line in lines)


def replays(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether the gate has found replayed steps to be right."""
    return any(line["part"] == "gate" and line.get("replay") for line in lines)


def summary(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say the results in words, a line each."""
    said = []
    for line in lines:
        if "failed" in line:
            said.append(f"{line['part']}: {line['failed']}")
        elif line["part"] == "gate":
            steps = "replayed" if line["replay"] else "plain"
            said.append(f"gate: {'open' if line['open'] else 'SHUT'}, plain {line['plain']}; steps {steps}, {line.get('replayed')}")
        elif "accuracy" in line:
            low, high = line["interval"]
            measured = f"{100 * line['accuracy']:.2f} % [{100 * low:.2f}, {100 * high:.2f}], n = {line['n']:,}"
            said.append(f"{line['part']}: {line['seconds']:.2f} s for {line['epochs']} epochs, {line['gflops']:,.0f} GFLOP/s; {measured}")
        elif "each" in line:
            together = f"{line['seeds']} together in {line['seconds']:.2f} s"
            said.append(f"{line['part']}: {line['each']:.2f} s a run, {together}, {line['sharing']}")
        elif "epoch" in line:
            said.append(f"{line['part']}: {line['epoch'][0]:.2f} s an epoch, {line['tested'][0]:.2f} s with its test pass")
    runs = {line["part"]: line for line in lines if "accuracy" in line and "failed" not in line}
    peer = next((line for line in lines if line["part"] == "peer" and "epoch" in line), None)
    for name, run in runs.items():
        if peer is not None and name.startswith("run"):
            said.append(f"{name}: {peer['epoch'][0] * run['epochs'] / run['seconds']:.1f} times as fast as the published loop's epochs")
    return said


if __name__ == "__main__":
    sys.exit(main())
