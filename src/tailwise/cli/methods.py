"""`tailwise methods`: what can be named."""

from __future__ import annotations

WIDE = 130
"""Columns of a terminal from which there is room for other names too; `show` has them always."""


def methods(*, json: bool = False) -> None:
    """List all methods by the survey's families, then all modifiers, from their cards; nothing is imported for it.

    Parameters
    ----------
    json
        Print the list as JSON.
    """
    from dataclasses import asdict

    from tailwise.registry import entries

    if json:
        from tailwise.cli.tables import print_json

        print_json({kind + "s": [asdict(e) for e in entries(kind).values()] for kind in ("method", "modifier")})
        return
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say
    from tailwise.method import SURVEY

    order = [family for families in SURVEY.values() for family in families]
    wide = console.width >= WIDE
    for kind in ("method", "modifier"):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in (f"{kind}s by family", "year", "status", "title", "paper", *(["also called"] if wide else [])):
            table.add_column(column, no_wrap=column not in ("title", "paper", "also called"))
        before = ""
        for entry in sorted(entries(kind).values(), key=lambda e: order.index(e.family) if e.family in order else len(order)):
            if entry.family != before:
                table.add_row(Text(entry.family, style="bold"))
                before = entry.family
            year = "" if entry.year is None else str(entry.year)
            table.add_row(f"  {entry.name}", year, entry.status, entry.title, entry.paper, *([", ".join(entry.aliases)] if wide else []))
        console.print(table)
        console.print()
    say("`tailwise show NAME` shows a card with its knobs; a method of your own is a Python file: --method ./mine.py")
