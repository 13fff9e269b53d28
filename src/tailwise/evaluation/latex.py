"""Summaries as LaTeX tables, with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tailwise.evaluation.tables import Table

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "τ": r"$\tau$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}

PREAMBLE = "% \\usepackage{booktabs}, and \\usepackage{graphicx} for \\resizebox\n"


def tables_to_latex(tables: tuple[Table, ...]) -> str:
    """Lay tables out as LaTeX floats, one after another; what is said below them becomes the caption."""
    return PREAMBLE + "\n".join("\n".join(_table(table)) for table in tables)


def _table(table: Table) -> Iterator[str]:
    columns = "".join("l" if column in (table.head[0], *table.prose) else "r" for column in table.head)
    yield r"\begin{table}"
    yield r"\centering"
    yield f"\\caption{{{escaped(table.caption)}}}"
    yield r"\resizebox{\linewidth}{!}{%"
    yield f"\\begin{{tabular}}{{{columns}}}"
    yield r"\toprule"
    yield f"{' & '.join(map(escaped, table.head))} \\\\"
    yield r"\midrule"
    for line in table.lines:
        yield f"{' & '.join(map(escaped, line))} \\\\"
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\end{table}"
    yield ""


def escaped(text: str) -> str:
    """Write text so that LaTeX prints it as it is.

    >>> escaped("tau_norm & 50 %")
    'tau\\\\_norm \\\\& 50 \\\\%'
    """
    line = " ".join(text.split())
    return re.sub("[" + re.escape("".join(ESCAPES)) + "]", lambda found: ESCAPES[found.group()], line)
