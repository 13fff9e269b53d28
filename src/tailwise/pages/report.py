"""The report page: one HTML file that needs nothing beside it and asks nobody for anything."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import altair as alt
import jinja2
import numpy as np
import vl_convert
from markupsafe import Markup

from tailwise.evaluation.tables import NOTHING, Table
from tailwise.pages.content import WORST, Content
from tailwise.pages.figures import LIGHT, MOST_DOTS, figures
from tailwise.pages.plan import plan_tree
from tailwise.version import __version__

SCALE = 2.0
"""Pixels of a saved PNG for each pixel of the page."""


class Figure(NamedTuple):
    """A figure on the page: its name, its heading, what it shows."""

    name: str
    title: str
    caption: str


def report_page(content: Content) -> str:
    """Render the page; names from outside are text wherever they stand.

    Args:
        content: what it shows.

    Returns:
        HTML with its styles, scripts and data inside; no part of it is fetched from anywhere.
    """
    charts = figures(content)
    specifications = {name: chart.to_dict() for name, chart in charts.items()}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tailwise.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        title=content.title,
        version=__version__,
        setting=content.summary.setting,
        headline=_headline(content),
        words=content.words,
        tables=[_table(table) for table in content.summary.tables],
        figures={figure.name: figure for figure in _figures(content) if figure.name in charts},
        confusions=_confusions(content),
        chosen=content.chosen,
        classes=len(content.classes),
        plan=content.plan,
        tree=plan_tree({name: row.records[0] for name, row in content.rows.items() if row.records}),
        record=list(_records(content)),
        files=content.files,
        specifications=_script(specifications),
        table=_script(_class_table(content)),
        bundle=Markup(_bundle()),
    )


def figure_files(content: Content) -> Iterator[tuple[str, bytes]]:
    """Give each figure as SVG and as PNG on white: file name, content."""
    for name, chart in figures(content).items():
        specification = _with_config(chart, LIGHT)
        yield f"{name}.svg", vl_convert.vegalite_to_svg(specification).encode()
        yield f"{name}.png", vl_convert.vegalite_to_png(specification, scale=SCALE)


def _with_config(chart: alt.TopLevelMixin, config: Mapping[str, Any]) -> dict[str, Any]:
    found = chart.to_dict()
    return {**found, "config": {**found.get("config", {}), **config}}


@cache
def _bundle() -> str:
    """Give Vega, Vega-Lite and Vega-Embed as one script; what would end the element in which it stands is written otherwise."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")


