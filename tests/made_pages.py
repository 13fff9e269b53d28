"""Contents of pages that tests make: rows of networks that answer by chance, better on frequent classes."""

from __future__ import annotations

import numpy as np

from tailwise.counts import ClassCounts
from tailwise.evaluation import Measured, Predictions, SplitPredictions, evaluate, summarise
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
    logs = [[{"stage": 0, "name": "train", "epoch": e, "loss": 2.0 / (e + 1)} for e in range(4)]]
    record = {"seed": 0, "typed": "ce", "network": {"backbone": "resnet8"}, "plan": ["train: epochs 0-4"], "version": "0.1.0"}
    return Content(
        title=f"set of {SCRIPT}",
        summary=summarise(measured),
        rows={found.name: RowContent(found, [record], logs) for found in measured},
        chosen="ce",
        words=[f"Recommended: ce, not {SCRIPT}."],
        plan=["400 steps, no part of them shared"],
        files={"report.csv": "a line a row"},
        **fields,
    )
