"""Contents of pages that tests make: rows of networks that answer by chance, better on frequent classes."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from tailwise.counts import ClassCounts
from tailwise.evaluation import SHIFTS, Measured, Predictions, Sheet, SplitPredictions, evaluate, summarise
from tailwise.groups import make_groups
from tailwise.pages import Content, RowContent

SCRIPT = "<script>alert(1)</script>"


def make_content(classes: int = 12, rows: int = 3, seeds: int = 2, per_class: int = 20, **fields: object) -> Content:
    rng = np.random.default_rng(0)
    counts = ClassCounts(tuple(np.geomspace(400, 2, classes).astype(int).tolist()))
    names = (SCRIPT, *(f"class {i:05}" for i in range(1, classes)))
    labels = np.repeat(np.arange(classes), per_class)
    groups = make_groups(counts.real)
    measured = []
    for row in range(rows):
        evaluations = []
        for _ in range(seeds):
            logits = rng.normal(size=(len(labels), classes)).astype(np.float32)
            ease = 2 + row * np.linspace(0, 1.5, classes) + 2 * np.linspace(1, 0, classes)
            logits[np.arange(len(labels)), labels] += ease[labels]
            test = SplitPredictions(tuple(f"{i:07}" for i in range(len(labels))), labels, logits)
            evaluations.append(evaluate(Predictions({"test": test}, names, counts, groups, "a1b2"), "test"))
        note = "learnt on the images of test too" if row == 1 else ""
        measured.append(Measured(f"method {row}" if row else "ce", evaluations, note, effort={"steps": 400.0, "seconds": 2.5}))
    summary = summarise(measured)
    shares = ("forward 50", "uniform", "backward 50")
    cells = {row.name: dict.fromkeys(shares, row.cells["macro"]) for row in summary.rows}
    sheets = tuple(Sheet(name, f"at test, {kind}", shares, cells, "Other classes at test.") for kind, name in SHIFTS.items())
    jpeg = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 120, 60)).save(jpeg, "JPEG")
    logs = [[{"stage": 0, "name": "train", "epoch": e, "loss": 2.0 / (e + 1)} for e in range(4)]]
    record = {"seed": 0, "typed": "ce", "network": {"backbone": "resnet8"}, "plan": ["train: epochs 0-4"], "version": "0.1.0"}
    leg = {"line": "a", "start": 0, "stop": 400, "seconds": 2.5, "name": "train"}
    record |= {"legs": [leg]}
    return Content(
        title=f"set of {SCRIPT}",
        summary=replace(summary, sheets=sheets),
        rows={found.name: RowContent(found, [record], logs) for found in measured},
        chosen="ce",
        words=[f"Recommended: ce, not {SCRIPT}."],
        plan=["400 steps, no part of them shared"],
        files={"report.csv": "a line a row"},
        thumbnails={f"{i:07}": jpeg.getvalue() for i in range(0, len(labels), per_class)},
        **fields,
    )
