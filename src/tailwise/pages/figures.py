"""The figures of a report, as Vega-Lite: the same specification is looked at on the page and saved as SVG and PNG.

Colours that depend on light and dark are left to whoever draws: see `LIGHT` here and the page's script.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np

from tailwise.evaluation import SHIFTS
from tailwise.pages.content import Content, smoothed

MOST_DOTS = 15_000
"""Dots that a browser draws at once without waiting; of more classes, neighbours in frequency are averaged."""

GROUPS = ("#2f6fb0", "#3a9d7a", "#c8553d")
"""Of many, medium, few and of further groups in turn; each is told from the others by its place or its name too."""

METHODS = (
    *("#3b76af", "#e1812c", "#3a923a", "#c03d3e", "#9372b2", "#845b53"),
    *("#d684bd", "#7f7f7f", "#a9aa35", "#2eabb8", "#1f3f77", "#b0652c"),
)

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")

LIGHT = {
    "background": "white",
    "view": {"stroke": None},
    "axis": {"gridColor": "#e6e8eb", "labelColor": "#3c4248", "titleColor": "#22272c", "domainColor": "#9aa1a8", "tickColor": "#9aa1a8"},
    "legend": {"labelColor": "#22272c", "titleColor": "#22272c", "columns": 4},
    "header": {"labelColor": "#22272c", "titleColor": "#22272c"},
}
"""Colours of saved figures: for print, and for slides."""

CLEAR = ("clear of 0", "within noise")

WIDTH, HEIGHT = 640, 300


FIGURE_NAMES = ("frequency", "accuracy", "groups", "front", "differences", "shift", "reliability", "curves")


def figures(content: Content) -> dict[str, alt.TopLevelMixin]:
    """Draw all figures that there are numbers for: name -> chart."""
    draw = (frequency, accuracy_by_frequency, groups, front, forest, shift, reliability, curves)
    made: dict[str, alt.TopLevelMixin | None] = {name: of(content) for name, of in zip(FIGURE_NAMES, draw, strict=True)}
    return {name: chart for name, chart in made.items() if chart is not None}


def _data(rows: Any) -> alt.Data:
    return alt.Data(values=list(rows))


def _row_colour(content: Content) -> dict[str, Any]:
    """Give each row its colour, the same in all figures."""
    names = list(content.rows)
    scale = alt.Scale(domain=names, range=[METHODS[place % len(METHODS)] for place in range(len(names))])
    legend = alt.Legend(orient="bottom", labelLimit=220, symbolLimit=0, symbolOpacity=1)
    return {"color": alt.Color("row:N", sort=names, title="row", scale=scale, legend=legend)}


def _picked() -> alt.Parameter:
    return alt.selection_point(name="picked", fields=["row"], bind="legend")


def _percent(axis: Any, field: str, title: str, **scale: Any) -> Any:
    """Make an axis, alt.X or alt.Y, of shares in percent."""
    return axis(field, title=title, axis=alt.Axis(format=".2~%"), scale=alt.Scale(**scale) if scale else alt.Undefined)


def _tips(*fields: str, **formats: str) -> list[alt.Tooltip]:
    """Make what is said of a mark: words as they are, then numbers by their format."""
    return [*(alt.Tooltip(f"{field}:N") for field in fields), *(alt.Tooltip(f"{field}:Q", format=form) for field, form in formats.items())]


def _side_by_side(chart: Any, field: str, names: Sequence[str], height: int, square: bool = False) -> alt.TopLevelMixin:
    """Draw a chart once for each value of a field, beside each other."""
    width = max(120, WIDTH // max(1, len(names)) - 12)
    header = alt.Header(labelFontWeight="bold")
    return chart.properties(width=width, height=width if square else height).facet(
        column=alt.Column(f"{field}:N", sort=list(names), title=None, header=header)
    )


def frequency(content: Content) -> alt.TopLevelMixin:
    """Draw training images a class, from the most frequent to the rarest, the groups shaded."""
    order = np.argsort(-content.train_images, kind="stable")
    thin = order if len(order) <= 2000 else order[np.unique(np.linspace(0, len(order) - 1, 2000).astype(int))]
    rank = {int(label): place + 1 for place, label in enumerate(order)}
    dots = [
        {
            "rank": rank[int(label)],
            "images": int(content.train_images[label]),
            "class": content.classes[label].name,
            "group": content.group_of[label],
        }
        for label in thin
    ]
    names = list(content.summary.setting.members)
    bands = []
    for name in names:
        ranks = [rank[label] for label in content.summary.setting.members[name]]
        if ranks:
            bands.append({"group": name, "from": min(ranks) - 0.5, "to": max(ranks) + 0.5})
    colour = alt.Color(
        "group:N",
        sort=names,
        title="group",
        scale=alt.Scale(domain=names, range=[GROUPS[i % 3] for i in range(len(names))]),
        legend=alt.Legend(orient="bottom"),
    )
    shade = alt.Chart(_data(bands)).mark_rect(opacity=0.14).encode(x="from:Q", x2="to:Q", color=colour)
    scale = alt.Scale(type="symlog" if content.train_images.min() == 0 else "log", nice=False)
    line = (
        alt.Chart(_data(dots))
        .mark_circle(size=26, opacity=0.9)
        .encode(
            x=alt.X(
                "rank:Q",
                title="class, by its training images",
                scale=alt.Scale(domain=[0.5, len(order) + 0.5], nice=False),
                axis=alt.Axis(tickMinStep=1, format=",d"),
            ),
            y=alt.Y("images:Q", title="training images", scale=scale),
            color=colour,
            tooltip=[alt.Tooltip("class:N"), alt.Tooltip("images:Q", title="training images"), alt.Tooltip("group:N")],
        )
    )
    return (shade + line).properties(width=WIDTH, height=HEIGHT)


def accuracy_by_frequency(content: Content) -> alt.TopLevelMixin:
    """Draw each class's accuracy against its training images, and a smooth line for each row."""
    dots, lines = [], []
    labels, parts = _dotted(content)
    for name, row in content.rows.items():
        lines += [{"row": name, "images": at, "accuracy": mean} for at, mean in smoothed(content.train_images, row.accuracies)]
        for label, part in zip(labels, parts, strict=True):
            known = row.accuracies[part][~np.isnan(row.accuracies[part])]
            if len(known):
                dots.append(
                    {
                        "row": name,
                        "images": float(np.mean(content.train_images[part])),
                        "accuracy": round(float(known.mean()), 4),
                        "class": label,
                    }
                )
    picked = _picked()
    scale = alt.Scale(type="symlog" if content.train_images.min() == 0 else "log", nice=False)
    x = alt.X("images:Q", title="training images of the class", scale=scale)
    colour = _row_colour(content)
    points = (
        alt.Chart(_data(dots))
        .mark_circle(size=34)
        .encode(
            x=x,
            y=alt.Y("accuracy:Q", title=f"accuracy on {content.summary.setting.split}", axis=alt.Axis(format=".0%")),
            opacity=alt.condition(picked, alt.value(0.45), alt.value(0.03)),
            tooltip=[
                alt.Tooltip("class:N"),
                alt.Tooltip("row:N"),
                alt.Tooltip("images:Q", title="training images", format=",.0f"),
                alt.Tooltip("accuracy:Q", format=".1%"),
            ],
            **colour,
        )
        .add_params(picked)
    )
    smooth = (
        alt.Chart(_data(lines))
        .mark_line(strokeWidth=2.5)
        .encode(x=x, y="accuracy:Q", opacity=alt.condition(picked, alt.value(1), alt.value(0.08)), **colour)
    )
    return (points + smooth if lines else points).properties(width=WIDTH, height=360)


