"""Writes the pages of docs/methods/ from cards, knobs, docs/results.md and docs/panel.md: python docs/methods/generate.py.

A test holds the pages equal to what this makes, so they are written here and never by hand.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tailwise.knobs import default_of, knobs
from tailwise.method import SURVEY, Card, Method
from tailwise.registry import Row, entries, load
from tailwise.study.typical import TRAINED_ON, typical_plan

HERE = Path(__file__).parent
RESULTS = ("results.md", "panel.md")
"""Pages of docs/ with tables of ours."""

COLUMNS = ("overall", "many", "medium", "few", "seeds")
STATUS = {
    "formula": "formula: checked against a slow reference and its limits",
    "values": "values: checked against numbers that the authors' own code produced",
    "panel": "panel: has a row in the panel",
    "reproduced": "reproduced: reaches the published figure",
}
Results = Sequence[tuple[str, str, Mapping[str, Mapping[str, str]]]]


def pages() -> dict[str, str]:
    """Make all pages: file name -> text, `index.md` too. Methods of other packages are left out."""
    made = {e.name: load("method", e.name) for e in entries("method").values() if e.module.startswith("tailwise.")}
    results = [found for page in RESULTS for found in read_results((HERE.parent / page).read_text(encoding="utf-8"), page)]
    written = {f"{name}.md": _joined(_page(name, kind, results)) for name, kind in made.items()}
    return {"index.md": _joined(_index(made)), **written}


def _joined(parts: Iterator[str]) -> str:
    return "\n\n".join(parts) + "\n"


# --- the index ------------------------------------------------------------------------------------------------------------


def _index(made: Mapping[str, type[Method]]) -> Iterator[str]:
    yield "# Methods"
    yield _filled(
        "By the families of the survey *Deep Long-Tailed Learning* (Zhang et al., TPAMI 2023). A page says what a method does, why it "
        "helps the tail, what it costs and when not to use it. These pages are written by `docs/methods/generate.py` from the "
        "methods' cards, which `tailwise show NAME` prints; status says what backs a method."
    )
    yield "\n".join(f"- {said}" for said in STATUS.values())
    for branch, families in SURVEY.items():
        for family in families:
            named = {name: kind for name, kind in made.items() if kind.card.family == family}
            if named:
                yield f"## {_capital(family)}" + (f" ({branch})" if branch != family else "")
                yield _table(("method", "what", "paper", "year", "status"), (_index_row(name, kind.card) for name, kind in named.items()))
    yield "## Modifiers: over any method, as in `ldam-drw+sam`"
    modifiers = {name: load("modifier", name).card for name in entries("modifier")}
    yield _table(("modifier", "what", "paper", "year", "status"), (_index_row(name, card, link=False) for name, card in modifiers.items()))


def _index_row(name: str, card: Card, link: bool = True) -> tuple[str, ...]:
    return (f"[{name}]({name}.md)" if link else name, card.title, card.paper or "–", str(card.year or "–"), card.status)


# --- a method's page --------------------------------------------------------------------------------------------------------


def _page(name: str, kind: type[Method], results: Results) -> Iterator[str]:
    card, module = kind.card, sys.modules[kind.__module__]
    branch = next(branch for branch, families in SURVEY.items() if card.family in families)
    yield f"# {card.title}: `{name}`"
    facts = [f"Family: {card.family}" + (f" ({branch})" if branch != card.family else ""), f"needs: {card.needs}"]
    aliases = [f"also called: {', '.join(f'`{alias}`' for alias in card.aliases)}"] if card.aliases else []
    yield _filled(". ".join(map(_capital, [*facts, *aliases, f"status {STATUS[card.status]}"])) + ".")
    yield f"## What it does\n\n{_docstring(module.__doc__ or '')}"
    yield _docstring(kind.__doc__ or "")
    yield f"```text\n{textwrap.fill(card.formula, 120, subsequent_indent='    ')}\n```"
    plan = "\n".join(textwrap.fill(sentence, 120, subsequent_indent="    ") for sentence in typical_plan(Row(kind())))
    yield f"Its plan on {TRAINED_ON}:\n\n```text\n{plan}\n```"
    if card.why:
        yield f"## Why it helps the tail\n\n{_filled(card.why)}"
    if card.avoid:
        yield f"## When not to use it\n\n{_filled(card.avoid)}"
    yield from _knobs(name, kind)
    yield f"## Cost\n\n{_filled(f'{_capital(card.cost)}. Plain training is 1 forward, with its backward, a step.')}"
    if card.processes:
        yield _filled(f"Several processes do not equal one: {card.processes}.")
    if card.departs:
        yield f"## Where it departs from the authors' code\n\n{_filled(_capital(card.departs) + '.')}"
    yield from _results(name, results)
    yield "## References"
    paper = f"- {card.paper}" if card.paper else "- No paper: it is what the field takes as given"
    preprint = f"; [arXiv {card.arxiv}](https://arxiv.org/abs/{card.arxiv})" if card.arxiv else ""
    file = f"src/{kind.__module__.replace('.', '/')}.py"
    yield f"{paper}{preprint}.\n- The method's file: [{file}](../../{file})."


def _knobs(name: str, kind: type[Method]) -> Iterator[str]:
    yield "## Knobs"
    listed = knobs(kind)
    if listed:
        lines = [
            (f"`{knob}`", _typed(default_of(field)), _range(declared, field.metadata), field.metadata.get("help", ""))
            for knob, (declared, field) in listed.items()
        ]
        yield _table(("knob", "default", "range", "what it is"), lines)
        knob, field = next((knob, field) for knob, (_, field) in listed.items())
        yield f'```sh\ntailwise train DATA --method "{name}({knob}={_typed(default_of(field))})"\n```'
    else:
        yield "None."
        yield f"```sh\ntailwise train DATA --method {name}\n```"
    if kind.card.defaults:
        yield _filled(f"Where the defaults come from: {kind.card.defaults}.")
    if kind.card.presets:
        lines = [
            (f"`{name}({preset})`", ", ".join(f"{k} = {_typed(v)}" for k, v in values.items()))
            for preset, values in kind.card.presets.items()
        ]
        yield _table(("preset", "sets"), lines)


def _range(declared: Any, bounds: Mapping[str, Any]) -> str:
    """Say what a knob takes: its bounds, and the words among its choices."""
    kinds = [declared] if get_origin(declared) is Literal else [kind for kind in get_args(declared) if get_origin(kind) is Literal]
    words = [" or ".join(f"`{choice}`" for choice in get_args(kind)) for kind in kinds]
    limits = {"low": "from {:.10g}", "above": "above {:.10g}", "high": "to {:.10g}"}
    numbers = " ".join(text.format(bounds[bound]) for bound, text in limits.items() if bounds.get(bound) is not None)
    return "; ".join(filter(None, [numbers, *words])) or "–"


def _typed(value: Any) -> str:
    """Write a value as one types it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


