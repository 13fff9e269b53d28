"""The pages under docs/ say what is so: their Python runs, their files work, and what they show is what is printed.

All Python blocks of a page run in order, in one namespace, in an empty folder. A block whose first line is a comment with a path is
that file. A `text` block right after a Python block, or after shell lines, is what these print; `...` stands for anything.
"""

from __future__ import annotations

import doctest
import re
import shlex
import sys
import tomllib
from importlib.metadata import EntryPoint
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from tailwise.cli import run, tables
from tailwise.registry import ENTRY_POINTS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.S | re.M)
FILE = re.compile(r"# (\S+\.(?:py|toml))\n")
CHECKER, AS_DOCTESTS = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    language: str
    text: str
    line: int
    shown: str | None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, each with what the page shows as its output."""
    text = page.read_text(encoding="utf-8")
    found = list(FENCED.finditer(text))
    made = []
    for block, following in zip_longest(found, found[1:]):
        answers = following is not None and following[1] == "text" and not text[block.end() : following.start()].strip()
        made.append(Block(block[1], block[2], text[: block.start()].count("\n") + 1, following[2] if answers else None))
    return made


def execute(block: Block, page: Path, namespace: dict) -> bool:
    """Do what a block says; False where it is for reading only."""
    if named := FILE.match(block.text):
        Path(named[1]).parent.mkdir(parents=True, exist_ok=True)
        Path(named[1]).write_text(block.text, encoding="utf-8")
        return False
    if block.language == "python":
        code = "\n" * block.line + block.text  # a traceback names the line of the page
        exec(compile(code, str(page), "exec"), namespace)
    elif block.language == "sh" and block.shown is not None:
        for line in block.text.splitlines():
            program, *words = shlex.split(line, comments=True)
            assert program == "tailwise", line
            assert run(words) == 0, line
    else:
        return False
    return True


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """An empty folder, from which Python imports as it does where one works in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(tables, "console", Console(highlight=False, width=tables.WIDE))  # whatever width another test has set
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("own_folder")
def test_a_page_runs_and_prints_what_it_shows(page, capsys):
    namespace: dict = {"__name__": page.stem}
    for block in blocks(page):
        if execute(block, page, namespace):
            said = capsys.readouterr().out
            if block.shown is not None and not CHECKER.check_output(block.shown, said, AS_DOCTESTS):
                pytest.fail(f"{page.name}, line {block.line}, shows\n{block.shown}\nbut prints\n{said}", pytrace=False)


def test_the_package_of_add_a_method_names_a_method_that_is_there(own_folder):
    for block in blocks(DOCS / "add-a-method.md"):
        if FILE.match(block.text):
            execute(block, DOCS / "add-a-method.md", {})
    project = tomllib.loads((own_folder / "pyproject.toml").read_text(encoding="utf-8"))
    ((name, value),) = project["project"]["entry-points"][ENTRY_POINTS].items()
    made = EntryPoint(name, value, ENTRY_POINTS).load()
    assert made.card.title == "Margin by rank"
    assert project["tool"]["setuptools"]["py-modules"] == [made.__module__]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_are_there(page):
    from tailwise.cli import COMMANDS

    lines = [line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]
    named = {words[1] for line in lines if (words := shlex.split(line, comments=True))[:1] == ["tailwise"] and len(words) > 1}
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def test_parts_has_a_section_for_every_room_of_parts():
    """The rooms of the import contract that parts stand alone; a new one gets its section."""
    pyproject = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in pyproject["tool"]["importlinter"]["contracts"] if c["id"] == "parts-stand-alone")
    rooms = re.findall(r"tailwise\.(\w+)", contract["layers"][1])
    here = {room for room in rooms if (DOCS.parent / "src/tailwise" / room / "__init__.py").exists()}
    said = set(re.findall(r"^## .*`tailwise\.(\w+)`$", (DOCS / "parts.md").read_text(encoding="utf-8"), flags=re.M))
    assert here <= said
    assert said <= here | {"evaluation"}