def _dotted(content: Content) -> tuple[list[str], list[np.ndarray]]:
    """Give the names of the dots and the classes behind each: one class, or neighbours in frequency where there are too many."""
    classes = len(content.classes)
    if classes * len(content.rows) <= MOST_DOTS:
        return [found.name for found in content.classes], [np.array([label]) for label in range(classes)]
    order = np.argsort(-content.train_images, kind="stable")
    parts = np.array_split(order, max(1, MOST_DOTS // len(content.rows)))
    return [f"{content.classes[part[0]].name} and {len(part) - 1:,} neighbours" for part in parts], parts


def groups(content: Content) -> alt.TopLevelMixin:
    """Draw each row's accuracy in each group with its interval."""
    bars = []
    names = [column for column in content.summary.columns if column not in ("overall", "macro_f1")]
    for row in content.summary.rows:
        for column in names:
            cell = row.cells[column]
            if cell.mean is not None:
                low, high = (cell.interval.low, cell.interval.high) if cell.interval else (cell.mean, cell.mean)
                bars.append({"row": row.name, "group": column, "accuracy": cell.mean, "low": low, "high": high, "images": cell.images})
    x = _percent(alt.X, "accuracy:Q", "accuracy", domain=[0, 1])
    tooltip = _tips("row", "group", accuracy=".2%", low=".2%", high=".2%", images=",")
    base = alt.Chart(_data(bars)).encode(y=alt.Y("row:N", sort=list(content.rows), title=None, axis=alt.Axis(labelLimit=160)))
    colour = _row_colour(content)["color"]
    colour.legend = None
    drawn = (
        base.mark_bar(opacity=0.55, height={"band": 0.72}).encode(x=x, color=colour, tooltip=tooltip)
        + base.mark_rule(strokeWidth=1.5).encode(x="low:Q", x2="high:Q", color=colour)
        + base.mark_tick(thickness=2, size=9).encode(x="accuracy:Q", color=colour, tooltip=tooltip)
    )
    return _side_by_side(drawn, "group", names, max(60, 22 * len(content.rows)))


def front(content: Content) -> alt.TopLevelMixin | None:
    """Draw what each row reaches on the rarest group against what it reaches on the most frequent one, with both intervals."""
    present = [name for name, size in content.summary.setting.groups.items() if size.images]
    if len(present) < 2:
        return None
    head, tail = present[0], present[-1]
    dots = list(_of_two_groups(content, head, tail))
    picked, names = _picked(), list(content.rows)
    base = alt.Chart(_data(dots)).encode(**_row_colour(content))
    x = _percent(alt.X, "head:Q", f"{head}: accuracy", zero=False)
    y = _percent(alt.Y, "tail:Q", f"{tail}: accuracy", zero=False)
    shapes = alt.Scale(domain=names, range=[SHAPES[place % len(SHAPES)] for place in range(len(names))])
    dim = alt.condition(picked, alt.value(0.45), alt.value(0.05))
    bold = alt.condition(picked, alt.value(1), alt.value(0.1))
    across = base.mark_rule().encode(x=alt.X("head_low:Q"), x2="head_high:Q", y=y, opacity=dim)
    along = base.mark_rule().encode(y=alt.Y("tail_low:Q"), y2="tail_high:Q", x=x, opacity=dim)
    shape = alt.Shape("row:N", sort=names, scale=shapes, title="row")
    tooltip = _tips("row", head=".2%", tail=".2%")
    points = base.mark_point(filled=True, size=120).encode(x=x, y=y, opacity=bold, shape=shape, tooltip=tooltip).add_params(picked)
    written = base.mark_text(align="left", dx=9, dy=-8, fontSize=11).encode(x=x, y=y, text="row:N", opacity=bold)
    return (across + along + points + written).properties(width=WIDTH, height=380)


def _of_two_groups(content: Content, head: str, tail: str) -> Iterator[dict[str, Any]]:
    """Give each row's figures of two groups, with the ends of their intervals."""
    columns = {name: f"{name} (group)" if f"{name} (group)" in content.summary.columns else name for name in (head, tail)}
    for row in content.summary.rows:
        cells = {"head": row.cells[columns[head]], "tail": row.cells[columns[tail]]}
        if all(cell.mean is not None and cell.interval is not None for cell in cells.values()):
            made: dict[str, Any] = {"row": row.name}
            for name, cell in cells.items():
                assert cell.interval is not None  # looked at above
                made |= {name: cell.mean, f"{name}_low": cell.interval.low, f"{name}_high": cell.interval.high}
            yield made


def forest(content: Content) -> alt.TopLevelMixin | None:
    """Draw the paired differences from the baseline: macro accuracy and the groups, with their intervals."""
    found = content.summary.differences
    if not found:
        return None
    columns = [column for column in found[0].gaps if column != "overall"]
    data = _data(
        {
            "row": difference.name,
            "column": column,
            "difference": 100 * gap.difference,
            "low": 100 * gap.interval.low,
            "high": 100 * gap.interval.high,
            "clear": CLEAR[0] if gap.interval.low > 0 or gap.interval.high < 0 else CLEAR[1],
        }
        for difference in found
        for column, gap in difference.gaps.items()
        if column in columns
    )
    names = [difference.name for difference in found]
    scale = alt.Scale(domain=list(CLEAR), range=["#2f6fb0", "#8d949b"])
    colour = alt.Color("clear:N", title=None, scale=scale, legend=alt.Legend(orient="bottom"))
    shape = alt.Shape("clear:N", title=None, scale=alt.Scale(domain=list(CLEAR), range=["diamond", "circle"]))
    tooltip = _tips("row", "column", difference="+.2f", low="+.2f", high="+.2f")
    base = alt.Chart(data).encode(y=alt.Y("row:N", sort=names, title=None, axis=alt.Axis(labelLimit=160)), color=colour)
    drawn = (
        alt.Chart(data).mark_rule(strokeDash=[4, 3], color="#8d949b").encode(x=alt.datum(0))
        + base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title="points"), x2="high:Q", tooltip=tooltip)
        + base.mark_point(filled=True, size=60).encode(x="difference:Q", shape=shape, tooltip=tooltip)
    )
    return _side_by_side(drawn, "column", columns, max(50, 24 * len(names)))


