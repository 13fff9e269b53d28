"""Tables and help on the terminal: no figure is lost in a narrow one, no empty default is shown."""

from __future__ import annotations

import re

from rich.console import Console

from tailwise.cli import run, tables


def test_a_narrow_terminal_cuts_no_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(tables, "console", Console(highlight=False, width=60))
    few = ["--set", "recipe.epochs=1", "--seeds", "2", "--split", "50/10/40"]
    assert run(["compare", "digits", "--recipe", "demo", "--methods", "ce", *few, "--out", str(tmp_path / "study")]) == 0
    table = capsys.readouterr().out
    assert "…" not in table
    line = next(line for line in table.splitlines() if line.startswith("ce "))
    assert len(re.findall(r"\d\d\.\d\d \[\d+\.\d\d, \d+\.\d\d\]", line)) == 6  # overall, macro, three groups, macro F1


def test_help_shows_no_default_of_what_is_off_empty_or_not_given(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["train", "--help"]) == 0
    helped = capsys.readouterr().out
    assert "[default: head]" in helped
    assert "[default: 0]" in helped  # a seed
    for nothing in ("None", "False", "()"):
        assert f"[default: {nothing}" not in helped
