"""Tables for LaTeX: the same cells as in Markdown, and nothing that LaTeX would take for a command."""

from __future__ import annotations

import re

from made_pages import make_content
from tailwise.evaluation.latex import ESCAPES, escaped, tables_to_latex
from tailwise.evaluation.tables import Table


def test_all_cells_are_there_in_order():
    summary = make_content(classes=6).summary
    bodies = re.findall(r"\\midrule\n(.*?)\\bottomrule", summary.to_latex(), re.S)
    assert len(bodies) == len(summary.tables)
    for body, table in zip(bodies, summary.tables, strict=True):
        lines = [line.removesuffix(r" \\").split(" & ") for line in body.strip().splitlines()]
        assert lines == [[escaped(cell) for cell in line] for line in table.lines]


def test_every_environment_ends_and_columns_are_as_many_as_cells():
    text = make_content(classes=6).summary.to_latex()
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") > 0
    for columns, head in re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n\\toprule\n(.*) \\\\", text):
        assert len(columns) == head.count(" & ") + 1


def test_prose_is_set_to_the_left():
    table = Table(("method", "steps", "what differs"), (("ce", "4", "–"),), "none", prose=("what differs",))
    assert r"\begin{tabular}{lrl}" in tables_to_latex((table,))


def test_signs_of_latex_are_printed_as_they_are():
    for sign, written in ESCAPES.items():
        assert escaped(f"a{sign}b") == f"a{written}b"
    assert escaped("50 % of {x_1} \\input{y}\nnext") == r"50 \% of \{x\_1\} \textbackslash{}input\{y\} next"