def _script(value: Any) -> Markup:
    """Write data for a script element: JSON in which no name from outside can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _headline(content: Content) -> list[tuple[str, str, str]]:
    """Give the figures of the chosen row that stand on top: what, how much, with which interval and n."""
    row = next(row for row in content.summary.rows if row.name == content.chosen)
    groups = [name for name in content.summary.columns if name not in ("overall", "macro_f1")]
    made = []
    for column in groups:
        cell = row.cells[column]
        if cell.mean is not None:
            made.append((column, f"{100 * cell.mean:.2f} %", f"{cell.interval or ''} n = {cell.images:,}".strip()))
    return made


def _table(table: Table) -> dict[str, Any]:
    return {"head": table.head, "lines": table.lines, "caption": table.caption, "said": table.said, "prose": (table.head[0], *table.prose)}


def _figures(content: Content) -> list[Figure]:
    """Say of each figure what it shows."""
    setting = content.summary.setting
    baseline = content.summary.differences[0].against if content.summary.differences else ""
    averaged = ""
    if len(content.classes) * len(content.rows) > MOST_DOTS:
        averaged = " There are too many classes for a dot each: a dot is the mean of neighbours in frequency."
    return [
        Figure(
            "frequency",
            "How uneven the classes are",
            f"Training images of each class, the most frequent first. Groups by {setting.scheme}: {setting.rule}.",
        ),
        Figure(
            "accuracy",
            "Accuracy against frequency",
            f"A dot is a class on {setting.split}, mean over seeds; the line is a mean over neighbouring frequencies.{averaged} "
            "Click a name in the legend to see a row alone; shift-click for several.",
        ),
        Figure("groups", "Group by group", "Mean over the classes of a group, with its 95 % interval; macro is the mean over all classes."),
        Figure(
            "front",
            "What the tail gains, what the head pays",
            "Up is better for rare classes, right is better for frequent ones; lines are 95 % intervals.",
        ),
        Figure(
            "differences",
            f"Paired differences from {baseline}",
            "On the same images and seeds, in points. The interval of macro is at the level at which it was tested; the others are "
            "described at 95 %.",
        ),
        Figure(
            "shift",
            "Other classes at test",
            "From most images of the frequent classes to most images of the rare ones: as the rows answer, with the distribution at test "
            "known, and estimated from the images without their labels. Nothing is trained anew.",
        ),
        Figure(
            "reliability",
            "Is confidence what it says?",
            "Accuracy of the images of a group against the confidence of their answers, in ten bins, those with ten images or more; on the "
            "dashed line confidence is right. The true class chooses the group, so a calibrated model is too sure of rare classes even so.",
        ),
        Figure(
            "curves",
            "Learning curves",
            "Losses of rows differ in kind and are not to be compared with each other; where one still falls, more epochs may help.",
        ),
    ]


def _confusions(content: Content) -> list[dict[str, Any]]:
    """List the worst confusions of the chosen row, with an image of each class where there is one."""
    classes = content.classes
    found_of = [(found, *content.examples(content.chosen, found)) for found in content.confusions(content.chosen, WORST)]
    return [
        {
            "truth_image": _data_uri(truth),
            "answer_image": _data_uri(answer),
            "truth": classes[found.truth].name,
            "answer": classes[found.answer].name,
            "share": f"{100 * found.share:.1f} %",
            "images": f"{found.images:,}",
            "train": f"{classes[found.truth].train_images:,} / {classes[found.answer].train_images:,}",
        }
        for found, truth, answer in found_of
    ]


def _data_uri(jpeg: bytes | None) -> str:
    return "" if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _class_table(content: Content) -> dict[str, Any]:
    """Give what the table of classes holds, by columns: names, groups, counts, and each row's accuracy in per mille of a percent."""
    names = list(content.rows)
    return {
        "rows": names,
        "names": [found.name for found in content.classes],
        "groups": list(content.summary.setting.members),
        "group": [list(content.summary.setting.members).index(group) for group in content.group_of],
        "train": content.train_images.tolist(),
        "images": [found.n for found in content.classes],
        "accuracy": [[None if np.isnan(value) else round(float(value), 4) for value in content.rows[name].accuracies] for name in names],
    }


def _records(content: Content) -> Iterator[tuple[str, Sequence[tuple[str, str]]]]:
    """Give the record of each row: what was trained on what with what, as (heading, [(what, value)])."""
    for name, row in content.rows.items():
        if row.records:
            yield name, list(_record(row.records))


def _record(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    first = records[0]
    data, numerics = first.get("data", {}), first.get("numerics", {})
    yield "seeds", ", ".join(dict.fromkeys(str(record.get("seed")) for record in records))
    yield "method", str(first.get("typed", NOTHING))
    for line in first.get("plan", ()):
        yield "plan", str(line)
    for key in ("posthoc", "chosen", "learnt_on"):
        if first.get(key):
            yield key.replace("_", " "), str(first[key])
    for note in (*first.get("warnings", ()), *first.get("notes", ())):
        yield "note", str(note)
    yield "network", _plain(first.get("network"))
    yield "recipe", _plain(first.get("recipe"))
    yield "data", str(data.get("identity", NOTHING))
    for line in data.get("provenance", ()):
        yield "data", str(line)
    yield "steps", ", ".join(f"{record.get('steps', 0):,}" for record in records)
    yield "seconds", ", ".join(f"{sum(leg.get('seconds', 0.0) for leg in record.get('legs', ())):,.1f}" for record in records)
    yield "machine", _plain(numerics)
    yield "version", f"tailwise {first.get('version', NOTHING)}, finished {first.get('finished', NOTHING)}"


def _plain(value: Any) -> str:
    """Write a record's value in one line: `a: 1, b: (c: 2)`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {f'({_plain(found)})' if isinstance(found, Mapping) else _plain(found)}" for key, found in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(found) for found in value) + "]"
    return NOTHING if value is None else str(value)
