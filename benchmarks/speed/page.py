"""The page of figures: tables of `docs/performance.md`, made of the stored results alone; what stands around them is written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: made by benchmarks/speed/speed.py -->", "<!-- end of figures -->"


def write_page(results: Path, page: Path) -> None:
    """Put the tables in their place between two marks."""
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{tables(rows)}\n{END}{after}", encoding="utf-8")


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Give a table, and a line on each machine that the figures are from."""
    head = "| work | beside | | times as fast: median (smallest to largest of the rounds) | CPU seconds | set-up | bar / goal |\n"
    lines = [head + "| --- | --- | --- | --- | --- | --- | --- |"]
    lines += [_line(row) for row in rows]
    machines = dict.fromkeys(_machine(row["machine"]) for row in rows)
    return "\n".join([*lines, "", *machines, ""])


def _line(row: Mapping[str, Any]) -> str:
    median, least, most = row["ratio"]
    said = f"{median:.2f} ({least:.2f} to {most:.2f})"
    more = row["more"] or {}
    faster = f"**{said}**" if least > 1 else f"{said}: no difference is claimed"
    if "share_of_memory" in more:
        faster = f"{said} of its memory, {more['megabytes']:,} MB"
    rate = f"; {more['gflops']:g} GFLOP/s, {more['of_gemm']:g} of a matrix product's" if "gflops" in more else ""
    bar = "" if row["bar"] is None else f"{row['bar']:g} / {row['goal']:g}"
    setup = f"{row['setup']:.0f} s" if row["setup"] > 5 else ""
    setup += f"; pays after {more['pays_after']:,} steps" if "pays_after" in more else ""
    cpu = f"{row['cpu']:.2f}" if row["cpu"] else ""
    return f"| {row['work']} | {row['peer']} | {row['variant']} | {faster}{rate} | {cpu} | {setup} | {bar} |"


def _machine(said: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {said[name]}" for name in ("torch", "torchvision", "numpy", "pillow"))
    where = f"{said['cpu']} ({said['capability']}, {said['cores']} cores), {said['threads']} thread a side"
    return f"On {where}, Python {said['python']}, {versions}."
