"""docs/tutorial.md says what is so: its commands, in order, in an empty folder, print what the page shows.

A `console` block is one command after `$` and what it prints, however it is folded. `...` stands for anything, inside a word for the rest
of it; figures with two to four decimals may differ by a few points, since another kind of processor rounds otherwise, and the ends of
intervals, in brackets, by more. A line `^C` interrupts the command once it has left a run.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tailwise.cli import COMMANDS, make_app, run

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```console\n\$ ([^\n]*)\n(.*?)^```$", flags=re.S | re.M)
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.S | re.M)
FIGURE = r"[+-]?\d+\.\d{2,4}(?!\d)"
POINTS = 4.0
ENDS = 15.0
"""Where three seeds agree by chance, an interval is short, and a single answer that is another makes it much longer."""
INTERRUPT = "^C\n"
INTERRUPTED = 130


class Shown(NamedTuple):
    command: str
    output: str

    @property
    def is_interrupted(self) -> bool:
        return INTERRUPT in self.output


SHOWN = [Shown(*block) for block in BLOCK.findall(PAGE)]


def pattern(word: str) -> str:
    """What a word of the page matches: `...` alone anything, inside a word the rest of it; a figure any figure."""
    if word == "...":
        return ".*?"
    pieces = re.split(rf"(\.\.\.|{FIGURE})", word)
    return "".join(r"\S*?" if p == "..." else rf"({FIGURE})" if re.fullmatch(FIGURE, p) else re.escape(p) for p in pieces)


def agrees(shown: str, printed: str) -> bool:
    """Words as they are, figures nearly."""
    found = re.fullmatch(" ".join(map(pattern, shown.split())), " ".join(printed.split()))
    figures = re.findall(rf"(\[?)({FIGURE})(\]?)", shown)
    near = [(float(figure), ENDS if before or after else POINTS) for before, figure, after in figures]
    return found is not None and all(abs(float(a) - b) <= points for a, (b, points) in zip(found.groups(), near, strict=True))


class Shell:
    """A folder in which one works, with an empty store beside it."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "tutorial"
        self.folder.mkdir()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "TAILWISE_STORE": str(place / "store"), "COLUMNS": "120", "PYTHONUTF8": "1"}

    def follow(self, shown: Shown) -> None:
        """Type a command of the page, and fail where it ends otherwise or prints something else."""
        before = self.runs()
        process = subprocess.Popen(
            ["sh", "-c", f"exec {shown.command}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        if shown.is_interrupted:
            while process.poll() is None and self.runs() == before:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
        printed, _ = process.communicate()
        assert process.returncode == (INTERRUPTED if shown.is_interrupted else 0), printed
        expected = shown.output.replace(INTERRUPT, "")
        if not agrees(expected, printed):
            pytest.fail(f"$ {shown.command}\nis shown with\n{expected}\nbut prints\n{printed}", pytrace=False)

    def runs(self) -> int:
        """How many runs lie in the studies of the folder."""
        return sum(1 for _ in self.folder.glob("**/runs/*/run.json"))


def test_the_page_until_the_first_training(tmp_path):
    shell = Shell(tmp_path)
    first = next(i for i, shown in enumerate(SHOWN) if shown.command.startswith("tailwise compare"))
    assert first >= 3
    for shown in SHOWN[:first]:
        shell.follow(shown)


@pytest.mark.slow
@pytest.mark.real
def test_the_whole_page(tmp_path):
    shell = Shell(tmp_path)
    for shown in SHOWN:
        shell.follow(shown)


def test_every_command_of_the_page_is_understood():
    lines = [shown.command for shown in SHOWN] + re.findall(r"`(tailwise [a-z][^`]*)`", PROSE)
    typed = [shlex.split(line)[1:] for line in lines if line.startswith("tailwise ")]
    app = make_app()
    for words in typed:
        app.parse_args(words, print_error=False, exit_on_error=False)  # raises at an unknown command or option
    assert {words[0] for words in typed} >= {"build", "explore", "compare", "report", "show", "predict", "train"}


def test_every_option_named_in_the_prose_is_in_some_help(capsys):
    for command in COMMANDS:
        assert run([command, "--help"]) == 0
    helped = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    assert set(re.findall(r"`[^`]*?(--[a-z][a-z-]*)", PROSE)) <= {*helped, "--help"}


def test_every_name_in_the_prose_is_in_the_catalogue_or_shown():
    from tailwise.registry import names

    known = {*names("method"), *names("recipe")}
    shown = {word for _, output in SHOWN for word in re.findall(r"[\w.-]+", output)}
    assert set(re.findall(r"`([a-z][\w-]*(?:\.\w+)?)/?`", PROSE)) <= {*known, *shown, *COMMANDS}


def test_figures_of_the_prose_are_those_of_the_blocks():
    shown = {figure.lstrip("+-") for _, output in SHOWN for figure in re.findall(FIGURE, output)}
    assert {figure.lstrip("+-") for figure in re.findall(FIGURE, PROSE.replace("Python 3.11", ""))} <= shown


@pytest.mark.parametrize(
    ("printed", "right"),
    [
        ("run: out-1a2b3c\nce  70.1\n macro 64.32 [60.12, 68.52], n = 36", True),
        ("run: out-1a2b3c ce 5 s macro 66.90 [60.12, 68.52], n = 36", True),
        ("run: out-1a2b3c ce 5 s macro 69.90 [60.12, 68.52], n = 36", False),
        ("run: out-1a2b3c ce 5 s macro 66.90 [52.90, 80.90], n = 36", True),
        ("run: out-1a2b3c ce 5 s macro 66.90 [44.90, 88.90], n = 36", False),
        ("run: out-1a2b3c ce 5 s macro 64.32 [60.12, 68.52], n = 37", False),
        ("run: out-1a 2b ce 5 s macro 64.32 [60.12, 68.52], n = 36 and more", False),
    ],
)
def test_words_are_compared_exactly_and_figures_nearly(printed, right):
    assert agrees("run: out-...\nce ...\nmacro 64.32 [60.12, 68.52], n = 36", printed) is right