def shift(content: Content) -> alt.TopLevelMixin | None:
    """Draw what each row reaches under other class distributions at test, by how it answers."""
    sheets = {sheet.name: sheet for sheet in content.summary.sheets}
    if "shift" not in sheets:
        return None
    data = [
        {"row": name, "answers": kind, "at test": column, "accuracy": cell.mean, "low": low, "high": high}
        for kind, of in SHIFTS.items()
        for name, cells in sheets[of].rows.items()
        for column, cell in cells.items()
        if cell.mean is not None
        for low, high in [(cell.interval.low, cell.interval.high) if cell.interval else (cell.mean, cell.mean)]
    ]
    picked = _picked()
    base = alt.Chart(_data(data)).encode(
        x=alt.X("at test:N", sort=list(sheets["shift"].columns), title="classes at test", axis=alt.Axis(labelAngle=-60)),
        y=_percent(alt.Y, "accuracy:Q", "accuracy", zero=False),
        opacity=alt.condition(picked, alt.value(0.9), alt.value(0.06)),
        **_row_colour(content),
    )
    tooltip = _tips("row", "answers", "at test", accuracy=".2%", low=".2%", high=".2%")
    drawn = base.mark_line(strokeWidth=1.5) + base.mark_circle(size=36).encode(tooltip=tooltip).add_params(picked)
    return _side_by_side(drawn, "answers", list(SHIFTS), 260)


