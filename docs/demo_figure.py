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
    """Draw a group's accuracy for each method: one dot a seed, a tick at the mean, a thin rule from end to end of its interval."""
    report = json.loads((study / "report.json").read_text(encoding="utf-8"))
    setting = report["summary"]
    dots = [
        {"method": TITLES[name], "group": group, "accuracy": run["evaluation"]["groups"][group]["accuracy"], "seed": run["seed"]}
        for name, runs in report["runs"].items()
        for run in runs
        for group in GROUPS
    ]
    means = [
        {"method": TITLES[row["name"]], "group": group, "accuracy": row["cells"][group]["mean"], **row["cells"][group]["method"]}
        for row in setting["rows"]
        for group in GROUPS
    ]
    places = {
        "y": alt.Y("method:N", sort=list(TITLES.values()), title=None, axis=alt.Axis(labelFontSize=13, labelLimit=220, ticks=False)),
        "yOffset": alt.YOffset("group:N", sort=list(GROUPS)),
        "color": alt.Color("group:N", sort=list(GROUPS), scale=alt.Scale(domain=list(GROUPS), range=list(COLOURS)), title="classes"),
    }
    x = alt.X("accuracy:Q", title="test accuracy, mean over the group's classes", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False))
    points = alt.Chart(alt.Data(values=dots)).mark_circle(size=50, opacity=0.55).encode(x=x, **places)
    over_seeds = alt.Chart(alt.Data(values=means))
    ticks = over_seeds.mark_tick(thickness=3, size=10).encode(x=x, **places)
    rules = over_seeds.mark_rule(strokeWidth=1).encode(x=alt.X("low:Q"), x2="high:Q", **places)
    said = ", ".join(f"{group} {setting['groups'][group]['train_images']}" for group in GROUPS)
    subtitle = [
        f"scikit-learn's digits; training images: {said}; {setting['images']} test images; a dot a seed, the tick is their mean,",
        "the thin line the 95 % interval for the method, on new seeds and images",
    ]
    title = alt.Title("What each method does for the tail, and what it costs the head", subtitle=subtitle, anchor="start")
    drawn = (rules + points + ticks).properties(width=520, height=290, title=title).configure(background="white", padding=14)
    return drawn.configure_axis(gridColor="#eee", labelColor="#222", titleColor="#222").configure_view(stroke=None)


if __name__ == "__main__":
    figure(Path(sys.argv[1])).save(Path(__file__).with_name("demo.svg"))
