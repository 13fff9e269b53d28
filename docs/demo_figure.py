"""Draws docs/demo.svg from the study that `tailwise demo` left: python docs/demo_figure.py tailwise-out/demo-<key>."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import altair as alt

GROUPS = ("many", "medium", "few")
COLOURS = ("#4c78a8", "#72a98f", "#d1615d")
TITLES = {
    "ce": "cross-entropy",
    "balanced-softmax": "balanced softmax",
    "la": "logit adjustment, post hoc",
    "tau-norm": "tau-normalisation",
    "ldam-drw": "LDAM-DRW",
    "crt": "cRT",
}


def figure(study: Path) -> alt.LayerChart:
    """Draw a group's accuracy for each method: one dot a seed, a tick at the mean."""
    report = json.loads((study / "report.json").read_text(encoding="utf-8"))
    dots = [
        {"method": TITLES[name], "group": group, "accuracy": run["evaluation"]["groups"][group]["accuracy"], "seed": run["seed"]}
        for name, runs in report["runs"].items()
        for run in runs
        for group in GROUPS
    ]
    setting = report["summary"]
    sizes = {g: setting["groups"][g] for g in GROUPS}
    base = alt.Chart(alt.Data(values=dots)).encode(
        y=alt.Y("method:N", sort=list(TITLES.values()), title=None, axis=alt.Axis(labelFontSize=13, labelLimit=220, ticks=False)),
        color=alt.Color("group:N", sort=list(GROUPS), scale=alt.Scale(domain=list(GROUPS), range=list(COLOURS)), title="classes"),
        x=alt.X("accuracy:Q", title="test accuracy, mean over the group's classes", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)),
    )
    points = base.mark_circle(size=70, opacity=0.55)
    ticks = base.mark_tick(thickness=3, size=22).encode(x=alt.X("mean(accuracy):Q"))
    said = ", ".join(f"{g} {sizes[g]['train_images']}" for g in GROUPS)
    subtitle = f"scikit-learn's digits; training images: {said}; {setting['images']} test images; a dot a seed, the tick is their mean"
    title = alt.Title("What each method does for the tail, and what it costs the head", subtitle=subtitle, anchor="start")
    drawn = (points + ticks).properties(width=520, height=230, title=title).configure(background="white", padding=14)
    return drawn.configure_axis(gridColor="#eee", labelColor="#222", titleColor="#222").configure_view(stroke=None)


if __name__ == "__main__":
    figure(Path(sys.argv[1])).save(Path(__file__).with_name("demo.svg"))