def reliability(content: Content) -> alt.TopLevelMixin | None:
    """Draw accuracy against confidence in each group, for each row, and the diagonal on which confidence is what it says."""
    bins = [
        {"row": name, "group": group, "confidence": sure, "accuracy": right, "images": images}
        for name in content.rows
        for group, sure, right, images in content.reliability(name)
    ]
    if not bins:
        return None
    data, picked = _data(bins), _picked()
    names = [name for name, size in content.summary.setting.groups.items() if size.images]
    base = alt.Chart(data).encode(
        x=_percent(alt.X, "confidence:Q", "confidence", domain=[0, 1]),
        y=_percent(alt.Y, "accuracy:Q", "accuracy", domain=[0, 1]),
        opacity=alt.condition(picked, alt.value(0.8), alt.value(0.05)),
        **_row_colour(content),
    )
    ends = {name: alt.datum(place, type="quantitative") for name, place in (("x", 0), ("y", 0))}
    diagonal = alt.Chart(data).mark_rule(strokeDash=[4, 3], color="#8d949b").encode(**ends, x2=alt.datum(1), y2=alt.datum(1))
    size = alt.Size("images:Q", legend=None, scale=alt.Scale(range=[12, 160]))
    tooltip = _tips("row", "group", confidence=".1%", accuracy=".1%", images=",")
    dots = base.mark_circle().encode(size=size, tooltip=tooltip).add_params(picked)
    return _side_by_side(diagonal + base.mark_line(strokeWidth=1.5) + dots, "group", names, 0, square=True)


def curves(content: Content) -> alt.TopLevelMixin | None:
    """Draw the loss over the epochs, mean over the runs of a row; below it val, where it was measured on the way."""
    picked = _picked()
    titles = {"loss": ("training loss, each row's own", ".4f"), "val_macro": ("macro accuracy on val", ".1%")}
    made = [_over_epochs(content, figure, title, form, picked) for figure, (title, form) in titles.items()]
    shown = [chart for chart in made if chart is not None]
    if not shown:
        return None
    first = shown[0].add_params(picked)  # which the others heed: a second one of its name would be another
    return first if len(shown) == 1 else alt.vconcat(first, *shown[1:])


def _over_epochs(content: Content, figure: str, title: str, form: str, picked: alt.Parameter) -> alt.Chart | None:
    """Draw a figure of the log over the epochs; None where no row has it."""
    lines = [
        {"row": name, "epoch": epoch, figure: value, "stage": stage}
        for name in content.rows
        for epoch, value, stage in content.curves(name, figure)
    ]
    if not lines:
        return None
    told = [*(alt.Tooltip(f"{name}:N") for name in ("row", "stage")), alt.Tooltip("epoch:Q"), alt.Tooltip(f"{figure}:Q", format=form)]
    chart: alt.Chart = (
        alt.Chart(_data(lines))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("epoch:Q", title="epoch, all stages", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{figure}:Q", title=title, scale=alt.Scale(zero=False)),
            detail="stage:N",
            tooltip=told,
            opacity=alt.condition(picked, alt.value(0.9), alt.value(0.06)),
            **_row_colour(content),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )
    return chart