# --- known results ----------------------------------------------------------------------------------------------------------


def read_results(text: str, page: str) -> Results:
    """Read the sections of a page of docs/: title, link, and rows by the method as one types it.

    A section stands between `<!-- NAME -->` and `<!-- end of NAME -->`; of it the first table that begins with `method` and has the
    columns is read.
    """
    found = []
    for section in re.finditer(r"^<!-- (?!end of )(.+?) -->\n(.*?)^<!-- end of \1 -->", text, flags=re.S | re.M):
        title = re.search(r"^## (.+)$", section[2], flags=re.M)
        for block in re.findall(r"(?:^\|.*\|\n)+", section[2], flags=re.M):
            head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
            if title and head[0] == "method" and set(COLUMNS) <= set(head):
                found.append((title[1], f"../{page}#{_anchor(title[1])}", {line[0]: dict(zip(head, line, strict=True)) for line in lines}))
                break
    return found


def _results(name: str, results: Results) -> Iterator[str]:
    yield "## Known results"
    lines = [
        (f"[{title}]({link})", row, *(cells[column] for column in COLUMNS))
        for title, link, rows in results
        for row, cells in rows.items()
        if name == re.split(r"[(+]", row)[0] and cells
    ]
    if not lines:
        where = " or ".join(f"[{page}](../{page})" for page in RESULTS)
        yield f"None of ours yet: no table of {where} has it."
        return
    yield _table(("data", "row", *COLUMNS), lines)
    yield _filled(
        "Accuracy in percent on test images that chose nothing, with 95 % intervals; the sections say of which claim, and set it beside "
        "cross-entropy."
    )


def _anchor(title: str) -> str:
    """Give the anchor that Markdown pages make of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


# --- text -------------------------------------------------------------------------------------------------------------------


def _docstring(text: str) -> str:
    """Give a docstring's paragraphs, examples of commands as a block."""
    paragraphs = [
        textwrap.dedent(part) for part in re.split(r"\n\s*\n", textwrap.dedent(text if text.startswith("\n") else f"    {text}").strip())
    ]
    return "\n\n".join(
        f"```sh\n{part.strip()}\n```" if part.strip().startswith("tailwise ") else _filled(" ".join(part.split())) for part in paragraphs
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, 140, break_long_words=False, break_on_hyphens=False)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(head: Sequence[str], lines: Any) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


if __name__ == "__main__":
    for file, text in pages().items():
        (HERE / file).write_text(text, encoding="utf-8")
    for stale in {path.name for path in HERE.glob("*.md")} - set(pages()):
        (HERE / stale).unlink()
