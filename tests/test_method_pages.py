"""docs/methods/ is what its script makes of cards, knobs and results, and leads where it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tailwise.cli import run
from tailwise.method import SURVEY
from tailwise.registry import entries, parse_row
from tailwise.study.typical import typical_plan

HERE = Path(__file__).parents[1] / "docs/methods"
PAGES = sorted(HERE.glob("*.md"))
OURS = [entry for entry in entries("method").values() if entry.module.startswith("tailwise.")]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("method_pages", HERE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_is_generated(script):
    made = script.pages()
    stale = [name for name, text in made.items() if not (HERE / name).is_file() or (HERE / name).read_text(encoding="utf-8") != text]
    assert (stale, {page.name for page in PAGES} - set(made)) == ([], set()), "run: python docs/methods/generate.py"


def test_every_method_has_a_page_that_says_family_paper_and_number(script):
    made = script.pages()
    for entry in OURS:
        page, (branch,) = made[f"{entry.name}.md"], [b for b, families in SURVEY.items() if entry.family in families]
        assert all(said in page for said in (entry.title, entry.family, branch, entry.paper, entry.arxiv))
        assert re.search(rf"\[{entry.name}\]\({entry.name}\.md\).*\| {entry.year or '–'} \| {entry.status} \|", made["index.md"])
        headings = re.findall(r"^## (.+)$", page, flags=re.M)
        assert headings[:5] == ["What it does", "Why it helps the tail", "When not to use it", "Knobs", "Cost"]
        assert headings[-2:] == ["Known results", "References"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (page.parent / target).read_text(encoding="utf-8"), flags=re.M)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_commands_of_the_pages_are_understood():
    for page in PAGES:
        for typed in re.findall(r'--method "?([^"\s]+)"?', page.read_text(encoding="utf-8")):
            parse_row(typed)


def test_results_are_read_by_section_and_row(script):
    text = """# Results

<!-- one -->
## One: a set, 9 to 1

| what | n |
| --- | --- |
| method | 1 |

| method | overall | macro | many | medium | few | seeds |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| ce | 1.00 | 2 | 3 | 4 | 5 [4, 6] | 1 |
| ce+drw | 9.00 | 2 | 3 | 4 | 6 | 3 |

| method | steps |
| --- | --- |
| ce | 3 |
<!-- end of one -->

<!-- two -->
## Two
nothing yet
<!-- end of two -->
"""
    found = script.read_results(text, "results.md") + script.read_results(text.replace("One:", "Two:"), "panel.md")
    assert [title for title, _, _ in found] == ["One: a set, 9 to 1", "Two: a set, 9 to 1"]
    written = "\n".join(script._results("ce", found))
    assert "| [One: a set, 9 to 1](../results.md#one-a-set-9-to-1) | ce | 1.00 | 3 | 4 | 5 [4, 6] | 1 |" in written
    assert "| [Two: a set, 9 to 1](../panel.md#two-a-set-9-to-1) | ce | 1.00 |" in written
    assert "| ce+drw | 9.00 |" in written
    assert "None of ours yet" in "\n".join(script._results("ce-drw", found))


def test_methods_stand_in_the_surveys_order_with_paper_year_and_status(capsys):
    assert run(["methods"]) == 0
    lines = capsys.readouterr().out.split("modifiers by family")[0].splitlines()[1:]
    order = [family for families in SURVEY.values() for family in families]
    assert {entry.family for entry in OURS} <= set(order)
    shown = [line.strip() for line in lines if line.strip() and not line.startswith(" ")]  # families stand at the margin
    assert shown == [family for family in order if family in {entry.family for entry in OURS}]
    named = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert sorted(named) == sorted(entry.name for entry in OURS)
    (line,) = [line for line in lines if " ldam " in line]
    assert all(word in line for word in ("Cao et al., NeurIPS", " 2019 ", " values"))


def test_show_says_plan_formula_and_file(capsys):
    assert run(["show", "crt"]) == 0
    said = capsys.readouterr().out
    assert "plan on CIFAR-10-LT" in said
    assert "  classifier re-training: epochs 0-10 of 10, 970 steps;" in said
    assert re.search(r"file +\S+crt\.py", said)
    assert re.search(r"year +2020", said)
    assert run(["show", "sam"]) == 0
    assert "plan over ce on CIFAR-10-LT" in capsys.readouterr().out


def test_a_plan_that_is_refused_or_broken_is_said(tmp_path, capsys):
    assert typical_plan(parse_row("paco+drw"))[0].startswith("refused: drw weights the rows of a criterion")
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from dataclasses import dataclass\n"
        "from tailwise.method import Card, Method, method\n"
        '@method(Card(title="Broken", family="baseline"))\n'
        "@dataclass(frozen=True)\n"
        "class Broken(Method):\n"
        '    """Fails."""\n'
        "    def stages(self, about):\n"
        '        raise ZeroDivisionError("a slip")\n'
    )
    assert run(["show", str(broken)]) == 0
    said = capsys.readouterr().out
    assert "cannot be planned: ZeroDivisionError: a slip" in said
    assert str(broken) in said.replace("\n", "")
